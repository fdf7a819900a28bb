"""Options of `refine`."""

from dataclasses import dataclass

from ddlabel.core.config.shared import TrialOptions, trial_images
from ddlabel.core.option import option


@dataclass(frozen=True, kw_only=True)
class RefineOptions(TrialOptions):
    """`refine`: GIFT's mixture with the smoothed hard label (GIFT, section 4)."""

    real: str | None = trial_images("gamma=auto")
    field: str = option("soft", "which labels to refine", choices=("soft", "dense"))
    space: str = option(
        "probs", "mix into probs (paper) or raw logits (public code)", choices=("probs", "logits")
    )
    gamma: float | str = option(
        0.1,
        "weight of the smoothed hard label; auto tries several values",
        low=0,
        high=1,
        auto=True,
        needs={"auto": "real"},
    )
    alpha: float = option(0.1, "label smoothing", low=0, high=1)
    smoothing: str = option(
        "others", "alpha goes to the other classes (paper) or to all", choices=("others", "all")
    )
