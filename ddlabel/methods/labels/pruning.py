"""Pruning: choose which views of each image to keep.

A pruning is `pruning(target, num_views, *, options) -> kept [N, keep]`: the numbers of the kept
views of each image, in ascending order. The target holds the labels [N · V, K] of the V views of N
images, image by image.
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
def random(target: Target, num_views: int, *, keep: int = 8, seed: int = 0) -> Tensor:
    """Keep random views, the same numbers for all images: a grid stays one grid.

    Raises:
        UsageError: `keep` is not in 1 … V.
    """
    generator = torch.Generator().manual_seed(rng.stream(seed, "prune"))
    scores = torch.rand(num_views, generator=generator)
    num_images = len(target.values) // num_views
    return _keep_first(scores.expand(num_images, num_views), keep, "lowest")


@prunings.add
def entropy(target: Target, num_views: int, *, keep: int = 8, order: Order = "lowest") -> Tensor:
    """Keep the views of each image whose labels have the lowest or highest entropy.

    Raises:
        UsageError: `keep` is not in 1 … V.
        IncompatibleError: The labels are directions.
    """
    scores = metrics.entropy(_probs(target)).view(-1, num_views)
    return _keep_first(scores, keep, order)


@prunings.add
def disagreement(
    target: Target, num_views: int, *, keep: int = 8, order: Order = "lowest"
) -> Tensor:
    """Keep the views of each image whose labels differ least or most from the image's mean label.

    The difference is the Jensen-Shannon divergence from the mean.

    Raises:
        UsageError: `keep` is not in 1 … V.
        IncompatibleError: The labels are directions.
    """
    probs = _probs(target)
    mean_per_image = probs.view(-1, num_views, probs.shape[1]).mean(1)
    mean = mean_per_image.repeat_interleave(num_views, 0)
    mean_entropy = (metrics.entropy(probs) + metrics.entropy(mean)) / 2
    divergence = metrics.entropy((probs + mean) / 2) - mean_entropy
    return _keep_first(divergence.view(-1, num_views), keep, order)


def _probs(target: Target) -> Tensor:
    """Return label distributions in float64: differences of entropies round away in float32."""
    if target.meta.space == "direction":
        raise IncompatibleError(
            "this pruning reads distributions and the labels are directions: use random"
        )
    return F.normalize(target.probs().double(), p=1)


def _keep_first(scores: Tensor, keep: int, order: Order) -> Tensor:
    """Return the columns of the `keep` lowest or highest scores [N, V] of each row, ascending.

    Among equal scores the first are kept.
    """
    num_views = scores.shape[1]
    if not 1 <= keep <= num_views:
        raise UsageError(f"--prune: keep is {keep}: expected 1 to {num_views}, the number of views")
    ranked = scores.argsort(dim=1, descending=order == "highest", stable=True)
    return ranked[:, :keep].sort(1).values
