"""GIFT's label refinement."""

import torch.nn.functional as F
from torch import Tensor

from ddlabel.core.errors import IncompatibleError
from ddlabel.data.schema import LabelMeta
from ddlabel.methods.labels.target import Target


def smooth(hard: Tensor, classes: int, *, alpha: float, smoothing: str = "others") -> Tensor:
    """Smoothed labels [B, K] of classes [B]: α is shared equally and 1 − α stays on the class.

    By the `others`, α/(K − 1) each (GIFT, appendix F), or by `all` classes, α/K each (Szegedy et al. 2016). Of shares
    of classes [B, K], where images were blended, the same mixture of the smoothed labels.
    """
    one_hot = F.one_hot(hard, classes).float() if hard.ndim == 1 else hard
    if smoothing == "all":
        return one_hot * (1 - alpha) + alpha / classes
    if classes == 1:
        return one_hot
    return one_hot * (1 - alpha - alpha / (classes - 1)) + alpha / (classes - 1)


def gift(
    values: Tensor,
    label: LabelMeta,
    hard: Tensor,
    *,
    space: str,
    gamma: float,
    alpha: float,
    smoothing: str = "others",
) -> Tensor:
    """γ·smooth/‖smooth‖₂ + (1 − γ)·soft/‖soft‖₂ for labels [B, K] of classes [B] (GIFT, section 4).

    With `space` probs the soft label is a distribution and the result, divided by its sum, is one again (the cosine
    loss does not see the difference, and KL stays defined). With `space` logits raw logits are mixed, as the public
    code does; the result is a direction. Its `soft + 0.1·smooth` is the same direction at γ = 1/11.
    IncompatibleError if the labels are directions, or not logits where logits are asked for.
    """
    if label.space == "direction":
        raise IncompatibleError(
            "the labels are refined already (directions): refine the labels they were made from"
        )
    if space == "logits" and label.space != "logits":
        raise IncompatibleError(
            f"refining in logits space needs labels that are logits and these are {label.space}"
        )
    target = Target(hard=hard, values=values, label=label)
    soft = target.logits if space == "logits" else target.probs()
    smoothed = smooth(hard, values.shape[1], alpha=alpha, smoothing=smoothing)
    mixed = gamma * F.normalize(smoothed, dim=1) + (1 - gamma) * F.normalize(soft, dim=1)
    return mixed if space == "logits" else mixed / mixed.sum(1, keepdim=True)
