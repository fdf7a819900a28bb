"""GIFT's label refinement."""

import torch.nn.functional as F
from torch import Tensor

from ddlabel.errors import IncompatibleError
from ddlabel.header import LabelSpace
from ddlabel.labels.target import Target


def smooth(hard: Tensor, classes: int, *, alpha: float) -> Tensor:
    """Smoothed labels [B, K] of classes [B]: 1 − α on the class and α/(K − 1) on every other (GIFT, appendix F).

    Of shares of classes [B, K], where images were blended, the same mixture of the smoothed labels.
    """
    one_hot = F.one_hot(hard, classes).float() if hard.ndim == 1 else hard
    if classes == 1:
        return one_hot
    return one_hot * (1 - alpha - alpha / (classes - 1)) + alpha / (classes - 1)


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
    if space == "logits" and label.space != "logits":
        raise IncompatibleError(f"refining in logits space needs labels that are logits and these are {label.space}")
    target = Target(hard=hard, values=values, label=label)
    soft = target.logits if space == "logits" else target.probs()
    smoothed = smooth(hard, values.shape[1], alpha=alpha)
    mixed = gamma * F.normalize(smoothed, dim=1) + (1 - gamma) * F.normalize(soft, dim=1)
    return mixed if space == "logits" else mixed / mixed.sum(1, keepdim=True)
