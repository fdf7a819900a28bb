"""`ddlabel import-labels`."""

from typing import Annotated

import typer

from ddlabel.cli.command import BundleArgument, OutArgument, cli_command, write_bundle
from ddlabel.cli.flags import Force
from ddlabel.cli.reporter import TerminalReporter
from ddlabel.core.config import ImportLabelsOptions

_Labels = Annotated[
    str,
    typer.Argument(
        metavar="LABELS", help="file of labels: .npy, .npz, .csv, .txt or .pt; or FKD's folder"
    ),
]


@cli_command("import-labels", ImportLabelsOptions)
def import_labels(
    bundle: BundleArgument,
    labels: _Labels,
    out: OutArgument,
    *,
    options: ImportLabelsOptions,
    reporter: TerminalReporter,
    force: Force = False,
) -> None:
    """Put labels of your own on a bundle: hard [N], soft [N, K], or dense [N, V, K] of its views.

    Example: ddlabel import-labels few.safetensors labels.csv soft.safetensors
    """
    inputs = {"bundle": bundle, "labels": labels}
    write_bundle("import-labels", inputs, out, options, reporter, force=force)
