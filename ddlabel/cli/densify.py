"""`ddlabel densify`."""

from ddlabel.cli.command import BundleArgument, OutArgument, cli_command, write_bundle
from ddlabel.cli.flags import Force
from ddlabel.cli.reporter import TerminalReporter
from ddlabel.core.config import DensifyOptions


@cli_command("densify", DensifyOptions)
def densify(
    bundle: BundleArgument,
    out: OutArgument,
    *,
    options: DensifyOptions,
    reporter: TerminalReporter,
    force: Force = False,
) -> None:
    """Give views of every image a label each: a grid (LADD), random boxes, augmented views (FKD).

    Example: ddlabel densify soft.safetensors dense.safetensors --expert expert
    """
    write_bundle("densify", {"bundle": bundle}, out, options, reporter, force=force)
