"""Losses: `loss(logits [B, K], target, *, options) -> scalar`, averaged over the batch.

A distillation loss also takes the teacher's labels from `target`, whether they were stored or an
online expert made them for this batch. A loss that asks the target for probabilities, for logits
or for the one class of each image raises IncompatibleError if the target cannot give them (see
`Target`).
"""

import inspect
from collections.abc import Callable
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from ddlabel.core.registry import Registry, with_options_of
from ddlabel.methods.labels.gift import gift as refine
from ddlabel.methods.labels.target import Target

CompareIn = Literal["logits", "probs"]
Loss = Callable[[Tensor, Target, int], Tensor]
losses: Registry[Callable[..., Tensor]] = Registry("loss")


def loss_of(spec: str, *, steps_per_epoch: int = 1) -> Loss:
    """Return the loss of a spec as a function of logits [B, K], a target and the steps done.

    Raises:
        UsageError: The loss or one of its options is unknown, or an option has a value of another
            type.
    """
    function = losses.resolve(spec)
    depends_on_epoch = "epoch" in inspect.signature(function).parameters

    def loss(logits: Tensor, target: Target, step: int) -> Tensor:
        if not depends_on_epoch:
            return function(logits, target)
        return function(logits, target, epoch=step // steps_per_epoch + 1)

    return loss


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
def mse(logits: Tensor, target: Target, *, space: CompareIn = "logits") -> Tensor:
    """Squared error between logits or between probabilities, averaged over classes and batch."""
    if space == "logits":
        return F.mse_loss(logits, target.logits)
    return F.mse_loss(F.softmax(logits, dim=1), target.probs())


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
    """MSE on logits + weight · CE: `mse+ce` at EDC's weight (G-VBSM: 0.1, and 0.15 for CIFAR)."""
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
    """Distillation, 0.1 · CE + 0.9 · T² · KL at T = 4 (Hinton et al. 2015; CRD's weights)."""
    return ce_weight * ce(logits, target) + kd_weight * kl(logits, target, temperature=temperature)


@losses.add
def wsld(logits: Tensor, target: Target, *, temperature: float = 2.0, alpha: float = 2.5) -> Tensor:
    """Weighted soft labels, CE + α·T²·mean(w · softCE_T) (Zhou et al. 2021).

    The weight of an image is w = 1 − exp(−CE_student / CE_teacher). It uses logits at temperature
    1, carries no gradient, and is small for images that the student classifies better than the
    teacher.
    """
    student_ce = F.cross_entropy(logits, target.hard, reduction="none")
    teacher_log_probs = target.probs().clamp_min(1e-30).log()
    teacher_ce = F.cross_entropy(teacher_log_probs, target.hard, reduction="none")
    weight = 1 - torch.exp(-student_ce.detach() / teacher_ce.clamp_min(1e-7))
    softened = target.probs(temperature)
    softened_ce = F.cross_entropy(logits / temperature, softened, reduction="none")
    return student_ce.mean() + alpha * temperature**2 * (weight * softened_ce).mean()


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
    """Decoupled distillation, CE + T²·(α·TCKD + β·NCKD) (Zhao et al. 2022).

    TCKD is the KL divergence of the class against the rest. NCKD is the KL divergence among the
    other classes, each side renormalised. The distillation term grows linearly over the first
    `warm_up` epochs; `epoch` counts from 1.
    """
    log_p = target.log_probs(temperature)
    log_q = F.log_softmax(logits / temperature, dim=1)
    hard = target.classes[:, None]

    log_q_others = _log_mass_of_others(log_q, hard)
    log_p_others = _log_mass_of_others(log_p, hard)
    binary_p = torch.cat([log_p.gather(1, hard), log_p_others], 1).exp()
    binary_log_q = torch.cat([log_q.gather(1, hard), log_q_others], 1)
    tckd = F.kl_div(binary_log_q, binary_p, reduction="batchmean")

    others_log_q = _without_class(log_q - log_q_others, hard)
    others_p = _distribution_of_others(log_p, hard)
    nckd = F.kl_div(others_log_q, others_p, reduction="batchmean")

    growth = min(1.0, epoch / warm_up) if warm_up else 1.0
    distillation = alpha * tckd + beta * nckd
    return ce_weight * ce(logits, target) + growth * temperature**2 * distillation


@losses.add
def nkd(logits: Tensor, target: Target, *, temperature: float = 1.0, gamma: float = 1.5) -> Tensor:
    """Normalised distillation, CE − t_y·log s_y + γ·T²·CE of the other classes (Yang et al. 2023).

    The other classes are renormalised on both sides and softened by `temperature`.
    """
    hard = target.classes[:, None]
    log_s_y = F.log_softmax(logits, dim=1).gather(1, hard)
    t_y = target.probs().gather(1, hard)
    target_class = -(t_y * log_s_y).mean()

    log_q = F.log_softmax(logits / temperature, dim=1)
    others_log_q = _without_class(log_q - _log_mass_of_others(log_q, hard), hard)
    others_p = _distribution_of_others(target.log_probs(temperature), hard)
    other_classes = -(others_p * others_log_q).sum(1).mean()

    return ce(logits, target) + target_class + gamma * temperature**2 * other_classes


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
    """DIST, CE + T²·(β·(1 − ρ of rows) + γ·(1 − ρ of columns)), ρ Pearson's (Huang et al. 2022).

    A row holds one image's probabilities, a column one class's probabilities over the batch; β is
    `inter` and γ is `intra`. The paper has β = γ = 2, with T = 1 for ImageNet and T = 4 for CIFAR.
    """
    q = F.softmax(logits / temperature, dim=1)
    p = target.probs(temperature)
    relations = inter * (1 - _mean_correlation(q, p)) + intra * (1 - _mean_correlation(q.T, p.T))
    return ce_weight * ce(logits, target) + temperature**2 * relations


def _log_mass_of_others(log_q: Tensor, hard: Tensor) -> Tensor:
    """Log of the probability [B, 1] of all classes but `hard` [B, 1], given log_q [B, K].

    Computed from logarithms because 1 − q would round to 0.
    """
    log_mass = log_q.scatter(1, hard, float("-inf")).logsumexp(1, keepdim=True)
    # Finite even if the other classes have no probability: 0 · −∞ would be nan.
    return log_mass.clamp_min(torch.finfo(log_mass.dtype).min)


def _without_class(values: Tensor, hard: Tensor) -> Tensor:
    """Remove the column of class `hard` [B, 1] from values [B, K]: [B, K − 1]."""
    is_other = torch.ones_like(values, dtype=torch.bool).scatter(1, hard, value=False)
    return values[is_other].view(len(values), -1)


def _distribution_of_others(log_p: Tensor, hard: Tensor) -> Tensor:
    """Distribution [B, K − 1] among the classes but `hard`; 0 if they have no probability."""
    return _without_class(log_p, hard).softmax(1).nan_to_num()


def _mean_correlation(a: Tensor, b: Tensor) -> Tensor:
    """Pearson correlation between the rows of a and b [R, C], averaged over the rows."""
    centred_a = a - a.mean(1, keepdim=True)
    centred_b = b - b.mean(1, keepdim=True)
    return F.cosine_similarity(centred_a, centred_b, dim=1).mean()
