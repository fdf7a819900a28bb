"""Results as tables for people and values for programs."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.table import Table

from ddlabel.config import EvaluateOptions
from ddlabel.errors import UsageError
from ddlabel.registry import nearest

_FIGURES = {"accuracy": "accuracy %", "top5": "top-5 %", "calibration_error": "calibration error %"}


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One combination of a grid and the results of its students, by seed."""

    options: EvaluateOptions
    results: list[dict[str, Any]]

    def percent(self, figure: str = "accuracy") -> list[float]:
        """A figure of every student, in per cent."""
        return [100 * result[figure] for result in self.results]

    def has(self, figure: str) -> bool:
        """Whether every student has the figure: there is no top-5 of few classes, nor all of one that diverged."""
        return all(result.get(figure) is not None for result in self.results)

    @property
    def diverged(self) -> int:
        """How many students ended with a loss that is no number."""
        return sum("loss" in result and result["loss"] is None for result in self.results)

    def value(self) -> dict[str, Any]:
        """The cell as JSON: its place in the grid, accuracies, and a summary of each figure in per cent."""
        from ddlabel.metrics import summarise

        place = {axis: getattr(self.options, axis) for axis in EvaluateOptions.AXES}
        known = [name for name in _FIGURES if self.has(name)]
        summaries = {name: asdict(summarise(self.percent(name))) for name in known}
        accuracies = [result["accuracy"] for result in self.results]
        students = {"accuracies": accuracies, "diverged": self.diverged, "percent": summaries.pop("accuracy")}
        return place | {"select": self.options.select} | students | summaries


def axes_of(wanted: str | None, grid: Sequence[EvaluateOptions]) -> list[str]:
    """Rows and columns of the table: what was asked for, or the axes with the most values.

    Raises:
        UsageError: if `wanted` is not two different axes.
    """
    if wanted is not None:
        names = [name.strip() for name in wanted.split(",")]
        for name in names:
            if name not in EvaluateOptions.AXES:
                raise UsageError(f"--table: there is no axis {name!r}: {nearest(name, EvaluateOptions.AXES)}")
        if len(set(names)) != 2 or len(names) != 2:
            raise UsageError(
                f"--table is {wanted!r}: expected an axis for rows and another for columns, e.g. loss,optimizer"
            )
        return names
    return sorted(varying_axes(grid), key=lambda axis: -len({getattr(options, axis) for options in grid}))[:2]


def varying_axes(grid: Sequence[EvaluateOptions]) -> list[str]:
    """The axes of a grid that have several values."""
    return [axis for axis in EvaluateOptions.AXES if len({getattr(options, axis) for options in grid}) > 1]


def table(cells: Sequence[Cell], axes: Sequence[str]) -> Table:
    """The figures of one cell, or accuracies by one or two axes with their averages.

    What stands in one place is averaged student by student, over the axes that are not shown too.
    """
    if not axes:
        return _figures(cells[0])
    rows, columns = axes[0], axes[1] if len(axes) > 1 else None
    across = _values(cells, columns) if columns else []
    shown = Table(
        rows if columns is None else f"{rows} \\ {columns}", *(across or ["accuracy %"]), title=_title(cells, axes)
    )
    if len(across) > 1:
        shown.add_column("mean")
    for row in _values(cells, rows):
        here = [cell for cell in cells if getattr(cell.options, rows) == row]
        parts = [[cell for cell in here if columns and getattr(cell.options, columns) == name] for name in across]
        shown.add_row(row, *map(_mean, parts), *([_mean(here)] if len(across) != 1 else []))
    if columns is not None and len(_values(cells, rows)) > 1:
        parts = [[cell for cell in cells if getattr(cell.options, columns) == name] for name in across]
        shown.add_row("mean", *map(_mean, parts), *([_mean(cells)] if len(across) > 1 else []), style="dim")
    return shown


def line(cell: Cell, axes: Sequence[str]) -> str:
    """The accuracy of a cell, after its place in the grid."""
    from ddlabel.metrics import summarise

    summary = summarise(cell.percent())
    place = " ".join(f"{axis}={getattr(cell.options, axis)}" for axis in axes)
    spread, words = "", ["1 student" if summary.n == 1 else f"{summary.n} students"]
    if summary.interval is not None:
        spread, words = f" ± {summary.interval:.2f}", ["95 % interval", *words]
    if cell.options.select != "last":
        words.insert(0, {"val": "best on held-out images", "best-on-test": "best on test"}[cell.options.select])
    if cell.diverged:
        words.append(f"{cell.diverged} diverged")
    return f"{place}{': ' if place else ''}{summary.mean:.2f} %{spread} ({', '.join(words)})"


def _figures(cell: Cell) -> Table:
    from ddlabel.metrics import summarise

    shown = Table("figure", "mean", "deviation", "95 % interval", title=_title([cell], []))
    options = cell.options
    shown.caption = (
        f"{options.labels} labels, {options.loss}, {options.optimizer}, {options.net}, {len(cell.results)} students"
    )
    for name, heading in _FIGURES.items():
        if cell.has(name):
            summary = summarise(cell.percent(name))
            spread = [None, None] if summary.deviation is None else [summary.deviation, summary.interval]
            shown.add_row(
                heading, f"{summary.mean:.2f}", *("–" if value is None else f"{value:.2f}" for value in spread)
            )
    return shown


def _title(cells: Sequence[Cell], axes: Sequence[str]) -> str:
    select = cells[0].options.select
    what = {
        "last": "test accuracy at the last epoch",
        "val": "test accuracy at the epoch chosen on held-out images",
        "best-on-test": "best test accuracy over epochs: CHOSEN ON TEST IMAGES",
    }[select]
    if any(cell.diverged for cell in cells):
        what += " (*: some students diverged)"
    if hidden := [axis for axis in varying_axes([cell.options for cell in cells]) if axis not in axes]:
        what += f", averaged over {' and '.join(hidden)}"
    continual = cells[0].options.continual
    return what if continual is None else f"{what}, mean over {continual} class-incremental steps"


def _values(cells: Sequence[Cell], axis: str) -> list[str]:
    """The values of an axis in the order in which they were given."""
    return list(dict.fromkeys(getattr(cell.options, axis) for cell in cells))


def _mean(cells: Sequence[Cell]) -> str:
    """Mean ± interval over students of what is first averaged over cells."""
    from ddlabel.metrics import summarise

    if not cells:
        return "–"
    students = [sum(values) / len(cells) for values in zip(*(cell.percent() for cell in cells), strict=True)]
    summary, diverged = summarise(students), " *" if any(cell.diverged for cell in cells) else ""
    return f"{summary.mean:.2f}" + ("" if summary.interval is None else f" ± {summary.interval:.2f}") + diverged
