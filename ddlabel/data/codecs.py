"""Label codecs: how labels are stored in fewer bytes, and the one place where stored labels become numbers again.

A codec is `codec(values [..., K] float32, label, *, options) → Stored`. What a stored array is follows from its dtype,
its label and whether it has an index; a codec's label follows from the label that it is given, not from the values.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ddlabel.core.errors import IncompatibleError, UsageError
from ddlabel.core.registry import Registry
from ddlabel.data.schema import LabelMeta, require

Array = NDArray[Any]
_STEPS, _NATS = 255, 32.0


@dataclass(frozen=True)
class Stored:
    """An array as it is stored, what its numbers are, and of which classes [..., k] they are where that is not all."""

    values: Array
    label: LabelMeta
    index: Array | None = None


codecs: Registry[Callable[..., Stored]] = Registry("codec")


def decode(values: Array, index: Array | None, label: LabelMeta, classes: int) -> Array:
    """Stored labels as float32 [..., K], in the space of their label; classes that an index leaves out get 0.

    uint16 are the upper halves of float32 (bfloat16). uint8 are log-probabilities −32·(1 − n/255)² nats below each
    label's largest; as logits they are given the mean 0. Probabilities that were rounded sum to 1 again.
    """
    found: Array
    if values.dtype == np.uint16:
        found = (values.astype(np.uint32) << 16).view(np.float32)
    elif values.dtype == np.uint8:
        found = -_NATS * np.square(1 - values.astype(np.float32) / _STEPS)
        if label.space == "logits":
            found = (found - found.mean(-1, keepdims=True)) * np.float32(label.temperature)
        else:
            found = np.exp(found)
    else:
        found = values.astype(np.float32)
    if values.dtype != np.float32 and label.space in ("probs", "mass"):
        total = found.sum(-1, keepdims=True)
        found = found / (np.maximum(total, 1) if label.space == "mass" else total)
    if index is None:
        return found
    full = np.zeros((*values.shape[:-1], classes), np.float32)
    np.put_along_axis(full, index.astype(np.int64), found, -1)
    return full


@codecs.add
def float32(values: Array, label: LabelMeta) -> Stored:
    """The numbers as they are: 4 bytes a class, lossless."""
    return Stored(values, label)


@codecs.add
def float16(values: Array, label: LabelMeta) -> Stored:
    """Half precision: 2 bytes a class, a relative error of at most 2⁻¹¹ (3e-8 absolute below 6e-5)."""
    return Stored(_half(values, np.float16), label)


@codecs.add
def bfloat16(values: Array, label: LabelMeta) -> Stored:
    """float32's upper half, rounded to nearest even: 2 bytes a class, a relative error of at most 2⁻⁸."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    stored = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)
    if (stored & 0x7FFF == 0x7F80).any():
        raise IncompatibleError(
            "bfloat16 ends at 3.39e38 and a label lies beyond: use another codec"
        )
    return Stored(stored, label)


@codecs.add
def uint8(values: Array, label: LabelMeta) -> Stored:
    """Log-probabilities in 255 steps, finer near the largest and down to 32 nats below it: 1 byte a class.

    A class d nats below the largest moves by at most √(32·d)/255 + 0.0002 nats, 0.02 at d = 1 (those beyond 32 rise to
    it), and all classes of a label together by less than its largest such move, for its sum to be 1. Logits come back
    with the mean 0, which their distribution does not determine: losses of logits learn from those.
    """
    steps = np.rint(_STEPS * (1 - np.sqrt(np.minimum(-_below_top(values, label) / _NATS, 1))))
    return Stored(steps.astype(np.uint8), label)


@codecs.named("top-k")
def top_k(
    values: Array,
    label: LabelMeta,
    *,
    k: int = 3,
    dtype: Literal["uint8", "float16", "float32"] = "uint8",
) -> Stored:
    """The k largest probabilities, made to sum to 1, with 1 byte for each one's class (2 beyond 256 classes).

    The others get 0. Labels without their full mass keep what they have. Lossless in float32 for probabilities of
    which at most k are not 0.
    """
    classes = values.shape[-1]
    require(
        1 <= k <= classes,
        f"codec top-k: k is {k}: expected 1 to {classes}, the number of classes",
        UsageError,
    )
    probs = values if label.space in ("probs", "mass") else np.exp(_below_top(values, label))
    index = np.argsort(-probs, axis=-1, kind="stable")[..., :k]
    kept = np.take_along_axis(probs, index, -1)
    if label.space != "mass":
        whole = (label.space == "probs") & ((probs > 0).sum(-1, keepdims=True) <= k)
        kept = np.where(
            whole, kept, kept / kept.sum(-1, keepdims=True)
        )  # a sum of 0.9999999 is no loss either
    small = LabelMeta(space="mass" if label.space == "mass" else "probs", source=label.source)
    stored = uint8(kept, small).values if dtype == "uint8" else _half(kept, dtype)
    return Stored(stored, small, index.astype(np.min_scalar_type(classes - 1)))


def _half(values: Array, dtype: DTypeLike) -> Array:
    """The numbers in a dtype of fewer bits."""
    with np.errstate(over="ignore"):
        stored = values.astype(dtype)
    if not np.isfinite(stored).all():
        raise IncompatibleError("float16 ends at 65504 and a label lies beyond: use another codec")
    return stored


def _below_top(values: Array, label: LabelMeta) -> Array:
    """How far, in nats, every class lies below the largest of its label, −∞ for a probability of 0; at most 0."""
    with np.errstate(divide="ignore", over="ignore"):
        if label.space == "logits":
            return np.asarray(
                (values - values.max(-1, keepdims=True)) / np.float32(label.temperature)
            )
        if label.space == "probs":
            return np.asarray(np.log(values / values.max(-1, keepdims=True)))
    raise IncompatibleError(
        f"this codec is of distributions and the labels are {label.space}: use float16 or bfloat16"
    )
