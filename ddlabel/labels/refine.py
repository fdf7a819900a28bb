"""GIFT's label refinement."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from ddlabel.errors import IncompatibleError
from ddlabel.header import LabelSpace


def smooth(hard: Tensor, classes: int, *, alpha: float) -> Tensor:
    """Smoothed labels [B, K] of classes [B]: 1 − α on the class and α/(K − 1) on every other (GIFT, appendix F)."""
    if classes == 1:
        return F.one_hot(hard, classes).float()
    return F.one_hot(hard, classes) * (1 - alpha - alpha / (classes - 1)) + alpha / (classes - 1)


def gift(values: Tensor, label: LabelSpace, hard: Tensor, *, space: str, gamma: float, alpha: float) -> Tensor:
    """γ·smooth/‖smooth‖₂ + (1 − γ)·soft/‖soft‖₂ for labels [B, K] of classes [B] (GIFT, section 4).

    With `space` probs the soft label is a distribution and the result, divided by its sum, is one again (the cosine
    loss does not see the difference, and KL stays defined). With `space` logits raw logits are mixed, as the public
    code does; the result is a direction. Its `soft + 0.1·smooth` is the same direction at γ = 1/11.

    Raises:
        IncompatibleError: if the labels are directions, or not logits where logits are asked for.
    """
    if label.space == "direction":
        raise IncompatibleError("the labels are refined already (directions): refine the labels they were made from")
    if space == "logits":
        if label.space != "logits":
            raise IncompatibleError(f"--space logits needs labels that are logits and these are {label.space}")
        soft = values / label.temperature
    else:
        soft = F.softmax(values / label.temperature, dim=1) if label.space == "logits" else values
    smoothed = smooth(hard, values.shape[1], alpha=alpha)
    mixed = gamma * F.normalize(smoothed, dim=1) + (1 - gamma) * F.normalize(soft, dim=1)
    return mixed if space == "logits" else mixed / mixed.sum(1, keepdim=True)
