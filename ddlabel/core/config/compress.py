"""Options of `compress`."""

import math
from dataclasses import dataclass

from ddlabel.core.errors import UsageError
from ddlabel.core.option import option
from ddlabel.core.options import Options


@dataclass(frozen=True, kw_only=True)
class CompressOptions(Options):
    """`compress`: labels in fewer bytes."""

    codec: str | None = option(
        None, "codec spec, e.g. float16 or top-k:k=5 (default: uint8)", not_with="budget"
    )
    budget: str | None = option(
        None,
        "choose the nearest codec within this share of the images' bytes, e.g. 1%",
        not_with="codec",
    )
    field: str = option("all", "which labels to compress", choices=("soft", "dense", "all"))
    prune: str | None = option(
        None,
        "views to keep of each image, e.g. random:keep=8 or entropy:keep=8,order=lowest",
        not_with="field=soft",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.share is not None and not 0 < self.share < math.inf:
            raise UsageError(
                f"--budget is {self.budget!r}: expected a share above 0 of the images' bytes, "
                "such as 1%"
            )

    @property
    def share(self) -> float | None:
        """The budget as a fraction of the images' bytes; NaN if it is not a percentage."""
        if self.budget is None:
            return None
        if not self.budget.endswith("%"):
            return math.nan
        try:
            return float(self.budget.removesuffix("%")) / 100
        except ValueError:
            return math.nan
