"""Prunings: which views of each image to keep.

A pruning is `pruning(target, views, *, options) → numbers [n, keep]` of the views that are kept, rising, for the
labels of the views of n images one after another. UsageError if there are not so many views.
"""

from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from ddlabel.core import rng
from ddlabel.core.errors import IncompatibleError, UsageError
from ddlabel.core.registry import Registry
from ddlabel.methods import metrics
from ddlabel.methods.labels.target import Target

Order = Literal["lowest", "highest"]
prunings: Registry[Callable[..., Tensor]] = Registry("pruning")


@prunings.add
def random(target: Target, views: int, *, keep: int = 8, seed: int = 0) -> Tensor:
    """Views drawn once, the same numbers for all images: a grid stays one grid."""
    scores = torch.rand(views, generator=torch.Generator().manual_seed(rng.stream(seed, "prune")))
    return _first(scores.expand(len(target.values) // views, views), keep, "lowest")


@prunings.add
def entropy(target: Target, views: int, *, keep: int = 8, order: Order = "lowest") -> Tensor:
    """The views of each image whose labels have the lowest or highest entropy."""
    return _first(metrics.entropy(_probs(target)).view(-1, views), keep, order)


@prunings.add
def disagreement(target: Target, views: int, *, keep: int = 8, order: Order = "lowest") -> Tensor:
    """The views of each image whose labels have the least or largest Jensen-Shannon divergence from their mean."""
    probs = _probs(target)
    mean = probs.view(-1, views, probs.shape[1]).mean(1).repeat_interleave(views, 0)
    divergence = (
        metrics.entropy((probs + mean) / 2) - (metrics.entropy(probs) + metrics.entropy(mean)) / 2
    )
    return _first(divergence.view(-1, views), keep, order)


def _probs(target: Target) -> Tensor:
    """Label distributions in float64: differences of entropies round away in float32."""
    if target.label.space == "direction":
        raise IncompatibleError(
            "this pruning reads distributions and the labels are directions: use random"
        )
    return F.normalize(target.probs().double(), p=1)


def _first(scores: Tensor, keep: int, order: Order) -> Tensor:
    """The `keep` lowest or highest of the scores [n, V] of each row, of equal ones the first."""
    if not 1 <= keep <= scores.shape[1]:
        raise UsageError(
            f"--prune: keep is {keep}: expected 1 to {scores.shape[1]}, the number of views"
        )
    ranked = scores.argsort(dim=1, descending=order == "highest", stable=True)
    return ranked[:, :keep].sort(1).values
