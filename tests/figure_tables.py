"""Reading the tables behind figures in tests."""

from __future__ import annotations

import csv
import io

from ddlabel.figures.registry import Table


def column(table: Table, name: str) -> list:
    """The values of a column."""
    place = list(table.columns).index(name)
    return [row[place] for row in table.rows]


def read_csv(content: bytes) -> list[list[str]]:
    return list(csv.reader(io.StringIO(content.decode(), newline="")))
