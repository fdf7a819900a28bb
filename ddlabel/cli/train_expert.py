"""`ddlabel train-expert`."""

from typing import Annotated, Any

import typer

from ddlabel.cli.command import cli_command
from ddlabel.cli.reporter import TerminalReporter
from ddlabel.commands.command import load_command
from ddlabel.core.config import TrainExpertOptions
from ddlabel.core.options import Options

RealArgument = Annotated[
    str,
    typer.Argument(
        metavar="REAL", help="real images: a bundle, - for standard input, or class folders"
    ),
]
FolderArgument = Annotated[str, typer.Argument(metavar="OUT", help="folder of the expert run")]


@cli_command("train-expert", TrainExpertOptions)
def train_expert(
    real: RealArgument,
    out: FolderArgument,
    *,
    options: TrainExpertOptions,
    reporter: TerminalReporter,
) -> None:
    """Train experts on real images and keep their checkpoints.

    A run that was killed goes on where it stopped, and a finished one with more --epochs after
    its last one.

    Example: ddlabel train-expert real.safetensors expert --epochs 6
    """
    print_runs("train-expert", {"real": real, "out": out}, options, reporter)


def print_runs(
    name: str, inputs: dict[str, Any], options: Options, reporter: TerminalReporter
) -> None:
    """Run a command that makes expert runs, and print their folders."""
    runs = load_command(name).run(inputs, options, reporter)
    num_checkpoints = sum(len(run.epochs) for run in runs)
    reporter.done(f"{num_checkpoints} checkpoints of {len(runs)} experts in {inputs['out']}")
    for run in runs:
        path = str(run.folder)
        reporter.result(path, {"out": path, "checkpoints": run.metrics()})
