"""Results as tables for people and values for programs."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from rich.table import Table

from ddlabel.core.config import EvaluateOptions
from ddlabel.core.errors import UsageError
from ddlabel.core.registry import nearest

if TYPE_CHECKING:
    from ddlabel.methods.metrics import Summary

_FIGURES = {"accuracy": "accuracy %", "top5": "top-5 %", "calibration_error": "calibration error %"}


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One combination of a grid and the results of its students, by seed."""

    options: EvaluateOptions
    results: list[dict[str, Any]]

    def percent(self, figure: str = "accuracy") -> list[float]:
        """A figure of every student, in per cent."""
        return [100 * result[figure] for result in self.results]

    def summary(self, figure: str = "accuracy") -> "Summary":
        """A figure over the students, in per cent."""
        from ddlabel.methods.metrics import summarise

        return summarise(self.percent(figure))

    @property
    def known(self) -> list[str]:
        """The figures that every student has: there is no top-5 of few classes, nor all of one that diverged."""
        return [
            name
            for name in _FIGURES
            if all(result.get(name) is not None for result in self.results)
        ]

    @property
    def diverged(self) -> int:
        """How many students ended with a loss that is no number."""
        return sum("loss" in result and result["loss"] is None for result in self.results)

    def place(self, axes: Sequence[str], end: str = ":") -> str:
        """Where in the grid, to begin a line with."""
        words = " ".join(f"{axis}={getattr(self.options, axis)}" for axis in axes)
        return f"{words}{end} " if words else ""

    def value(self) -> dict[str, Any]:
        """The cell as JSON: its place in the grid, accuracies, and a summary of each figure in per cent."""
        place = {axis: getattr(self.options, axis) for axis in EvaluateOptions.AXES}
        summaries = {name: asdict(self.summary(name)) for name in self.known}
        accuracies = [result["accuracy"] for result in self.results]
        students = {
            "accuracies": accuracies,
            "diverged": self.diverged,
            "percent": summaries.pop("accuracy"),
        }
        return place | {"select": self.options.select} | students | summaries


def axes_of(wanted: str | None, grid: Sequence[EvaluateOptions]) -> list[str]:
    """Rows and columns of the table: what was asked for, or the axes with the most values.

    UsageError if `wanted` is not two different axes.
    """
    if wanted is None:
        return sorted(
            varying_axes(grid), key=lambda axis: -len({getattr(options, axis) for options in grid})
        )[:2]
    names = [name.strip() for name in wanted.split(",")]
    for name in names:
        if name not in EvaluateOptions.AXES:
            raise UsageError(
                f"--table: there is no axis {name!r}: {nearest(name, EvaluateOptions.AXES)}"
            )
    if len(names) != 2 or names[0] == names[1]:
        raise UsageError(
            f"--table is {wanted!r}: expected an axis for rows and another for columns: loss,optimizer"
        )
    return names


def varying_axes(grid: Sequence[EvaluateOptions]) -> list[str]:
    """The axes of a grid that have several values."""
    return [
        axis
        for axis in EvaluateOptions.AXES
        if len({getattr(options, axis) for options in grid}) > 1
    ]


def table(cells: Sequence[Cell], axes: Sequence[str]) -> Table:
    """The figures of one cell, or accuracies by one or two axes with their averages.

    What stands in one place is averaged student by student, over the axes that are not shown too.
    """
    if not axes:
        return _figures(cells[0])
    rows = _by(cells, axes[0])
    columns = list(_by(cells, axes[1])) if len(axes) > 1 else []
    heads = [*columns, "mean"] if len(columns) > 1 else columns or ["accuracy %"]

    def means(part: Sequence[Cell]) -> list[str]:
        places = _by(part, axes[1]) if columns else {}
        return [_mean(places.get(name, [])) for name in columns] + (
            [_mean(part)] if len(columns) != 1 else []
        )

    shown = Table(" \\ ".join(axes), *heads, title=_title(cells, axes))
    for row, part in rows.items():
        shown.add_row(row, *means(part))
    if columns and len(rows) > 1:
        shown.add_row("mean", *means(cells), style="dim")
    return shown


def line(cell: Cell, axes: Sequence[str]) -> str:
    """The accuracy of a cell, after its place in the grid."""
    summary = cell.summary()
    words = ["1 student"] if summary.n == 1 else ["95 % interval", f"{summary.n} students"]
    if cell.options.select != "last":
        words.insert(
            0,
            {"val": "best on held-out images", "best-on-test": "best on test"}[cell.options.select],
        )
    if cell.diverged:
        words.append(f"{cell.diverged} diverged")
    return f"{cell.place(axes)}{summary.mean:.2f} %{spread(summary)} ({', '.join(words)})"


def _figures(cell: Cell) -> Table:
    shown = Table("figure", "mean", "deviation", "95 % interval", title=_title([cell], []))
    options, students = cell.options, f"{len(cell.results)} students"
    shown.caption = ", ".join(
        [f"{options.labels} labels", options.loss, options.optimizer, options.net, students]
    )
    for name in cell.known:
        summary = cell.summary(name)
        values = (summary.mean, summary.deviation, summary.interval)
        shown.add_row(
            _FIGURES[name], *("–" if value is None else f"{value:.2f}" for value in values)
        )
    return shown


def _title(cells: Sequence[Cell], axes: Sequence[str]) -> str:
    options = cells[0].options
    what = {
        "last": "test accuracy at the last epoch",
        "val": "test accuracy at the epoch chosen on held-out images",
        "best-on-test": "best test accuracy over epochs: CHOSEN ON TEST IMAGES",
    }[options.select]
    if any(cell.diverged for cell in cells):
        what += " (*: some students diverged)"
    if hidden := [
        axis for axis in varying_axes([cell.options for cell in cells]) if axis not in axes
    ]:
        what += f", averaged over {' and '.join(hidden)}"
    return (
        what
        if options.continual is None
        else f"{what}, mean over {options.continual} class-incremental steps"
    )


def _by(cells: Sequence[Cell], axis: str) -> dict[str, list[Cell]]:
    """Cells by their value of an axis, in the order in which those were given."""
    found: dict[str, list[Cell]] = {}
    for cell in cells:
        found.setdefault(getattr(cell.options, axis), []).append(cell)
    return found


def _mean(cells: Sequence[Cell]) -> str:
    """Mean ± interval over students of what is first averaged over cells."""
    from ddlabel.methods.metrics import summarise

    if not cells:
        return "–"
    students = [
        sum(values) / len(cells) for values in zip(*(cell.percent() for cell in cells), strict=True)
    ]
    summary, diverged = summarise(students), " *" if any(cell.diverged for cell in cells) else ""
    return f"{summary.mean:.2f}{spread(summary)}{diverged}"


def spread(summary: "Summary", digits: int = 2) -> str:
    """Half of the 95 % interval, to stand behind a mean; nothing for a single student."""
    return "" if summary.interval is None else f" ± {summary.interval:.{digits}f}"
