"""`ddlabel relabel`."""

from ddlabel.cli.command import BundleArgument, OutArgument, cli_command, write_bundle
from ddlabel.cli.flags import Force
from ddlabel.cli.reporter import TerminalReporter
from ddlabel.core.config import RelabelOptions


@cli_command("relabel", RelabelOptions)
def relabel(
    bundle: BundleArgument,
    out: OutArgument,
    *,
    options: RelabelOptions,
    reporter: TerminalReporter,
    force: Force = False,
) -> None:
    """Give every image the soft label of an expert, an early-stopped one, or an ensemble.

    Example: ddlabel relabel few.safetensors soft.safetensors --expert expert
    """
    write_bundle("relabel", {"bundle": bundle}, out, options, reporter, force=force)
