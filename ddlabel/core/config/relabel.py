"""Options of `relabel`."""

from dataclasses import dataclass

from ddlabel.core.config.shared import TrialOptions, expert_epoch, trial_images
from ddlabel.core.option import LABELS, option


@dataclass(frozen=True, kw_only=True)
class RelabelOptions(TrialOptions):
    """`relabel`: soft labels from experts."""

    PANEL = LABELS

    expert: tuple[str, ...] = option(
        (),
        "expert run, or a folder of runs; several form an ensemble. RUN@12 names its epoch",
        recorded=False,
    )
    real: str | None = trial_images("epoch=auto", "temperature=auto")
    epoch: str = expert_epoch("expert", by_trial=", or with --real the best by trial")
    temperature: float | str = option(
        1.0,
        "softens the labels: softmax(logits / temperature); auto tries several values",
        above=0,
        auto=True,
        needs={"auto": "real"},
    )
    ensemble: str = option(
        "logits",
        "how several experts are averaged: their logits, probs, or norm-balanced logits (G-VBSM)",
        choices=("logits", "probs", "balanced"),
    )
    weights: str | None = option(
        None, "weights of the experts in their order, e.g. 2,1,1 (default: equal)"
    )
