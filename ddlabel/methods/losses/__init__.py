"""Losses: `loss(logits [B, K], target, *, options) -> scalar`, averaged over the batch.

A distillation loss also takes the teacher's labels from `target`, whether they were stored or an
online expert made them for this batch. A loss that asks the target for probabilities, for logits
or for the one class of each image raises IncompatibleError if the target cannot give them (see
`Target`).
"""

# Each module registers its losses, in the order in which `ddlabel list losses` shows them.
from ddlabel.methods.losses import basic, distillation  # noqa: F401
from ddlabel.methods.losses.basic import soft_ce
from ddlabel.methods.losses.registry import Loss, loss_of, losses

__all__ = ["Loss", "loss_of", "losses", "soft_ce"]
