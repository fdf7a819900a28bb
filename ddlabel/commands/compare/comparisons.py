"""The result of a comparison: its rows and pairs as tables, lines and values."""

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Console

from ddlabel.commands.compare.observations import FIGURES
from ddlabel.commands.compare.rows import Pair, Row, flag_name
from ddlabel.commands.compare.texts import (
    MISSING,
    comparison_cells,
    few_students_note,
    figure_text,
    pair_names,
    pair_text,
    row_text,
)
from ddlabel.commands.text_table import TextTable, csv_lines

_WIDTH = 120
_TITLES = {
    "val": "test accuracy at the epoch chosen on held-out images",
    "best-on-test": "best test accuracy over epochs: CHOSEN ON TEST IMAGES",
}
_LAST = "test accuracy at the last epoch"


@dataclass(frozen=True, kw_only=True)
class Comparisons:
    """The result of `compare`. `print` shows its tables.

    Attributes:
        names: The names of what makes a row.
        differing: The names of all that differs between students.
        same: What all students have in common, by name.
        rows: The rows.
        pairs: The pairs of rows that are compared; empty if no comparison was asked for.
        table_names: The names of rows and columns of a table of accuracies; empty without one.
    """

    names: Sequence[str]
    differing: Sequence[str]
    same: Mapping[str, str]
    rows: Sequence[Row]
    pairs: Sequence[Pair] = ()
    table_names: Sequence[str] = ()

    def __repr__(self) -> str:
        return f"<Comparisons: {len(self.rows)} rows, {len(self.pairs)} pairs>"

    def __str__(self) -> str:
        text = io.StringIO()
        console = Console(file=text, width=_WIDTH, color_system=None)
        for table in self.tables():
            console.print(table.rich())
        return text.getvalue().rstrip("\n")

    def tables(self) -> list[TextTable]:
        """Return the table of the rows and, if there are pairs, the one of the pairs."""
        of_rows = self._crossed() if self.table_names else self._listed()
        return [of_rows, self._paired()] if self.pairs else [of_rows]

    def text(self, form: str) -> list[str]:
        """Return the lines of the tables as `md`, `latex` or `csv`.

        A CSV file has one table: that of the pairs if there are any.
        """
        if form == "csv":
            return self._csv()
        lines: list[str] = []
        for table in self.tables():
            separator = [""] if lines else []
            lines += [*separator, *(table.markdown() if form == "md" else table.latex())]
        return lines

    def lines(self) -> list[str]:
        """Return a line for every row and every pair."""
        lines = [f"{row.name}: {row_text(row)}" for row in self.rows]
        return lines + [
            f"{pair.first.name} − {pair.second.name}: {pair_text(pair)}" for pair in self.pairs
        ]

    def notes(self) -> list[str]:
        """Return what a reader of the tables has to know."""
        notes = []
        averaged = {name for row in self.rows for name in row.averaged}
        hidden = [name for name in self.differing if name not in (*self.names, *averaged, "ipc")]
        if averaged:
            notes.append(f"averaged over {_listed_names(sorted(averaged))}")
        if hidden:
            notes.append(f"the rows also differ in {_listed_names(hidden)}")
        num_dropped = sum(row.num_dropped for row in self.rows)
        if num_dropped:
            notes.append(
                f"{num_dropped} students are left out: others of their row, with which they are "
                "averaged, do not have their seed"
            )
        if any(row.num_diverged for row in self.rows):
            notes.append("*: some students diverged")
        advice = few_students_note([row.accuracy.n for row in self.rows])
        return notes + ([advice] if advice else [])

    def value(self) -> dict[str, Any]:
        """Return what `--json` prints. Accuracies and differences are in per cent."""
        return {
            "by": list(self.names),
            "same": dict(self.same),
            "rows": [_row_value(row) for row in self.rows],
            "pairs": [_pair_value(pair) for pair in self.pairs],
            "notes": self.notes(),
        }

    def to_json(self) -> str:
        """Return `value()` as JSON."""
        return json.dumps(self.value())

    @property
    def title(self) -> str:
        """What the figures are."""
        return _TITLES.get(self.same.get("select", ""), _LAST)

    def _same_note(self) -> str:
        """Return what all students have in common as text; empty if it is nothing."""
        hidden = ("role", "version", "ipc", *self.names)
        parts = [
            f"{flag_name(name)}={value}"
            for name, value in self.same.items()
            if name not in hidden and value != "none"
        ]
        return f"all: {' '.join(parts)}" if parts else ""

    def _listed(self) -> TextTable:
        """Return the table with a line for every row."""
        figures = [name for name in FIGURES if any(name in row.figures for row in self.rows)]
        heads = [*map(flag_name, self.names), "students", *(FIGURES[name] for name in figures)]
        rows = []
        for row in self.rows:
            cells = [figure_text(row, name) for name in figures]
            rows.append([*row.place.values(), str(row.accuracy.n), *cells])
        return TextTable(
            title=f"{self.title}, mean ± 95 % interval",
            heads=heads,
            rows=rows,
            num_names=len(self.names),
            notes=[*filter(None, [self._same_note(), *self.notes()])],
        )

    def _crossed(self) -> TextTable:
        """Return the table of accuracies by two names."""
        row_name, column_name = self.table_names
        columns = list(dict.fromkeys(row.place[column_name] for row in self.rows))
        by_row: dict[str, dict[str, Row]] = {}
        for row in self.rows:
            by_row.setdefault(row.place[row_name], {})[row.place[column_name]] = row
        rows = []
        for value, of_row in by_row.items():
            cells = [of_row.get(column) for column in columns]
            texts = [figure_text(row, "accuracy") if row else MISSING for row in cells]
            rows.append([value, *texts])
        by = f"by {flag_name(row_name)} and {flag_name(column_name)}"
        return TextTable(
            title=f"{self.title} {by}, mean ± 95 % interval",
            heads=[f"{flag_name(row_name)} \\ {flag_name(column_name)}", *columns],
            rows=rows,
            num_names=1,
            notes=[*filter(None, [self._same_note(), *self.notes()])],
        )

    def _paired(self) -> TextTable:
        """Return the table of the pairs."""
        names = [pair_names(pair) for pair in self.pairs]
        num_names = 2 if all(shared == MISSING for *_, shared in names) else 3
        rows = []
        for pair, of_pair in zip(self.pairs, names, strict=True):
            rows.append([*of_pair[:num_names], *comparison_cells(pair.comparison)])
        heads = ["first", "second", "same"][:num_names]
        notes = []
        if len(self.pairs) > 1:
            notes.append(
                f"p-values are those of single tests: of {len(self.pairs)} tests without any "
                f"difference, 1 in 20 has p < 0.05"
            )
        num_unpaired = sum(pair.num_unpaired for pair in self.pairs)
        if num_unpaired:
            notes.append("students without a partner of the same seed are not compared")
        return TextTable(
            title="paired differences of accuracy in points (first − second, same seeds)",
            heads=[*heads, "difference", "95 % interval", "p", "pairs"],
            rows=rows,
            num_names=num_names,
            notes=notes,
        )

    def _csv(self) -> list[str]:
        """Return the table of the pairs, or that of the rows, with numbers in full."""
        names = [*map(flag_name, self.names)]
        if self.pairs:
            heads = [f"first-{name}" for name in names] + [f"second-{name}" for name in names]
            heads += ["difference", "deviation", "interval", "p", "pairs"]
            return csv_lines(heads, [_pair_numbers(pair) for pair in self.pairs])
        heads = [*names, "students", "mean", "deviation", "interval", "diverged"]
        return csv_lines(heads, [_row_numbers(row) for row in self.rows])


