"""Losses of knowledge distillation: a teacher's labels together with the hard ones."""

import torch
import torch.nn.functional as F
from torch import Tensor

from ddlabel.methods.labels.target import Target
from ddlabel.methods.losses.basic import ce, kl
from ddlabel.methods.losses.registry import losses


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
    # By numbers of columns: a mask would make the host wait for the device, to count them.
    columns = torch.arange(values.shape[1] - 1, device=values.device)
    return values.gather(1, columns + (columns >= hard))


def _distribution_of_others(log_p: Tensor, hard: Tensor) -> Tensor:
    """Distribution [B, K − 1] among the classes but `hard`; 0 if they have no probability."""
    return _without_class(log_p, hard).softmax(1).nan_to_num()


def _mean_correlation(a: Tensor, b: Tensor) -> Tensor:
    """Pearson correlation between the rows of a and b [R, C], averaged over the rows."""
    centred_a = a - a.mean(1, keepdim=True)
    centred_b = b - b.mean(1, keepdim=True)
    return F.cosine_similarity(centred_a, centred_b, dim=1).mean()
