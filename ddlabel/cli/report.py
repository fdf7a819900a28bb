"""`ddlabel report`."""

from ddlabel.cli.command import cli_command
from ddlabel.cli.compare import ResultsArgument
from ddlabel.cli.flags import Force
from ddlabel.cli.reporter import TerminalReporter
from ddlabel.commands.command import load_command
from ddlabel.core.config import ReportOptions


@cli_command("report", ReportOptions)
def report(
    results: ResultsArgument,
    force: Force = False,
    *,
    options: ReportOptions,
    reporter: TerminalReporter,
) -> None:
    """Write a page of the students in results files, which needs no network.

    Example: ddlabel report results.jsonl --out report.html
    """
    written = load_command("report").run({"results": results, "force": force}, options, reporter)
    reporter.result(written["out"], written)
