"""Figures of accuracies: by setting, over γ, and over epoch and temperature of the expert."""

from collections.abc import Sequence

import numpy as np

from ddlabel.core.text import epoch_text
from ddlabel.data.labels import Array
from ddlabel.figures.colours import BLUE, SCALE, SERIES
from ddlabel.figures.registry import Drawing, Table, Value, draws
from ddlabel.figures.students import (
    Student,
    by_numbers,
    check_few,
    label_of,
    left_out_notes,
    series_of,
    with_numbers,
)
from ddlabel.figures.style import SMALL, legend_above, new_axes
from ddlabel.methods.intervals import Summary, cut_off, summarise_percent

_MOST_GROUPS = 40


def summary_cells(summary: Summary) -> list[Value]:
    """Return a summary as the cells of a table."""
    return [summary.n, summary.mean, summary.deviation, summary.interval]


def whiskers(means: Array, intervals: Array) -> Array:
    """Return the lengths [2, N] of intervals [N] below and above means [N], in per cent.

    They are cut off at 0 and 100 % as in tables; nan, which draws nothing, without an interval.
    """
    ends = [cut_off(*each) for each in zip(means.tolist(), intervals.tolist(), strict=True)]
    low, high = np.where(np.isnan(intervals)[:, None], np.nan, ends).T
    return np.stack([means - low, high - means])


SUMMARY = ("students", "accuracy_percent", "deviation", "interval_95")


def accuracy_table(students: Sequence[Student]) -> Table:
    """Return mean, deviation and 95 % interval of every group of students."""
    rows = [
        [each.name, *summary_cells(summarise_percent(each.percent()))]
        for each in series_of(students)
    ]
    return Table(columns=["group", *SUMMARY], rows=rows)


@draws("results", by_default=True)
def accuracies(students: Sequence[Student]) -> Drawing:
    """Test accuracy of every group of students, with its 95 % interval and every student."""
    every_group = series_of(students)
    groups = every_group[:_MOST_GROUPS]
    table = accuracy_table(students)
    labels = [label_of(group.name) for group in groups]
    num_more_lines = sum(label.count("\n") for label in labels)
    figure, axes = new_axes(0.6 + 0.24 * len(groups) + 0.1 * num_more_lines)
    for place, (group, row) in enumerate(zip(groups, table.rows, strict=False)):
        percent = group.percent()
        axes.plot(percent, [place] * len(percent), "|", color=BLUE, alpha=0.5, markersize=7)
        mean, interval = np.array([[row[2]], [row[4]]], dtype=np.float64)
        axes.errorbar(mean, place, xerr=whiskers(mean, interval), fmt="o", color=BLUE, capsize=3)
    axes.set_yticks(range(len(groups)), labels, size=SMALL)
    axes.set_ylim(len(groups) - 0.5, -0.5)
    axes.set_xlabel("test accuracy, %")
    axes.grid(axis="x", linewidth=0.4, alpha=0.5)
    return Drawing(figure, table, left_out_notes(every_group, _MOST_GROUPS))


def table_over(students: Sequence[Student], names: Sequence[str], figure: str) -> Table:
    """Return mean and interval of every group at every place of some numbers of the bundles."""
    rows: list[list[Value]] = []
    known = with_numbers(students, names, figure)
    for group in series_of(known, axes=names):
        for place, at_place in by_numbers(group, names).items():
            summary = summarise_percent([100 * student.accuracy for student in at_place])
            rows.append([group.name, *place, *summary_cells(summary)])
    return Table(columns=["group", *names, *SUMMARY], rows=rows)


def rows_of_group(table: Table) -> dict[str, np.ndarray]:
    """Return the numbers of a table over numbers by its first column; nan where there is none."""
    groups: dict[str, list[Sequence[Value]]] = {}
    for row in table.rows:
        groups.setdefault(str(row[0]), []).append(row[1:])
    return {name: np.array(rows, dtype=np.float64) for name, rows in groups.items()}


@draws("results")
def gamma(students: Sequence[Student]) -> Drawing:
    """Accuracy over the weight γ of the hard label in refined labels (GIFT, Fig. 3)."""
    table = table_over(students, ["gamma"], "gamma")
    groups = rows_of_group(table)
    figure, axes = new_axes(2.1)
    for (name, rows), colour in zip(groups.items(), SERIES, strict=False):
        lengths = whiskers(rows[:, 2], rows[:, 4])
        axes.errorbar(
            rows[:, 0], rows[:, 2], lengths, fmt="o-", color=colour, label=label_of(name), capsize=2
        )
    axes.set_xlabel("γ, weight of the hard label")
    axes.set_ylabel("test accuracy, %")
    if len(groups) > 1:
        legend_above(figure)
    return Drawing(figure, table, left_out_notes(groups, len(SERIES)))


@draws("results")
def epoch_temperature(students: Sequence[Student]) -> Drawing:
    """Accuracy over the expert's epoch and the labels' temperature (Label-Worth, Fig. 5)."""
    table = table_over(students, ["epoch", "temperature"], "epoch-temperature")
    groups = rows_of_group(table)
    check_few(groups, 1, "epoch-temperature")
    (rows,) = groups.values()
    epochs, columns = np.unique(rows[:, 0], return_inverse=True)
    temperatures, lines = np.unique(rows[:, 1], return_inverse=True)
    grid = np.full((len(temperatures), len(epochs)), np.nan)
    grid[lines, columns] = rows[:, 3]
    figure, axes = new_axes(0.9 + 0.3 * len(temperatures))
    axes.set_facecolor("#DDDDDD")
    picture = axes.imshow(grid, cmap=SCALE, aspect="auto", origin="lower")
    middle = (np.nanmin(grid) + np.nanmax(grid)) / 2
    best = np.nanargmax(grid)
    for number, value in enumerate(grid.ravel()):
        if np.isnan(value):
            continue
        line, column = divmod(number, len(epochs))
        colour = "black" if value > middle else "white"
        weight = "bold" if number == best else "normal"
        axes.text(
            column,
            line,
            f"{value:.1f}",
            ha="center",
            va="center",
            size=SMALL,
            color=colour,
            weight=weight,
        )
    axes.set_xticks(range(len(epochs)), [epoch_text(epoch) for epoch in epochs])
    axes.set_yticks(range(len(temperatures)), [f"{each:g}" for each in temperatures])
    axes.set_xlabel("epoch of the expert")
    axes.set_ylabel("temperature")
    figure.colorbar(picture, ax=axes).set_label("test accuracy, %")
    return Drawing(figure, table)
