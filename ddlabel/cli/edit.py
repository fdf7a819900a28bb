"""`ddlabel edit`."""

from ddlabel.cli.command import BundleArgument, OutArgument, cli_command, write_bundle
from ddlabel.cli.flags import Force
from ddlabel.cli.reporter import TerminalReporter
from ddlabel.core.config import EditOptions


@cli_command("edit", EditOptions)
def edit(
    bundle: BundleArgument,
    out: OutArgument,
    *,
    options: EditOptions,
    reporter: TerminalReporter,
    force: Force = False,
) -> None:
    """Change labels on purpose, rename or reorder classes, or take out images.

    Example: ddlabel edit soft.safetensors top3.safetensors --op top-k:k=3
    """
    write_bundle("edit", {"bundle": bundle}, out, options, reporter, force=force)
