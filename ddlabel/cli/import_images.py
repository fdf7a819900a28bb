"""`ddlabel import`."""

from typing import Annotated

import typer

from ddlabel.cli.command import OutArgument, cli_command, write_bundle
from ddlabel.cli.flags import Force
from ddlabel.cli.reporter import TerminalReporter
from ddlabel.core.config import ImportOptions

_Sources = Annotated[
    list[str], typer.Argument(metavar="SOURCE", help="one file or folder, or the files of one set")
]


@cli_command("import", ImportOptions)
def import_images(
    sources: _Sources,
    out: OutArgument,
    *,
    options: ImportOptions,
    reporter: TerminalReporter,
    force: Force = False,
) -> None:
    """Make a bundle of foreign files: class folders, CIFAR, IDX, arrays, distilled sets of others.

    Example: ddlabel import cifar10.zip real.safetensors --split train
    """
    write_bundle("import", {"sources": sources}, out, options, reporter, force=force)
