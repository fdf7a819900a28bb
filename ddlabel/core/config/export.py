"""Options of `export`."""

from dataclasses import dataclass

from ddlabel.core.normalisation import conventions
from ddlabel.core.option import option
from ddlabel.core.options import Options

# The choice of the bundle's own mean and deviation.
HEADER = "header"


@dataclass(frozen=True, kw_only=True)
class ExportOptions(Options):
    """`export`: a bundle in a form that other programs read."""

    format: str = option(
        "auto",
        "kind of output; auto goes by the suffix of OUT ('ddlabel list exporters' shows all)",
    )
    normalise: str | None = option(
        None,
        "how the pixels of .pt and .npz files are normalised; header: by the mean and deviation of "
        "the bundle (default: not at all)",
        choices=(HEADER, *conventions),
        only_with="format=mtt|datm|dc|npz",
    )
