"""`ddlabel guide`."""

import sys
from typing import Annotated

import typer

from ddlabel.cli.command import cli_command
from ddlabel.cli.reporter import TerminalReporter
from ddlabel.commands.command import load_command
from ddlabel.commands.guide import topics


def _complete(typed: str) -> list[tuple[str, str]]:
    pages = topics().items()
    return [(topic, summary) for topic, summary in pages if topic.startswith(typed)]


_Topic = Annotated[
    str | None,
    typer.Argument(
        metavar="TOPIC", help="page to show (default: list the topics)", autocompletion=_complete
    ),
]


@cli_command("guide")
def guide(topic: _Topic = None, *, reporter: TerminalReporter) -> None:
    """Show a page of the user's guide, or list its topics.

    Example: ddlabel guide labels
    """
    command = load_command("guide")
    text = command.run({"topic": topic}, None, reporter)
    if sys.stdout.isatty() and not reporter.as_json:
        from rich.console import Console
        from rich.markdown import Markdown

        Console().print(Markdown(text))
        return
    reporter.result(text.split("\n"), command.json_value(text))
