"""Figures of single groups of students: training curves, confusion and reliability."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from ddlabel.core.errors import IncompatibleError
from ddlabel.data.labels import Array
from ddlabel.figures.colours import BLUE, GREY, ORANGE, SCALE, SERIES
from ddlabel.figures.registry import Drawing, Table, Value, draws
from ddlabel.figures.students import (
    Series,
    Student,
    label_of,
    left_out_notes,
    numbers_of,
    series_of,
    with_result,
)
from ddlabel.figures.style import COLUMN, SMALL, log_scale, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# As many as the report draws.
_MOST_PANELS = len(SERIES)
# With more panels there are two in a line, on a figure as wide as a page.
_MOST_IN_A_COLUMN = 4
# Curves that have numbers for some epochs only.
_CHECKED = ("test_accuracy", "held_out_accuracy")
# Counts are written into the fields of a confusion matrix of so many classes.
_MOST_NUMBERS = 12


def curve_table(students: Sequence[Student]) -> Table:
    """Return the mean loss, gradient norm and accuracy of every group at every epoch.

    An epoch at which a student has diverged has no mean. Accuracies are those that the students
    were tested with while they were trained: of some epochs.
    """
    rows: list[list[Value]] = []
    for group in series_of(with_result(students, "curve", "curves")):
        norms = dict(curve_of(group, "gradient_norm"))
        tested = dict(curve_of(group, "test_accuracy") or curve_of(group, "held_out_accuracy"))
        for epoch, loss in curve_of(group, "loss"):
            rows.append([group.name, epoch, loss, norms.get(epoch), tested.get(epoch)])
    columns = ["group", "epoch", "loss", "gradient_norm", "accuracy"]
    return Table(columns=columns, rows=rows)


def curve_of(group: Series, name: str) -> list[tuple[int, float | None]]:
    """Return epochs with the mean of a curve over the students of a group.

    It is None at an epoch where a student has no number. Without the curve there are no epochs.

    Raises:
        InvalidInputError: A record has another form.
        IncompatibleError: The students were trained for different numbers of epochs.
    """
    curves = []
    epochs = []
    for student in group.students:
        recorded = student.result["curve"]
        if isinstance(recorded, Mapping) and name not in recorded:
            continue
        values = recorded[name] if isinstance(recorded, Mapping) else None
        curve = numbers_of(student, values, "curve", axes=1)
        every = range(1, len(curve) + 1)
        of_curve = recorded.get("checked_epochs") if name in _CHECKED else every
        epochs.append(numbers_of(student, of_curve, "curve", axes=1).tolist())
        curves.append(curve)
    if not curves:
        return []
    if any(each != epochs[0] for each in epochs) or len(epochs[0]) != len(curves[0]):
        raise IncompatibleError(f"curves: students of {group.name} have curves of other lengths")
    means = [float(mean) if np.isfinite(mean) else None for mean in np.mean(curves, axis=0)]
    return [(int(epoch), mean) for epoch, mean in zip(epochs[0], means, strict=True)]


@draws("results")
def curves(students: Sequence[Student]) -> Drawing:
    """Training loss, gradient norm and accuracy of students by epoch; needs evaluate --curve."""
    table = curve_table(students)
    names = list(dict.fromkeys(str(row[0]) for row in table.rows))
    has_accuracies = any(row[4] is not None for row in table.rows)
    num_panels = 3 if has_accuracies else 2
    figure = new_figure(1.4 * num_panels)
    panels = figure.subplots(num_panels, 1, sharex=True)
    for name, colour in zip(names, SERIES, strict=False):
        rows = np.array([row[1:] for row in table.rows if row[0] == name], dtype=np.float64)
        panels[0].plot(rows[:, 0], rows[:, 1], color=colour, label=label_of(name))
        panels[1].plot(rows[:, 0], rows[:, 2], color=colour)
        if has_accuracies:
            tested = rows[np.isfinite(rows[:, 3])]
            panels[2].plot(tested[:, 0], 100 * tested[:, 3], ".-", color=colour)
            panels[2].set_ylabel("accuracy, %")
    for axes, title in zip(panels[:2], ("training loss", "gradient norm"), strict=True):
        axes.set_ylabel(title)
        log_scale(axes.yaxis)
    panels[-1].set_xlabel("epoch")
    if len(names) > 1:
        panels[0].legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2)
    return Drawing(figure, table, left_out_notes(names, len(SERIES)))


def sum_of(group: Series, name: str) -> Array:
    """Return a figure of two axes that the records of a group have, summed over its students.

    Raises:
        InvalidInputError: A record has another form.
        IncompatibleError: The figures have other sizes.
    """
    arrays = [numbers_of(student, student.result[name], name, axes=2) for student in group.students]
    if len({array.shape for array in arrays}) > 1:
        raise IncompatibleError(f"{name}: students of {group.name} have other numbers of classes")
    return np.asarray(np.sum(arrays, axis=0))


def confusion_table(students: Sequence[Student]) -> Table:
    """Return the numbers of test images by group, true class and predicted class.

    They are summed over the students of a group. Classes have numbers.
    """
    rows: list[list[Value]] = []
    for group in series_of(with_result(students, "confusion", "confusion")):
        for true, counts in enumerate(sum_of(group, "confusion")):
            for predicted, count in enumerate(counts):
                rows.append([group.name, true, predicted, int(count)])
    return Table(columns=["group", "true", "predicted", "images"], rows=rows)


@draws("results")
def confusion(students: Sequence[Student]) -> Drawing:
    """Predicted class by true class, in per cent; needs evaluate --confusion."""
    table = confusion_table(students)
    every_group = series_of(with_result(students, "confusion", "confusion"))
    groups = every_group[:_MOST_PANELS]
    per_line = 1 if len(groups) <= _MOST_IN_A_COLUMN else 2
    num_lines = math.ceil(len(groups) / per_line)
    figure = new_figure(num_lines * COLUMN * 0.88, width=per_line * COLUMN)
    figure.set_layout_engine("compressed")
    panels = figure.subplots(num_lines, per_line, squeeze=False).ravel()
    for axes in panels[len(groups) :]:
        axes.set_visible(False)
    for axes, group in zip(panels, groups, strict=False):
        counts = sum_of(group, "confusion")
        percent = 100 * counts / np.maximum(counts.sum(1, keepdims=True), 1)
        picture = axes.imshow(percent, cmap=SCALE, vmin=0, vmax=100)
        axes.spines[["top", "right"]].set_visible(True)
        axes.set_xlabel("predicted class")
        axes.set_ylabel("true class")
        axes.set_title(label_of(group.name))
        if len(counts) <= _MOST_NUMBERS:
            _write_numbers(axes, percent)
        figure.colorbar(picture, ax=axes, shrink=0.8).set_label("images of the true class, %")
    return Drawing(figure, table, left_out_notes(every_group, _MOST_PANELS))


def _write_numbers(axes: "Axes", percent: Array) -> None:
    """Write per cent into the fields of a matrix."""
    axes.set_xticks(range(len(percent)))
    axes.set_yticks(range(len(percent)))
    for (line, column), value in np.ndenumerate(percent):
        if value >= 0.5:
            colour = "black" if value > 50 else "white"
            axes.text(
                column, line, f"{value:.0f}", ha="center", va="center", size=SMALL, color=colour
            )


def reliability_table(students: Sequence[Student]) -> Table:
    """Return images, accuracy and mean confidence of every bin of confidence, by group."""
    rows: list[list[Value]] = []
    for group in series_of(with_result(students, "reliability", "reliability")):
        bins = sum_of(group, "reliability")
        for number, (count, hits, confidence) in enumerate(bins):
            edges = [number / len(bins), (number + 1) / len(bins)]
            means = [hits / count, confidence / count] if count else [None, None]
            rows.append([group.name, *edges, int(count), *means])
    columns = ["group", "from", "to", "images", "accuracy", "confidence"]
    return Table(columns=columns, rows=rows)


@draws("results")
def reliability(students: Sequence[Student]) -> Drawing:
    """Accuracy by confidence (Guo et al. 2017, Fig. 1); needs evaluate --reliability."""
    table = reliability_table(students)
    every_group = series_of(with_result(students, "reliability", "reliability"))
    groups = every_group[:_MOST_PANELS]
    per_row = min(2, len(groups))
    num_lines = math.ceil(len(groups) / per_row)
    figure = new_figure(num_lines * COLUMN / per_row * 0.95 + 0.25)
    panels = figure.subplots(num_lines, per_row, squeeze=False).ravel()
    for axes in panels[len(groups) :]:
        axes.set_visible(False)
    for axes, group in zip(panels, groups, strict=False):
        rows = [row[1:] for row in table.rows if row[0] == group.name and row[3]]
        _draw_reliability(axes, label_of(group.name), np.array(rows, dtype=np.float64))
    return Drawing(figure, table, left_out_notes(every_group, _MOST_PANELS))


def _draw_reliability(axes: "Axes", name: str, bins: Array) -> None:
    """Draw the bins of a group: rows of from, to, images, accuracy and confidence."""
    lows, highs, images, hits, confidence = bins.T
    error = (np.abs(hits - confidence) * images).sum() / images.sum()
    axes.bar(lows, hits, highs - lows, align="edge", color=BLUE, edgecolor="white", linewidth=0.5)
    axes.plot(confidence, hits, ".", color=ORANGE)
    axes.plot([0, 1], [0, 1], "--", color=GREY, linewidth=0.8)
    axes.set_title(f"{name}\ncalibration error {100 * error:.1f} %", size=SMALL)
    axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
    axes.set_xlabel("confidence")
    axes.set_ylabel("accuracy")
