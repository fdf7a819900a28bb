"""`ddlabel select`."""

from ddlabel.cli.command import BundleArgument, OutArgument, cli_command, write_bundle
from ddlabel.cli.flags import Force
from ddlabel.cli.reporter import TerminalReporter
from ddlabel.core.config import SelectOptions


@cli_command("select", SelectOptions)
def select(
    bundle: BundleArgument,
    out: OutArgument,
    *,
    options: SelectOptions,
    reporter: TerminalReporter,
    force: Force = False,
) -> None:
    """Choose images of each class, at random or with the help of experts.

    Example: ddlabel select real.safetensors few.safetensors --ipc 10
    """
    write_bundle("select", {"bundle": bundle}, out, options, reporter, force=force)
