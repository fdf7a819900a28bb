"""`ddlabel sweep`."""

from typing import Annotated, Any

import typer

from ddlabel.cli.command import cli_command
from ddlabel.cli.reporter import TerminalReporter
from ddlabel.commands.command import load_command
from ddlabel.core.config import SweepOptions
from ddlabel.core.errors import SweepError
from ddlabel.core.text import printable

_GridArgument = Annotated[
    str, typer.Argument(metavar="GRID", help="TOML file: command, [options] and, as lists, [axes]")
]


@cli_command("sweep", SweepOptions)
def sweep(grid: _GridArgument, *, options: SweepOptions, reporter: TerminalReporter) -> None:
    """Run a command over a grid of its options. A rerun runs only the cells that are missing.

    Example: ddlabel sweep grid.toml --out sweep.jsonl
    """
    command = load_command("sweep")
    try:
        result = command.run({"grid": grid}, options, reporter)
    except SweepError as error:
        _show_table(error.result, reporter)
        reporter.result(options.out, command.json_value(error.result))
        raise
    if options.plan:
        _show_plan(result, command.json_value(result), reporter)
    else:
        _show_table(result, reporter)
        reporter.done(
            f"{result.num_run} of {result.num_cells} cells run, records in {options.out},"
        )
        reporter.result(options.out, command.json_value(result))


def _show_table(result: Any, reporter: TerminalReporter) -> None:
    """Show the finished cells of a sweep as a table."""
    table = result.table()
    if table is not None:
        reporter.show(table.rich())


def _show_plan(plan: Any, value: dict[str, Any], reporter: TerminalReporter) -> None:
    """Show the cells that would be run as a table, and their estimated time as a line."""
    from rich.markup import escape
    from rich.table import Table

    table = Table("cell", "GFLOP", "seconds", title="cells to run")
    for planned in plan.cells:
        gigaflops = None if planned.flops is None else planned.flops / 1e9
        place = escape(printable(planned.cell.place))
        table.add_row(place, _figure(gigaflops), _figure(planned.seconds))
    reporter.show(table)
    reporter.result(
        f"{len(plan.cells)} cells to run, {_figure(plan.seconds)} seconds (an estimate: one after "
        "another, without reading, compiling and testing)",
        value,
    )


def _figure(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.1f}" if value >= 10 else f"{value:.2g}"
