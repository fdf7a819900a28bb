"""Results for people: tables of the cells of a grid, and one line for each cell."""

from collections.abc import Sequence

from rich.table import Table

from ddlabel.commands.compare.observations import FIGURES, bundle_name
from ddlabel.commands.compare.texts import pairs_text, students_text
from ddlabel.commands.evaluate.cell import Cell
from ddlabel.commands.evaluate.experiment import VIEW_OPTIONS
from ddlabel.core.config import EvaluateOptions
from ddlabel.core.errors import UsageError
from ddlabel.core.registry import nearest
from ddlabel.methods.intervals import summarise_percent

_TITLES = {
    "last": "test accuracy at the last epoch",
    "val": "test accuracy at the epoch chosen on held-out images",
    "best-on-test": "best test accuracy over epochs: CHOSEN ON TEST IMAGES",
}
_SELECTED = {"val": "best on held-out images", "best-on-test": "best on test"}
_MISSING = "–"


def varying_axes(grid: Sequence[EvaluateOptions]) -> list[str]:
    """Return the axes of a grid that have several values."""
    return [axis for axis in EvaluateOptions.AXES if _num_values(grid, axis) > 1]


def table_axes(grid: Sequence[EvaluateOptions]) -> list[str]:
    """Return the axes for rows and columns of the table.

    These are the axes that the option `table` names, or the two with the most values.

    Raises:
        UsageError: `table` does not name two different axes.
    """
    wanted = grid[0].table
    if wanted is None:
        axes = sorted(varying_axes(grid), key=lambda axis: -_num_values(grid, axis))
        return axes[:2]
    names = [name.strip() for name in wanted.split(",")]
    for name in names:
        if name not in EvaluateOptions.AXES:
            hint = nearest(name, EvaluateOptions.AXES)
            raise UsageError(f"--table: there is no axis {name!r}: {hint}")
    if len(names) != 2 or names[0] == names[1]:
        raise UsageError(
            f"--table is {wanted!r}: expected an axis for rows and another for columns, such as "
            "loss,optimizer"
        )
    return names


def make_table(cells: Sequence[Cell], axes: Sequence[str]) -> Table:
    """Return the figures of one cell, or accuracies by one or two axes with their means.

    Cells in one place of the table, which differ in axes that are not shown, are averaged student
    by student.
    """
    if not axes:
        return _table_of_figures(cells[0])
    rows = _group(cells, axes[0])
    columns = list(_group(cells, axes[1])) if len(axes) > 1 else []
    heads = columns or ["accuracy %"]
    if len(columns) > 1:
        heads = [*columns, "mean"]
    table = Table(" \\ ".join(axes), *heads, title=_title(cells, axes))
    for row, row_cells in rows.items():
        table.add_row(row, *_row(row_cells, axes, columns))
    if columns and len(rows) > 1:
        table.add_row("mean", *_row(cells, axes, columns), style="dim")
    return table


def result_line(cell: Cell, axes: Sequence[str] = ()) -> str:
    """Return the accuracy of a cell in a line, after its place in the grid."""
    accuracy = cell.accuracy
    remarks = []
    if cell.options.labels == "dense":
        remarks.append(labels_text(cell.options))
    if cell.options.select in _SELECTED:
        remarks.append(_SELECTED[cell.options.select])
    remarks.append(students_text(accuracy))
    if cell.num_diverged:
        remarks.append(f"{cell.num_diverged} diverged")
    text = f"{accuracy.mean:.2f} %{accuracy.spread()} ({', '.join(remarks)})"
    return _after_place(cell, axes, text)


def comparison_line(cell: Cell, axes: Sequence[str]) -> str:
    """Return the difference of a cell to the labels of `against` in a line."""
    comparison = cell.comparison
    assert cell.against is not None
    assert comparison is not None
    difference = comparison.difference
    this, other = _sides(cell)
    text = (
        f"this: {this}; --against: {other}: {result_line(cell.against)}; "
        f"difference (this − --against) {difference.mean:+.2f}"
    )
    if difference.interval is None or comparison.p_value is None:
        return _after_place(cell, axes, f"{text} points ({pairs_text(difference)})")
    test = f"p = {comparison.p_value:.2g} (paired t-test, {difference.n} pairs)"
    return _after_place(cell, axes, f"{text} ± {difference.interval:.2f} points, {test}")


def control_lines(cell: Cell, axes: Sequence[str]) -> list[str]:
    """Return a line for every control of a cell, and one for every score."""
    place = cell.place(axes)
    prefix = f"{place} " if place else ""
    lines = [f"{prefix}{role}: {result_line(control)}" for role, control in cell.controls.items()]
    for name, score in cell.scores.items():
        lines.append(f"{prefix}{name} {score.mean:.4f}{score.spread(digits=4)}")
    return lines


