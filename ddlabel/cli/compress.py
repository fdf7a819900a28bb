"""`ddlabel compress`."""

from ddlabel.cli.command import BundleArgument, OutArgument, cli_command, write_bundle
from ddlabel.cli.flags import Force
from ddlabel.cli.reporter import TerminalReporter
from ddlabel.core.config import CompressOptions


@cli_command("compress", CompressOptions)
def compress(
    bundle: BundleArgument,
    out: OutArgument,
    *,
    options: CompressOptions,
    reporter: TerminalReporter,
    force: Force = False,
) -> None:
    """Store labels in fewer bytes: by a codec or within a budget, and of some of the views.

    Example: ddlabel compress dense.safetensors small.safetensors --codec uint8
    """
    write_bundle("compress", {"bundle": bundle}, out, options, reporter, force=force)
