"""Losses: `loss(logits [B, K], target, *, options) → scalar`, all means over the batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch.nn.functional as F
from torch import Tensor

from ddlabel.labels.target import Target
from ddlabel.registry import Registry

Loss = Callable[[Tensor, Target], Tensor]
losses: Registry[Callable[..., Tensor]] = Registry("loss")


@losses.add
def ce(logits: Tensor, target: Target) -> Tensor:
    """Cross-entropy with the hard class, in nats; ignores soft labels."""
    return F.cross_entropy(logits, target.hard)


@losses.add
def soft_ce(logits: Tensor, target: Target) -> Tensor:
    """Cross-entropy −Σ p log q with the label distribution p, in nats (Label-Worth's and DATM's student loss)."""
    return F.cross_entropy(logits, target.probs())


@losses.add
def kl(logits: Tensor, target: Target, *, temperature: float = 1.0, scale: bool = True) -> Tensor:
    """KL(label || student) in nats, both softened by `temperature`.

    With `scale` the result is multiplied by temperature² so that gradients keep their size (Hinton et al. 2015); the
    public code of GIFT, RDED and SRe2L leaves it out, at temperature 20, which is what makes plain SGD stall there.
    """
    student = F.log_softmax(logits / temperature, dim=1)
    # Not log_target=True: a class of probability 0 would give nan.
    divergence = F.kl_div(student, target.probs(temperature), reduction="batchmean")
    return divergence * temperature**2 if scale else divergence


@losses.add
def mse(logits: Tensor, target: Target, *, space: Literal["logits", "probs"] = "logits") -> Tensor:
    """Squared error, mean over the K elements and the batch, between logits or between probabilities."""
    if space == "logits":
        return F.mse_loss(logits, target.logits)
    return F.mse_loss(F.softmax(logits, dim=1), target.probs())


@losses.add
def cosine(logits: Tensor, target: Target, *, space: Literal["probs", "logits"] = "probs") -> Tensor:
    """1 − cos(student logits, label) (GIFT, section 4; the listing in the paper has the sign wrong).

    The label is a distribution (`space=probs`, the paper's text) or raw logits (`space=logits`, its public code). A
    label that was refined in logits space is taken as it is.
    """
    return 1 - F.cosine_similarity(logits, target.direction(space), dim=1).mean()
