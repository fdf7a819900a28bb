"""`ddlabel import-expert`."""

from typing import Annotated

import typer

from ddlabel.cli.command import cli_command
from ddlabel.cli.reporter import TerminalReporter
from ddlabel.cli.train_expert import FolderArgument, print_runs
from ddlabel.core.config import ImportExpertOptions

_Sources = Annotated[
    list[str], typer.Argument(metavar="SOURCE", help="files of weights: .pt, .pth, .safetensors, …")
]


@cli_command("import-expert", ImportExpertOptions)
def import_expert(
    sources: _Sources,
    out: FolderArgument,
    *,
    options: ImportExpertOptions,
    reporter: TerminalReporter,
) -> None:
    """Make an expert run of weights that another program trained: state dicts, replay buffers.

    Example: ddlabel import-expert model.pth expert --size 32 --class-names a,b,c
    --normalise cifar10-mtt
    """
    print_runs("import-expert", {"sources": sources, "out": out}, options, reporter)
