"""`ddlabel export`."""

from typing import Annotated

import typer

from ddlabel.cli.command import BundleArgument, cli_command, finished_output
from ddlabel.cli.reporter import TerminalReporter
from ddlabel.commands.command import load_command
from ddlabel.core import interruption
from ddlabel.core.config import ExportOptions

_Out = Annotated[str, typer.Argument(metavar="OUT", help="file or folder to write")]


@cli_command("export", ExportOptions)
def export(
    bundle: BundleArgument, out: _Out, *, options: ExportOptions, reporter: TerminalReporter
) -> None:
    """Write a bundle in a form that other programs read: folders, .npz, .pt, .tar, ….

    Example: ddlabel export few.safetensors few.npz
    """
    command = load_command("export")
    with interruption.outlook(lambda: finished_output(out)):
        exported = command.run({"bundle": bundle, "out": out}, options, reporter)
    from ddlabel.data.reading import is_standard_output

    if not is_standard_output(out):
        reporter.result(out, command.json_value(exported))
