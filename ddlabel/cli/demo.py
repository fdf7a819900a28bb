"""`ddlabel demo`."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from ddlabel.cli.command import cli_command
from ddlabel.cli.reporter import TerminalReporter
from ddlabel.commands.command import load_command

if TYPE_CHECKING:
    from ddlabel.commands.demo import Demo

_Out = Annotated[str, typer.Option("--out", help="new folder for all files")]


@cli_command("demo")
def demo(out: _Out = "ddlabel-demo", *, reporter: TerminalReporter) -> None:
    """Run the whole path on real pictures of clothes and compare three kinds of labels.

    Example: ddlabel demo
    """
    command = load_command("demo")
    done: Demo = command.run({"out": out}, None, reporter)
    reporter.show(_table(done))
    reporter.note(f"images and labels: {done.sheet}")
    reporter.note(f"try next, in the folder {done.folder}:")
    for line in done.next_lines:
        reporter.note(f"    {line}")
    lines = [f"{labels} {cell['percent']['mean']:.2f} %" for labels, cell in done.cells.items()]
    reporter.result(lines, command.json_value(done))


def _table(done: "Demo") -> Any:
    """Return the accuracies, and the difference of every row to the row above it."""
    from rich.table import Table

    table = Table(
        "labels",
        "accuracy %",
        "against the row above",
        title="test accuracy of five students, one image per class, with 95 % intervals",
    )
    for labels, cell in done.cells.items():
        percent = cell["percent"]
        step = done.steps.get(labels)
        difference = ""
        if step is not None and step.difference.interval is not None:
            difference = f"{step.difference.mean:+.1f} ± {step.difference.interval:.1f}"
        accuracy = f"{percent['mean']:.1f}"
        if percent["interval"] is not None:
            accuracy += f" ± {percent['interval']:.1f}"
        table.add_row(labels, accuracy, difference)
    return table
