"""GIFT's label refinement and the smoothed labels that it uses."""

import torch.nn.functional as F
from torch import Tensor

from ddlabel.core.errors import IncompatibleError
from ddlabel.data.schema import LabelMeta
from ddlabel.methods.labels.target import Target

# The α of the smoothed hard label (GIFT, appendix F).
SMOOTHING = 0.1


def smooth(hard: Tensor, num_classes: int, *, alpha: float, smoothing: str = "others") -> Tensor:
    """Return smoothed labels [B, K] of the classes hard [B]: 1 − α for the class, α for all others.

    With `smoothing` others, each of the other classes gets α/(K − 1) (GIFT, appendix F). With
    `smoothing` all, each class including the label's own gets α/K on top (Szegedy et al. 2016).
    For blended images `hard` is the share of each class [B, K], and the smoothed labels are
    blended alike.
    """
    one_hot = F.one_hot(hard, num_classes).float() if hard.ndim == 1 else hard
    if smoothing == "all":
        return one_hot * (1 - alpha) + alpha / num_classes
    if num_classes == 1:
        return one_hot
    other_share = alpha / (num_classes - 1)
    return one_hot * (1 - alpha - other_share) + other_share


def gift(
    values: Tensor,
    meta: LabelMeta,
    hard: Tensor,
    *,
    space: str,
    gamma: float,
    alpha: float,
    smoothing: str = "others",
) -> Tensor:
    """Refine labels [B, K] of classes [B]: γ·smooth/‖smooth‖₂ + (1 − γ)·soft/‖soft‖₂.

    GIFT, section 4. With `space` probs the soft label is a distribution, and the result is divided
    by its sum and is a distribution again: the cosine loss does not see the difference, and KL
    stays defined. With `space` logits raw logits are mixed, as in the public code, and the result
    is a direction; the code's `soft + 0.1·smooth` is the same direction at γ = 1/11.

    Raises:
        IncompatibleError: The labels are directions, or `space` is logits and they are not logits.
    """
    if meta.space == "direction":
        raise IncompatibleError(
            "the labels are refined already (directions): refine the labels they were made from"
        )
    if space == "logits" and meta.space != "logits":
        raise IncompatibleError(
            f"refining in logits space needs labels that are logits and these are {meta.space}:"
            " use --space probs"
        )
    target = Target(hard=hard, values=values, meta=meta)
    soft = target.logits if space == "logits" else target.probs()
    smoothed = smooth(hard, values.shape[1], alpha=alpha, smoothing=smoothing)
    mixed = gamma * F.normalize(smoothed, dim=1) + (1 - gamma) * F.normalize(soft, dim=1)
    if space == "logits":
        return mixed
    return mixed / mixed.sum(1, keepdim=True)
