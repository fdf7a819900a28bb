"""`ddlabel show`."""

from pathlib import Path
from typing import Annotated

import typer

from ddlabel.cli import inline
from ddlabel.cli.command import cli_command
from ddlabel.cli.flags import Force
from ddlabel.cli.reporter import TerminalReporter
from ddlabel.commands.command import load_command
from ddlabel.core.config import ShowOptions
from ddlabel.core.option import OUTPUT

_Subject = Annotated[
    str,
    typer.Argument(
        metavar="INPUT",
        help="bundle (- is standard input), folder of an expert run, or results (.jsonl)",
    ),
]
_Out = Annotated[
    str | None,
    typer.Option(
        "--out", help="folder for the files (default: NAME-figures)", rich_help_panel=OUTPUT
    ),
]


@cli_command("show", ShowOptions)
def show(
    subject: _Subject,
    out: _Out = None,
    force: Force = False,
    *,
    options: ShowOptions,
    reporter: TerminalReporter,
) -> None:
    """Draw labels, experts or results: pictures as PNG and SVG, and the numbers of each as CSV.

    Needs matplotlib: pip install 'ddlabel[plots]'.

    Example: ddlabel show soft.safetensors --figure contact-sheet:count=20
    """
    folder = out or _default_folder(subject)
    command = load_command("show")
    inputs = {"subject": subject, "out": folder, "force": force}
    pictures = command.run(inputs, options, reporter)
    if inline.can_show():
        for picture in pictures:
            reporter.draw(inline.picture_text(picture.png()))
    lines = [str(file) for picture in pictures for file in picture.files]
    reporter.done(f"drew {len(pictures)} figures in {folder}")
    reporter.result(lines, command.json_value(pictures))


def _default_folder(subject: str) -> str:
    """Return the folder for the figures of an input: beside nothing of the user's, by its name."""
    name = Path(subject).resolve().stem if subject != "-" else "bundle"
    return f"{name}-figures"
