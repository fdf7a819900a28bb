"""The result of an evaluation."""

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

from ddlabel.commands.evaluate.cell import Cell
from ddlabel.commands.evaluate.tables import (
    comparison_line,
    control_lines,
    make_table,
    result_line,
    varying_axes,
)
from ddlabel.core.errors import UsageError
from ddlabel.data.record import Record
from ddlabel.methods.intervals import Summary

_WIDTH = 120


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """The result of `evaluate`. `print` shows its table, and lines of its comparisons.

    Attributes:
        cells: One cell for each combination of the options' values.
        axes: The axes for rows and columns of the table; empty for a single cell.
    """

    cells: Sequence[Cell]
    axes: Sequence[str] = ()

    def __repr__(self) -> str:
        return f"<Evaluation: {len(self.cells)} cells, {len(self.records)} students>"

    def __str__(self) -> str:
        text = io.StringIO()
        Console(file=text, width=_WIDTH, color_system=None).print(self.table())
        table = text.getvalue().rstrip("\n")
        is_compared = any(cell.against is not None or cell.controls for cell in self.cells)
        return "\n".join([table, *self.lines()]) if is_compared else table

    @property
    def accuracy(self) -> Summary:
        """The test accuracy of the only cell: mean, deviation and 95 % interval, in per cent.

        Raises:
            UsageError: There are several cells.
        """
        if len(self.cells) > 1:
            raise UsageError(
                f"there are {len(self.cells)} cells: use the accuracy of one, such as "
                ".cells[0].accuracy"
            )
        return self.cells[0].accuracy

    @property
    def records(self) -> list[Record]:
        """The records of the students of `cells`.

        Those of the bundle of `against` and of controls are not among them: they are the records of
        `cells[i].against` and of `cells[i].controls[role]`.
        """
        return [record for cell in self.cells for record in cell.records]

    def table(self) -> Table:
        """Return the table that the command line shows."""
        return make_table(self.cells, self.axes)

    def lines(self) -> list[str]:
        """Return the lines that the command line prints: of cells, comparisons and controls."""
        varying = varying_axes([cell.options for cell in self.cells])
        lines = [result_line(cell, varying) for cell in self.cells]
        for cell in self.cells:
            if cell.against is not None:
                lines.append(comparison_line(cell, varying))
        for cell in self.cells:
            lines += control_lines(cell, varying)
        return lines

    def value(self) -> dict[str, Any]:
        """Return what `--json` prints."""
        return {"cells": [cell.value() for cell in self.cells]}

    def to_json(self) -> str:
        """Return `value()` as JSON."""
        return json.dumps(self.value())
