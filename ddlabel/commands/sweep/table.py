"""The table with which a sweep ends."""

from collections.abc import Sequence
from typing import Any

from ddlabel.commands.compare import compare_observations, crossed_comparisons
from ddlabel.commands.compare.observations import observe
from ddlabel.commands.compare.rows import flag_name
from ddlabel.commands.reporter import SILENT
from ddlabel.commands.text_table import TextTable
from ddlabel.core.config import CompareOptions
from ddlabel.core.values import shown
from ddlabel.data.record import Record

_MISSING = "–"
_NEVER_SHOWN = ("command", "force")


def table_of_cells(records: Sequence[Record]) -> TextTable | None:
    """Return the table of the cells of a sweep; None if there are none.

    Cells of `evaluate` are shown as `compare` shows their students. Of other commands there is a
    row for each cell, with what differs between the cells and the figures of their results.
    """
    if not records:
        return None
    observations = observe(records, SILENT)
    if not observations:
        return _table_of_results(records)
    comparisons = compare_observations(observations, CompareOptions())
    crossed = crossed_comparisons(observations, comparisons)
    return (crossed or comparisons).tables()[0]


def _table_of_results(records: Sequence[Record]) -> TextTable:
    names = _differing([record.options for record in records])
    figures = [_figures(record) for record in records]
    heads = list(dict.fromkeys(name for of_cell in figures for name in of_cell))
    rows = []
    for record, of_cell in zip(records, figures, strict=True):
        places = [_text(record.options.get(name)) for name in names]
        rows.append([*places, *(of_cell.get(head, _MISSING) for head in heads)])
    return TextTable(
        title=f"{len(records)} cells of {records[0].options.get('command')}",
        heads=[*map(flag_name, names), *(head.replace("_", " ") for head in heads)],
        rows=rows,
        num_names=len(names),
    )


def _differing(options: Sequence[dict[str, Any]]) -> list[str]:
    """Return the names of the options that differ between cells."""
    names = dict.fromkeys(name for of_cell in options for name in of_cell)
    return [
        name
        for name in names
        if name not in _NEVER_SHOWN and len({_text(each.get(name)) for each in options}) > 1
    ]


def _figures(record: Record) -> dict[str, str]:
    """Return the numbers of a cell's result as texts: of a list, such as checkpoints, the last."""
    result = record.result if isinstance(record.result, dict) else {}
    numbers: dict[str, Any] = {}
    for name, value in result.items():
        is_list = isinstance(value, list) and bool(value) and isinstance(value[-1], dict)
        numbers |= value[-1] if is_list else {name: value}
    numbers["seconds"] = record.cost.get("seconds")
    return {
        name: f"{value:.4g}"
        for name, value in numbers.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }


def _text(value: Any) -> str:
    if value is None:
        return _MISSING
    if isinstance(value, list):
        return " ".join(map(_text, value))
    return value if isinstance(value, str) else shown(value)
