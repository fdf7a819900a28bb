"""`ddlabel compare`."""

from typing import Annotated

import typer

from ddlabel.cli.command import cli_command
from ddlabel.cli.reporter import TerminalReporter
from ddlabel.commands.command import load_command
from ddlabel.core.config import CompareOptions
from ddlabel.core.errors import UsageError

ResultsArgument = Annotated[
    list[str],
    typer.Argument(metavar="RESULTS", help="results files (.jsonl) of evaluate and sweep"),
]


@cli_command("compare", CompareOptions)
def compare(
    results: ResultsArgument, *, options: CompareOptions, reporter: TerminalReporter
) -> None:
    """Compare the students in results files: tables, paired differences, intervals, p-values.

    Example: ddlabel compare results.jsonl --by bundle,loss --paired
    """
    if reporter.as_json and options.format is not None:
        raise UsageError("--format cannot be combined with --json: leave one of them out")
    command = load_command("compare")
    comparisons = command.run({"results": results}, options, reporter)
    value = command.json_value(comparisons)
    if options.format is not None:
        reporter.result(comparisons.text(options.format), value)
        return
    for table in comparisons.tables():
        reporter.show(table.rich())
    reporter.result(comparisons.lines(), value)