def _listed_names(names: Sequence[str]) -> str:
    """Return names as a text with commas and `and`."""
    *first, last = map(flag_name, names)
    return f"{', '.join(first)} and {last}" if first else last


def _row_numbers(row: Row) -> list[object]:
    accuracy = row.accuracy
    spread = (accuracy.deviation, accuracy.interval)
    return [*row.place.values(), accuracy.n, accuracy.mean, *spread, row.num_diverged]


def _pair_numbers(pair: Pair) -> list[object]:
    names = [*pair.first.place.values(), *pair.second.place.values()]
    if pair.comparison is None:
        return [*names, None, None, None, None, 0]
    difference = pair.comparison.difference
    spread = (difference.deviation, difference.interval)
    return [*names, difference.mean, *spread, pair.comparison.p_value, difference.n]


def _row_value(row: Row) -> dict[str, Any]:
    value: dict[str, Any] = {"place": row.place, "seeds": [*row.accuracies]}
    for name in row.figures:
        value[name] = {"values": [*row.figures[name].values()], **asdict(row.summary(name))}
    return value | {"averaged_over": list(row.averaged), "diverged": row.num_diverged}


def _pair_value(pair: Pair) -> dict[str, Any]:
    value: dict[str, Any] = {"first": pair.first.place, "second": pair.second.place}
    return value | ({} if pair.comparison is None else asdict(pair.comparison))
