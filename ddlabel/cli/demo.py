"""`ddlabel demo`."""

from typing import Annotated, Any

import typer

from ddlabel.cli.command import cli_command
from ddlabel.cli.reporter import TerminalReporter
from ddlabel.commands.command import load_command

_Out = Annotated[
    str | None,
    typer.Option("--out", help="new folder that keeps all files (default: they are removed)"),
]


@cli_command("demo")
def demo(out: _Out = None, *, reporter: TerminalReporter) -> None:
    """Run the whole path on real handwritten digits and compare four kinds of labels.

    Example: ddlabel demo
    """
    command = load_command("demo")
    cells = command.run({"out": out}, None, reporter)
    reporter.show(_table(cells))
    lines = [f"{labels} {cell['percent']['mean']:.2f} %" for labels, cell in cells.items()]
    reporter.result(lines, command.json_value(cells))


def _table(cells: dict[str, Any]) -> Any:
    from rich.table import Table

    table = Table(
        "labels", "accuracy %", "95 % interval", title="five students for each kind of label"
    )
    for labels, cell in cells.items():
        percent = cell["percent"]
        table.add_row(labels, f"{percent['mean']:.1f}", f"± {percent['interval']:.1f}")
    return table
