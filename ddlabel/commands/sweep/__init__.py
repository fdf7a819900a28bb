"""`sweep`: run one command over a grid of its options, cell by cell or side by side on Ray."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ddlabel import __version__
from ddlabel.commands.command import command
from ddlabel.commands.reporter import Reporter
from ddlabel.commands.sweep.grid import Cell, Grid
from ddlabel.commands.sweep.plan import SweepPlan, plan_cells
from ddlabel.commands.sweep.ray import run_on_ray
from ddlabel.commands.sweep.run import Outcome, run_cell
from ddlabel.commands.sweep.table import table_of_cells
from ddlabel.commands.text_table import TextTable
from ddlabel.core import interruption
from ddlabel.core.config import SweepOptions
from ddlabel.core.errors import SweepError, UsageError
from ddlabel.data.record import Record
from ddlabel.data.results import Results


@dataclass(frozen=True, kw_only=True, repr=False)
class SweepResult:
    """The outcome of a sweep.

    Attributes:
        out: The results file.
        records: The records of the finished cells, in the order of the grid.
        num_cells: The number of cells of the grid, or of its shard.
        num_run: The number of cells that were run now, failed ones included, without those that
            another process has finished meanwhile.
        failures: The error of each failed cell, by its place in the grid.
    """

    out: Path
    records: list[Record]
    num_cells: int
    num_run: int
    failures: dict[str, str]

    def value(self) -> dict[str, Any]:
        """Return what `--json` prints."""
        return {
            "out": str(self.out),
            "cells": self.num_cells,
            "ran": self.num_run,
            "failed": len(self.failures),
        }

    def table(self) -> TextTable | None:
        """Return the table of the finished cells; None if there are none."""
        return table_of_cells(self.records)

    def raise_for_failures(self) -> None:
        """Raise an error if cells failed.

        Raises:
            SweepError: Some cells failed. Its `result` is this object.
        """
        if self.failures:
            raise SweepError(
                f"{len(self.failures)} of {self.num_run} cells failed: correct what their lines "
                "say and run the same command again, which tries only these",
                result=self,
            )

    def __repr__(self) -> str:
        return (
            f"<SweepResult: {self.num_cells} cells, {self.num_run} of them run now, "
            f"{len(self.failures)} failed, results in {self.out}>"
        )


def _json_value(result: SweepResult | SweepPlan) -> dict[str, Any]:
    return result.value()


@command("sweep", SweepOptions, json_value=_json_value)
def sweep(
    grid: str | Path | Mapping[str, Any], *, options: SweepOptions, reporter: Reporter
) -> SweepResult | SweepPlan:
    """Run a command over a grid of its options. A rerun runs only the cells that are missing.

    `grid` is a TOML file, or a dict of the same form: `command`, a table `options`, and a table
    `axes` with a list of values for each option that varies. Each finished cell is appended to the
    results file as a record. A sweep can be killed between the output of a cell and its record:
    such an output is recorded without running the cell again. With `plan`, no cell is run and the
    result is their estimated cost.

    Raises:
        UsageError: The grid, one of its cells or the shard cannot be used. No cell is run.
        InvalidInputError: The grid or the results file cannot be read.
        ResourceError: Ray does not answer, or has no room for a cell.
        SweepError: Some cells failed. Its `result` is the `SweepResult`.
    """
    shard, num_shards = _read_shard(options.shard)
    results = Results(options.out)
    results.check_output()
    cells = Grid.of(grid).cells()[shard - 1 :: num_shards]
    records = results.read("cell", reporter.note)
    missing = [cell for cell in cells if not _is_finished(cell, records)]
    reporter.note(
        f"{len(cells) - len(missing)} of {len(cells)} cells are in {results.path} already"
    )
    if options.plan:
        return plan_cells(missing)
    failures = {}
    num_run = 0

    def is_missing(cell: Cell) -> bool:
        return not _is_finished(cell, results.read_new())

    with interruption.outlook(partial(_outlook, results)):
        for cell, record, error in _run(missing, is_missing, options, reporter):
            # A cell that an earlier sweep had made costs nothing.
            num_run += record is None or bool(record.cost)
            if record is not None:
                results.append_new(record)
            elif is_missing(cell):
                failures[cell.place] = error
    result = SweepResult(
        out=results.path,
        records=[records[cell.key] for cell in cells if cell.key in records],
        num_cells=len(cells),
        num_run=num_run,
        failures=failures,
    )
    result.raise_for_failures()
    return result


def _outlook(results: Results) -> str:
    """Return what the same command does if this one ends now: see `interruption.outlook`."""
    return f"finished cells are in {results.path}, and the same command runs the others"


def _read_shard(text: str) -> tuple[int, int]:
    """Return the number of a shard, from 1, and the number of shards."""
    number, _, total = text.partition("/")
    are_numbers = number.isdecimal() and total.isdecimal()
    if not are_numbers or not 1 <= int(number) <= int(total):
        raise UsageError(f"--shard is {text!r}: expected I/N with I from 1 to N, such as 2/8")
    return int(number), int(total)


def _is_finished(cell: Cell, records: Mapping[str, Record]) -> bool:
    """Return whether a cell has a record, and the output that the record owns is still there."""
    return cell.key in records and (cell.out is None or cell.out.exists())


def _run(
    cells: Sequence[Cell],
    is_missing: Callable[[Cell], bool],
    options: SweepOptions,
    reporter: Reporter,
) -> Iterator[tuple[Cell, Record | None, str]]:
    """Run cells and yield each with its record, or with None and its error, as they finish.

    Before a cell is run here, `is_missing` says whether it is still to be run: another process may
    work on the same results file.
    """
    outcomes = _run_on_ray_or_here(cells, is_missing, options)
    for count, (number, outcome) in enumerate(outcomes, start=1):
        cell = cells[number]
        name = f"cell {count} of {len(cells)}: {cell.place}"
        if outcome.error:
            reporter.warn(f"{name} failed: {outcome.error}")
            yield cell, None, outcome.error
            continue
        reporter.note(f"{name} ({outcome.duration})")
        record = Record(
            kind="cell",
            key=cell.key,
            version=__version__,
            inputs=cell.inputs,
            options=cell.options,
            result=outcome.result,
            cost=outcome.cost,
        )
        yield cell, record, ""


def _run_on_ray_or_here(
    cells: Sequence[Cell], is_missing: Callable[[Cell], bool], options: SweepOptions
) -> Iterator[tuple[int, Outcome]]:
    """Yield the outcome of every cell with its number, as they finish."""
    if options.ray and cells:
        yield from run_on_ray(cells, options)
        return
    for number, cell in enumerate(cells):
        if is_missing(cell):
            yield number, run_cell(cell.command, cell.given)
