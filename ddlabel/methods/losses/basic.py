"""Losses between a student and its labels, and their sums with the hard cross-entropy."""

from collections.abc import Callable
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from ddlabel.core.registry import with_options_of
from ddlabel.methods.labels.gift import gift as refine
from ddlabel.methods.labels.target import Target
from ddlabel.methods.losses.registry import losses

CompareIn = Literal["logits", "probs"]
MseIn = Literal["logits", "probs", "logits-to-probs"]


@losses.add
def ce(logits: Tensor, target: Target) -> Tensor:
    """Cross-entropy with the hard class, in nats. Ignores soft labels."""
    return F.cross_entropy(logits, target.hard)


@losses.add
def soft_ce(logits: Tensor, target: Target) -> Tensor:
    """Cross-entropy −Σ p log q with the label distribution p, in nats.

    The student loss of Label-Worth and DATM.
    """
    return F.cross_entropy(logits, target.probs())


@losses.add
def kl(logits: Tensor, target: Target, *, temperature: float = 1.0, scale: bool = True) -> Tensor:
    """KL(label || student) in nats, both softened by `temperature`.

    With `scale` the result is multiplied by temperature² so that gradients keep their size (Hinton
    et al. 2015). The public code of GIFT, RDED and SRe2L leaves the factor out, at temperature 20:
    this is why plain SGD stalls there.
    """
    student = F.log_softmax(logits / temperature, dim=1)
    # Not log_target=True: a class of probability 0 would give nan.
    divergence = F.kl_div(student, target.probs(temperature), reduction="batchmean")
    return divergence * temperature**2 if scale else divergence


@losses.add
def js(logits: Tensor, target: Target, *, temperature: float = 1.0) -> Tensor:
    """Jensen-Shannon divergence ½·KL(p || m) + ½·KL(q || m), m = ½(p + q), in nats (GIFT, Table 9).

    Both distributions are softened by `temperature`. The divergence is at most log 2.
    """
    log_q = F.log_softmax(logits / temperature, dim=1)
    p = target.probs(temperature)
    mixture = (p + log_q.exp()) / 2
    # The clamp keeps the logarithm finite for a class that neither distribution has.
    log_m = mixture.clamp_min(torch.finfo(p.dtype).tiny).log()
    from_label = F.kl_div(log_m, p, reduction="batchmean")
    from_student = (log_q.exp() * (log_q - log_m)).sum(1).mean()
    return (from_label + from_student) / 2


@losses.add
def mse(logits: Tensor, target: Target, *, space: MseIn = "logits") -> Tensor:
    """Squared error between logits or between probabilities, averaged over classes and batch.

    `space=logits-to-probs` compares the student's logits with the label's probabilities, as GIFT's
    public code does where the labels are smoothed classes (Tables 18 and 19).
    """
    if space == "logits":
        return F.mse_loss(logits, target.logits)
    outputs = F.softmax(logits, dim=1) if space == "probs" else logits
    return F.mse_loss(outputs, target.probs())


@losses.add
def cosine(logits: Tensor, target: Target, *, space: CompareIn = "probs") -> Tensor:
    """1 − cos(student logits, label) (GIFT, section 4; the paper's listing has the wrong sign).

    The label is a distribution (`space=probs`, the paper's text) or raw logits (`space=logits`, its
    public code). A label that was refined in logits space is used as it is.
    """
    return 1 - F.cosine_similarity(logits, target.direction(space), dim=1).mean()


@losses.add
def gift(
    logits: Tensor,
    target: Target,
    *,
    space: CompareIn = "probs",
    gamma: float = 0.1,
    alpha: float = 0.1,
) -> Tensor:
    """GIFT's full method, 1 − cos(student logits, refined label) (GIFT, section 4; γ = α = 0.1).

    Equals the command `refine` followed by the cosine loss. Use it for labels that are not stored,
    such as those of an online expert.
    """
    label = refine(target.values, target.meta, target.hard, space=space, gamma=gamma, alpha=alpha)
    return 1 - F.cosine_similarity(logits, label, dim=1).mean()


def _add_with_ce(name: str) -> Callable[..., Tensor]:
    """Register `name` + weight · `ce` under the name `name+ce`."""
    soft_loss = losses[name]

    @losses.named(f"{name}+ce")
    @with_options_of(soft_loss)
    def loss_with_ce(
        logits: Tensor, target: Target, *, weight: float = 0.1, **options: Any
    ) -> Tensor:
        return soft_loss(logits, target, **options) + weight * ce(logits, target)

    loss_with_ce.__doc__ = (
        f"`{name}` + weight · `ce` (GIFT, Table 9; the weight in its public code is 0.1)."
    )
    return loss_with_ce


kl_ce = _add_with_ce("kl")
mse_ce = _add_with_ce("mse")
soft_ce_ce = _add_with_ce("soft-ce")


@losses.add
def mse_gt(logits: Tensor, target: Target, *, weight: float = 0.025) -> Tensor:
    """MSE on logits + weight · CE with one class (EDC's weight; G-VBSM: 0.1, and 0.15 for CIFAR).

    Unlike `mse+ce`, the class of a blended image is that of the image which the other one was
    blended into, whatever its share (EDC's public code).
    """
    return mse(logits, target) + weight * F.cross_entropy(logits, target.first_classes)
