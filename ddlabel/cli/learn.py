"""`ddlabel learn`."""

from pathlib import Path

from ddlabel.cli.command import BundleArgument, Force, OutArgument, cli_command, write_bundle
from ddlabel.cli.reporter import TerminalReporter
from ddlabel.core.config import LearnOptions
from ddlabel.data.reading import STANDARD, is_stream


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
    has_file = out != STANDARD and not is_stream(Path(out))
    resume = Path(f"{out}.resume") if has_file else None
    inputs = {"bundle": bundle, "resume": resume}
    write_bundle("learn", inputs, out, options, reporter, force=force)
    if resume is not None:
        resume.unlink(missing_ok=True)
