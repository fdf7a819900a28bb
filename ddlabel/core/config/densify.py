"""Options of `densify`."""

from dataclasses import dataclass

from ddlabel.core.config.relabel import RelabelOptions
from ddlabel.core.option import LABELS, option


@dataclass(frozen=True, kw_only=True)
class DensifyOptions(RelabelOptions):
    """`densify`: LADD's label for every view (LADD, section 3.1)."""

    PANEL = LABELS

    views: str = option(
        "grid", "view layout spec, e.g. grid:n=5,r=0.625, random:count=9 or fkd:mix=cutmix"
    )
    seed: int = option(0, "seed of views that are drawn", low=0)
    refine: bool = option(
        default=False, help="mix in the hard label as well, with the defaults of refine (GIFT)"
    )
