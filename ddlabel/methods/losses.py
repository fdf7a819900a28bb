"""Losses: `loss(logits [B, K], target, *, options) → scalar`, all means over the batch.

Those that distil a teacher take its labels from the target as well, stored or made for the batch by an online expert.
"""

import inspect
from collections.abc import Callable
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from ddlabel.core.registry import Registry, with_options_of
from ddlabel.methods.labels.gift import gift as refined
from ddlabel.methods.labels.target import Target

Space = Literal["logits", "probs"]
Loss = Callable[[Tensor, Target, int], Tensor]
losses: Registry[Callable[..., Tensor]] = Registry("loss")


def loss_of(spec: str, *, steps_per_epoch: int = 1) -> Loss:
    """The loss of a spec, of logits, a target and the number of steps done; UsageError for an unknown one."""
    function = losses.resolve(spec)
    grows = "epoch" in inspect.signature(function).parameters

    def loss(logits: Tensor, target: Target, step: int) -> Tensor:
        options = {"epoch": step // steps_per_epoch + 1} if grows else {}
        return function(logits, target, **options)

    return loss


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
def js(logits: Tensor, target: Target, *, temperature: float = 1.0) -> Tensor:
    """Jensen-Shannon divergence ½·KL(p || m) + ½·KL(q || m), m = ½(p + q), in nats, at most log 2 (GIFT, Table 9)."""
    log_q, p = F.log_softmax(logits / temperature, dim=1), target.probs(temperature)
    # The logarithm of the mixture from probabilities that are not 0 where p is.
    log_m = ((p + log_q.exp()) / 2).clamp_min(torch.finfo(p.dtype).tiny).log()
    from_label = F.kl_div(log_m, p, reduction="batchmean")
    from_student = (log_q.exp() * (log_q - log_m)).sum(1).mean()
    return (from_label + from_student) / 2


@losses.add
def mse(logits: Tensor, target: Target, *, space: Space = "logits") -> Tensor:
    """Squared error, mean over the K elements and the batch, between logits or between probabilities."""
    if space == "logits":
        return F.mse_loss(logits, target.logits)
    return F.mse_loss(F.softmax(logits, dim=1), target.probs())


@losses.add
def cosine(logits: Tensor, target: Target, *, space: Space = "probs") -> Tensor:
    """1 − cos(student logits, label) (GIFT, section 4; the listing in the paper has the sign wrong).

    The label is a distribution (`space=probs`, the paper's text) or raw logits (`space=logits`, its public code). A
    label that was refined in logits space is taken as it is.
    """
    return 1 - F.cosine_similarity(logits, target.direction(space), dim=1).mean()


@losses.add
def gift(
    logits: Tensor,
    target: Target,
    *,
    space: Space = "probs",
    gamma: float = 0.1,
    alpha: float = 0.1,
) -> Tensor:
    """GIFT in whole: 1 − cos(student logits, label refined on the fly) (GIFT, section 4; γ = α = 0.1).

    Equal to `refine` and then the cosine loss, for labels that are not stored, as an online expert's.
    """
    label = refined(target.values, target.label, target.hard, space=space, gamma=gamma, alpha=alpha)
    return 1 - F.cosine_similarity(logits, label, dim=1).mean()


def _with_ce(name: str) -> Callable[..., Tensor]:
    loss = losses[name]

    @losses.named(f"{name}+ce")
    @with_options_of(loss)
    def both(logits: Tensor, target: Target, *, weight: float = 0.1, **options: Any) -> Tensor:
        return loss(logits, target, **options) + weight * ce(logits, target)

    both.__doc__ = f"`{name}` + weight · `ce` (GIFT, Table 9; weight 0.1 in its public code)."
    return both


kl_ce, mse_ce, soft_ce_ce = map(_with_ce, ("kl", "mse", "soft-ce"))


@losses.add
def mse_gt(logits: Tensor, target: Target, *, weight: float = 0.025) -> Tensor:
    """MSE on logits + weight · CE: `mse+ce` at EDC's weight (G-VBSM has 0.1, and 0.15 for CIFAR)."""
    return mse_ce(logits, target, weight=weight)


@losses.add
def kd(
    logits: Tensor,
    target: Target,
    *,
    temperature: float = 4.0,
    ce_weight: float = 0.1,
    kd_weight: float = 0.9,
) -> Tensor:
    """Knowledge distillation, 0.1 · CE + 0.9 · T² · KL at T = 4 (Hinton et al. 2015, with CRD's weights)."""
    return ce_weight * ce(logits, target) + kd_weight * kl(logits, target, temperature=temperature)


@losses.add
def wsld(logits: Tensor, target: Target, *, temperature: float = 2.0, alpha: float = 2.5) -> Tensor:
    """Weighted soft labels (Zhou et al. 2021): CE + α·T²·mean(w · softCE_T), w = 1 − exp(−CE_student/CE_teacher).

    The weights use plain logits and carry no gradient; they are small where the student is the better of the two.
    """
    own = F.cross_entropy(logits, target.hard, reduction="none")
    teachers = F.cross_entropy(target.probs().clamp_min(1e-30).log(), target.hard, reduction="none")
    weight = 1 - torch.exp(-own.detach() / teachers.clamp_min(1e-7))
    soft = F.cross_entropy(logits / temperature, target.probs(temperature), reduction="none")
    return own.mean() + alpha * temperature**2 * (weight * soft).mean()


@losses.add
def dkd(
    logits: Tensor,
    target: Target,
    *,
    epoch: int,
    temperature: float = 4.0,
    alpha: float = 1.0,
    beta: float = 8.0,
    ce_weight: float = 1.0,
    warm_up: int = 20,
) -> Tensor:
    """Decoupled distillation (Zhao et al. 2022): CE + T²·(α·TCKD + β·NCKD), growing over the first `warm_up` epochs.

    TCKD is the KL of class against rest, NCKD the KL among the other classes, each side renormalised. `epoch` counts
    from 1.
    """
    log_p, log_q = target.log_probs(temperature), F.log_softmax(logits / temperature, dim=1)
    hard = target.classes[:, None]
    log_q_rest = _log_of_others(log_q, hard)
    p = torch.cat([log_p.gather(1, hard), _log_of_others(log_p, hard)], 1).exp()
    binary = F.kl_div(torch.cat([log_q.gather(1, hard), log_q_rest], 1), p, reduction="batchmean")
    others = F.kl_div(
        _others(log_q - log_q_rest, hard), _share_of_others(log_p, hard), reduction="batchmean"
    )
    share = min(1.0, epoch / warm_up) if warm_up else 1.0
    return ce_weight * ce(logits, target) + share * temperature**2 * (
        alpha * binary + beta * others
    )


@losses.add
def nkd(logits: Tensor, target: Target, *, temperature: float = 1.0, gamma: float = 1.5) -> Tensor:
    """Normalised distillation (Yang et al. 2023): CE − t_y·log s_y + γ·T²·CE among the other classes, renormalised."""
    hard = target.classes[:, None]
    log_s = F.log_softmax(logits, dim=1).gather(1, hard)
    own = -(target.probs().gather(1, hard) * log_s).mean()
    log_q = F.log_softmax(logits / temperature, dim=1)
    log_others = _others(log_q - _log_of_others(log_q, hard), hard)
    rest = -(_share_of_others(target.log_probs(temperature), hard) * log_others).sum(1).mean()
    return ce(logits, target) + own + gamma * temperature**2 * rest


@losses.add
def dist(
    logits: Tensor,
    target: Target,
    *,
    temperature: float = 1.0,
    ce_weight: float = 1.0,
    inter: float = 2.0,
    intra: float = 2.0,
) -> Tensor:
    """DIST (Huang et al. 2022): CE + T²·(β·(1 − ρ of rows) + γ·(1 − ρ of columns)), ρ Pearson's correlation.

    Rows are an image's probabilities, columns a class's over the batch; β = γ = 2 with T = 1 for ImageNet, 4 for CIFAR.
    """
    q, p = F.softmax(logits / temperature, dim=1), target.probs(temperature)
    relations = inter * (1 - _pearson(q, p)) + intra * (1 - _pearson(q.T, p.T))
    return ce_weight * ce(logits, target) + temperature**2 * relations


def _log_of_others(log_q: Tensor, hard: Tensor) -> Tensor:
    """Logarithm of the mass on all classes but `hard` [B, 1], from the logarithms: 1 − q would round to 0."""
    rest = log_q.scatter(1, hard, float("-inf")).logsumexp(1, keepdim=True)
    return rest.clamp_min(
        torch.finfo(rest.dtype).min
    )  # finite where there is none: 0 · −∞ would be nan


def _others(values: Tensor, hard: Tensor) -> Tensor:
    """The columns [B, K − 1] without the class `hard` [B, 1]."""
    rest = torch.ones_like(values, dtype=torch.bool).scatter(1, hard, value=False)
    return values[rest].view(len(values), -1)


def _share_of_others(log_p: Tensor, hard: Tensor) -> Tensor:
    """Distribution [B, K − 1] among the other classes; all zero where they have no mass."""
    return _others(log_p, hard).softmax(1).nan_to_num()


def _pearson(a: Tensor, b: Tensor) -> Tensor:
    """Mean correlation of the rows of two matrices."""
    return F.cosine_similarity(
        a - a.mean(1, keepdim=True), b - b.mean(1, keepdim=True), dim=1
    ).mean()
