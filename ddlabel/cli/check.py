"""`ddlabel check`."""

from ddlabel.cli.command import BundleArgument, cli_command
from ddlabel.cli.reporter import TerminalReporter
from ddlabel.commands.command import load_command


@cli_command("check")
def check(bundle: BundleArgument, *, reporter: TerminalReporter) -> None:
    """Verify a bundle: container, header, every digest, every number.

    Example: ddlabel check soft.safetensors
    """
    command = load_command("check")
    header = command.run({"bundle": bundle}, None, reporter)
    reporter.result(f"{bundle}: sound, {header.digest}", command.json_value(header))
