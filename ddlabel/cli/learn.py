"""`ddlabel learn`."""

from ddlabel.cli.command import BundleArgument, OutArgument, cli_command, write_bundle
from ddlabel.cli.flags import Force
from ddlabel.cli.reporter import TerminalReporter
from ddlabel.core.config import LearnOptions


@cli_command("learn", LearnOptions)
def learn(
    bundle: BundleArgument,
    out: OutArgument,
    *,
    options: LearnOptions,
    reporter: TerminalReporter,
    force: Force = False,
) -> None:
    """Learn soft labels for the images as they are: by students' loss, or experts' training.

    A run that was killed goes on from OUT.resume.

    Example: ddlabel learn few.safetensors learned.safetensors --real real.safetensors
    """
    write_bundle("learn", {"bundle": bundle}, out, options, reporter, force=force)
