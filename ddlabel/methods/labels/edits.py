"""Edits: labels changed on purpose, to see what in them teaches.

An edit is `edit(target, *, options) → target`, labels [B, K] that are no directions; an option out of its range is a
UsageError. Probability that is taken away and not made up for leaves labels of the space `mass`.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Literal

import numpy as np
import torch

from ddlabel.core import rng
from ddlabel.core.errors import IncompatibleError, UsageError
from ddlabel.core.registry import Registry
from ddlabel.data.schema import require
from ddlabel.methods.labels.gift import smooth
from ddlabel.methods.labels.target import Target

edits: Registry[Callable[..., Target]] = Registry("edit")


@edits.named("top-k")
def top_k(target: Target, *, k: int = 3, renormalise: bool = False) -> Target:
    """The k largest probabilities, the rest 0, as they are (Label-Worth, section 4.3) or with a sum of 1 again.

    IncompatibleError if a label has nothing left to renormalise.
    """
    _check("top-k: k", k, 1, target.values.shape[1])
    rest = target.values.argsort(dim=1, descending=True, stable=True)[:, k:]
    kept = target.probs().scatter(1, rest, 0.0)
    if not renormalise:
        return target.holding(kept, "mass")
    mass = kept.sum(1, keepdim=True)
    if not bool((mass > 0).all()):
        raise IncompatibleError(
            "a label has no probability left: it cannot be renormalised; edit the first labels"
        )
    return target.holding(kept / mass, "probs")


@edits.add
def swap(target: Target, *, i: int = 1) -> Target:
    """The i-th largest probability, i < K, and the smallest change places (Label-Worth, section 4.2 and Fig. 4)."""
    _check("swap: i", i, 1, target.values.shape[1] - 1)
    order = target.values.argsort(dim=1, descending=True, stable=True)
    values = target.values.gather(1, order[:, [-1, i - 1]])
    return replace(target, values=target.values.scatter(1, order[:, [i - 1, -1]], values))


@edits.add
def without_mass(target: Target, *, class_: int = 0) -> Target:
    """No probability for the class of a number in other classes' images; not renormalised (Label-Worth, section 4.3).

    Images of the class keep their labels, and so do blended views with a share of it.
    """
    _check("without-mass: class", class_, 0, target.values.shape[1] - 1)
    own = target.hard == class_ if target.hard.ndim == 1 else target.hard[:, class_] > 0
    values = target.probs().clone()
    values[:, class_] *= own
    return target.holding(values, "mass")


@edits.add
def temperature(target: Target, *, t: float = 2.0) -> Target:
    """Labels softened by t > 1 or sharpened by t < 1: softmax(logits / t), or p^(1/t) scaled to the sum of p."""
    require(
        1e-3 <= t <= 1e3, f"temperature: t is {t}: expected a number from 0.001 to 1000", UsageError
    )
    if target.label.space == "logits":
        return replace(
            target, label=replace(target.label, temperature=target.label.temperature * t)
        )
    return replace(target, values=target.probs(t))


@edits.named("smooth")
def smoothed(
    target: Target, *, alpha: float = 0.1, over: Literal["others", "all"] = "others"
) -> Target:
    """Each class passes the share α of its probability on, in equal parts to the `others` or to `all` classes.

    (1 − α)·p + α·(s − p)/(K − 1) or (1 − α)·p + α·s/K, where s is the label's sum: of a one-hot label, smoothing as
    GIFT or Szegedy et al. have it.
    """
    _check("smooth: alpha", alpha, 0, 1)
    probs = target.probs()
    mass = probs.sum(1, keepdim=True)
    mixed = (
        smooth(probs / mass.clamp_min(1e-38), probs.shape[1], alpha=alpha, smoothing=over) * mass
    )
    return target.holding(mixed, "mass" if target.label.space == "mass" else "probs")


@edits.add
def permute(target: Target, *, seed: int = 0) -> Target:
    """One random order of the classes for all labels: as soft as before, and without meaning."""
    order = np.random.default_rng(rng.stream(seed, "permute")).permutation(target.values.shape[1])
    return replace(target, values=target.values[:, torch.from_numpy(order)])


@edits.add
def one_hot(target: Target) -> Target:
    """All of the probability on the largest entry: the labeler's own hard label."""
    return top_k(target, k=1, renormalise=True)


def _check(what: str, value: float, low: int, high: int) -> None:
    require(low <= value <= high, f"{what} is {value}: expected {low} to {high}", UsageError)
