"""The estimated cost of the cells of a sweep, for `--plan`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ddlabel.commands.execute import prepare_call
from ddlabel.commands.planning import plan_call
from ddlabel.commands.sweep.grid import Cell


@dataclass(frozen=True, kw_only=True)
class PlannedCell:
    """A cell with its floating-point operations and seconds; None where they are not known."""

    cell: Cell
    flops: int | None
    seconds: float | None

    def value(self) -> dict[str, Any]:
        """Return what `--json` prints."""
        return {
            "cell": self.cell.options,
            "key": self.cell.key,
            "flops": self.flops,
            "seconds": self.seconds,
        }


@dataclass(frozen=True, kw_only=True)
class SweepPlan:
    """The cells that a sweep would run, and their estimated cost."""

    cells: list[PlannedCell]

    @property
    def seconds(self) -> float | None:
        """The seconds of all cells, one after another; None if those of one are not known."""
        total = 0.0
        for planned in self.cells:
            if planned.seconds is None:
                return None
            total += planned.seconds
        return total

    def value(self) -> dict[str, Any]:
        """Return what `--json` prints."""
        return {"cells": [planned.value() for planned in self.cells], "seconds": self.seconds}


def plan_cells(cells: Sequence[Cell]) -> SweepPlan:
    """Estimate the cost of cells without running them.

    The seconds are those of `plan_call`.

    Raises:
        DDLabelError: An input of a cell cannot be used.
    """
    return SweepPlan(cells=[_plan(cell) for cell in cells])


def _plan(cell: Cell) -> PlannedCell:
    planned = plan_call(prepare_call(cell.command, cell.given))
    return PlannedCell(cell=cell, flops=planned.flops, seconds=planned.seconds)
