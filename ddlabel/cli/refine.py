"""`ddlabel refine`."""

from ddlabel.cli.command import BundleArgument, OutArgument, cli_command, write_bundle
from ddlabel.cli.flags import Force
from ddlabel.cli.reporter import TerminalReporter
from ddlabel.core.config import RefineOptions


@cli_command("refine", RefineOptions)
def refine(
    bundle: BundleArgument,
    out: OutArgument,
    *,
    options: RefineOptions,
    reporter: TerminalReporter,
    force: Force = False,
) -> None:
    """Mix the smoothed hard label into soft or dense labels (GIFT).

    Example: ddlabel refine soft.safetensors refined.safetensors
    """
    write_bundle("refine", {"bundle": bundle}, out, options, reporter, force=force)
