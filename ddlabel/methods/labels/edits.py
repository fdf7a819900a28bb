"""Edits: change labels on purpose, to find out which part of them teaches the student.

An edit is `edit(target, *, options) -> target` for labels [B, K] that are not directions. An edit
that removes probability without renormalising returns labels of the space `mass`.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Literal

import numpy as np
import torch

from ddlabel.core import rng
from ddlabel.core.errors import IncompatibleError, UsageError
from ddlabel.core.registry import Registry
from ddlabel.methods.labels.gift import smooth
from ddlabel.methods.labels.target import Target

edits: Registry[Callable[..., Target]] = Registry("edit")


@edits.named("top-k")
def top_k(target: Target, *, k: int = 3, renormalise: bool = False) -> Target:
    """Keep the k largest probabilities and set the rest to 0 (Label-Worth, section 4.3).

    The kept ones stay as they are or, with `renormalise`, are divided by their sum.

    Raises:
        UsageError: `k` is not in 1 … K.
        IncompatibleError: A label has no probability left to renormalise.
    """
    _check_range("top-k: k", k, 1, target.values.shape[1])
    removed = target.values.argsort(dim=1, descending=True, stable=True)[:, k:]
    kept = target.probs().scatter(1, removed, 0.0)
    if not renormalise:
        return target.with_values(kept, "mass")
    mass = kept.sum(1, keepdim=True)
    if not bool((mass > 0).all()):
        raise IncompatibleError(
            "a label has no probability left: it cannot be renormalised; edit the first labels"
        )
    return target.with_values(kept / mass, "probs")


@edits.add
def swap(target: Target, *, i: int = 1) -> Target:
    """Exchange the i-th largest probability, i < K, and the smallest (Label-Worth, 4.2 and Fig. 4).

    Raises:
        UsageError: `i` is not in 1 … K − 1.
    """
    _check_range("swap: i", i, 1, target.values.shape[1] - 1)
    order = target.values.argsort(dim=1, descending=True, stable=True)
    rank = i - 1
    classes = torch.stack([order[:, rank], order[:, -1]], 1)
    exchanged = target.values.gather(1, classes.flip(1))
    return replace(target, values=target.values.scatter(1, classes, exchanged))


@edits.add
def without_mass(target: Target, *, class_: int = 0) -> Target:
    """Remove one class's probability from the labels of other classes' images (Label-Worth, 4.3).

    The labels are not renormalised. Images of the class keep their labels, and so do blended views
    with a share of it.

    Raises:
        UsageError: `class` is not in 0 … K − 1.
    """
    _check_range("without-mass: class", class_, 0, target.values.shape[1] - 1)
    is_blended = target.hard.ndim == 2
    is_of_class = target.hard[:, class_] > 0 if is_blended else target.hard == class_
    values = target.probs().clone()
    values[:, class_] *= is_of_class
    return target.with_values(values, "mass")


@edits.add
def temperature(target: Target, *, t: float = 2.0) -> Target:
    """Soften labels by t > 1 or sharpen them by t < 1.

    Logits become softmax(logits / t); probabilities become p^(1/t), scaled to the sum of p.

    Raises:
        UsageError: `t` is not in 0.001 … 1000.
    """
    if not 1e-3 <= t <= 1e3:
        raise UsageError(f"temperature: t is {t}: expected a number from 0.001 to 1000")
    if target.meta.space != "logits":
        return replace(target, values=target.probs(t))
    meta = replace(target.meta, temperature=target.meta.temperature * t)
    return replace(target, meta=meta)


@edits.named("smooth")
def smoothed(
    target: Target, *, alpha: float = 0.1, over: Literal["others", "all"] = "others"
) -> Target:
    """Spread the share α of each class's probability over the `others` or over `all` classes.

    (1 − α)·p + α·(s − p)/(K − 1) or (1 − α)·p + α·s/K, where s is the label's sum. For a one-hot
    label this is the label smoothing of GIFT or of Szegedy et al.

    Raises:
        UsageError: `alpha` is not in [0, 1].
    """
    _check_range("smooth: alpha", alpha, 0, 1)
    probs = target.probs()
    mass = probs.sum(1, keepdim=True)
    distribution = probs / mass.clamp_min(1e-38)
    spread = smooth(distribution, probs.shape[1], alpha=alpha, smoothing=over) * mass
    return target.with_values(spread, "mass" if target.meta.space == "mass" else "probs")


@edits.add
def permute(target: Target, *, seed: int = 0) -> Target:
    """Permute the classes of all labels in one random order: as soft as before, without meaning."""
    generator = np.random.default_rng(rng.stream(seed, "permute"))
    order = torch.from_numpy(generator.permutation(target.values.shape[1]))
    return replace(target, values=target.values[:, order])


@edits.add
def one_hot(target: Target) -> Target:
    """Put all probability on the largest entry: the labeler's own hard label.

    Raises:
        IncompatibleError: A label has no probability left.
    """
    return top_k(target, k=1, renormalise=True)


def _check_range(option: str, value: float, low: int, high: int) -> None:
    if not low <= value <= high:
        raise UsageError(f"{option} is {value}: expected {low} to {high}")