def labels_text(options: EvaluateOptions) -> str:
    """Return the labels that students learn from in words: `dense and soft labels`."""
    whole = options.global_labels
    has_both = options.labels == "dense" and whole != "none"
    return f"{options.labels} and {whole} labels" if has_both else f"{options.labels} labels"


def _sides(cell: Cell) -> tuple[str, str]:
    """Return this side and that of `against` in words: bundle, labels, and options that differ.

    Where bundles have one name and differ, the beginning of their digests is added.
    """
    assert cell.against is not None
    both = (cell, cell.against)
    names = [_bundle_text(each) for each in both]
    digests = [each.records[0].inputs["bundle"] for each in both]
    if names[0] == names[1] and digests[0] != digests[1]:
        names = [f"{name} ({digest[:8]})" for name, digest in zip(names, digests, strict=True)]
    recorded = [each.options.recorded() for each in both]
    different = [
        name
        for name, value in recorded[0].items()
        if value != recorded[1][name] and name not in ("labels", *VIEW_OPTIONS)
    ]
    texts = []
    for each, name, values in zip(both, names, recorded, strict=True):
        options = [f"{option.replace('_', '-')}={values[option]}" for option in different]
        texts.append(", ".join([name, labels_text(each.options), *options]))
    if texts[0] == texts[1]:
        return texts[0], f"{texts[1]} (nothing differs)"
    return texts[0], texts[1]


def _bundle_text(cell: Cell) -> str:
    """Return the name of a cell's bundle; of one in memory the beginning of the digest."""
    record = cell.records[0]
    digest = record.inputs["bundle"]
    return bundle_name(record.origins.get("bundle", {}).get("name") or digest[:8])


def _num_values(grid: Sequence[EvaluateOptions], axis: str) -> int:
    return len({getattr(options, axis) for options in grid})


def _after_place(cell: Cell, axes: Sequence[str], text: str) -> str:
    place = cell.place(axes)
    return f"{place}: {text}" if place else text


def _row(cells: Sequence[Cell], axes: Sequence[str], columns: Sequence[str]) -> list[str]:
    """Return the means of a row of the table, and that of the whole row."""
    if not columns:
        return [_mean(cells)]
    by_column = _group(cells, axes[1])
    means = [_mean(by_column.get(column, [])) for column in columns]
    if len(columns) > 1:
        means.append(_mean(cells))
    return means


def _table_of_figures(cell: Cell) -> Table:
    table = Table("figure", "mean", "deviation", "95 % interval", title=_title([cell], []))
    options = cell.options
    facts = [labels_text(options), options.loss, options.optimizer, options.net]
    table.caption = ", ".join([*facts, f"{len(cell.records)} students"])
    if cell.against is not None:
        this, other = _sides(cell)
        table.caption += f"\nthis: {this}\n--against: {other}"
    for name in cell.figures:
        summary = cell.summary(name)
        deviation = _MISSING if summary.deviation is None else f"{summary.deviation:.2f}"
        interval = summary.spread().strip() or _MISSING
        table.add_row(FIGURES[name], f"{summary.mean:.2f}", deviation, interval)
    return table


def _title(cells: Sequence[Cell], axes: Sequence[str]) -> str:
    options = cells[0].options
    title = _TITLES[options.select]
    if any(cell.num_diverged for cell in cells):
        title += " (*: some students diverged)"
    varying = varying_axes([cell.options for cell in cells])
    hidden = [axis for axis in varying if axis not in axes]
    if hidden:
        title += f", averaged over {' and '.join(hidden)}"
    if options.continual is not None:
        title += f", mean over {options.continual} class-incremental steps"
    return title


def _group(cells: Sequence[Cell], axis: str) -> dict[str, list[Cell]]:
    """Return the cells by their value of an axis, in the order in which the values were given."""
    groups: dict[str, list[Cell]] = {}
    for cell in cells:
        groups.setdefault(getattr(cell.options, axis), []).append(cell)
    return groups


def _mean(cells: Sequence[Cell]) -> str:
    """Return mean ± interval over students, each of which is first averaged over the cells."""
    if not cells:
        return _MISSING
    accuracies = zip(*(cell.percent() for cell in cells), strict=True)
    summary = summarise_percent([sum(values) / len(cells) for values in accuracies])
    mark = " *" if any(cell.num_diverged for cell in cells) else ""
    return f"{summary.mean:.2f}{summary.spread()}{mark}"
