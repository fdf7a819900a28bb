"""Codecs: how labels are stored in fewer bytes.

A codec is `codec(values [..., K] float32, meta, *, options) → Labels`. The dtype, the meta and the
index of stored labels say how to decode them (`Labels.decode`). The meta that a codec returns
follows from the meta that it gets, never from the values.
"""

from collections.abc import Callable
from typing import Literal

import numpy as np
from numpy.typing import DTypeLike

from ddlabel.core.errors import IncompatibleError, UsageError
from ddlabel.core.registry import Registry
from ddlabel.data.labels import UINT8_NATS, UINT8_STEPS, Array, Labels
from ddlabel.data.schema import LabelMeta, require

codecs: Registry[Callable[..., Labels]] = Registry("codec")


@codecs.add
def float32(values: Array, meta: LabelMeta) -> Labels:
    """Store float32 numbers as they are: 4 bytes a class, lossless."""
    return Labels(values=values, meta=meta)


@codecs.add
def float16(values: Array, meta: LabelMeta) -> Labels:
    """Store half precision: 2 bytes a class, relative error at most 2⁻¹¹.

    Below 6e-5 the absolute error is at most 3e-8.
    """
    return Labels(values=_narrow_float(values, np.float16), meta=meta)


@codecs.add
def bfloat16(values: Array, meta: LabelMeta) -> Labels:
    """Store the upper half of float32, rounded to even: 2 bytes a class, relative error 2⁻⁸."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    last_kept_bit = (bits >> 16) & 1
    upper_half = ((bits + 0x7FFF + last_kept_bit) >> 16).astype(np.uint16)
    if (upper_half & 0x7FFF == 0x7F80).any():
        raise IncompatibleError(
            "bfloat16 ends at 3.39e38 and a label lies beyond: use another codec"
        )
    return Labels(values=upper_half, meta=meta)


@codecs.add
def uint8(values: Array, meta: LabelMeta) -> Labels:
    """Store log-probabilities in 255 steps, down to 32 nats below the largest: 1 byte a class.

    Steps are finer near the largest. A class d nats below the largest moves by at most
    √(32·d)/255 + 0.0002 nats, that is 0.02 at d = 1; classes beyond 32 nats rise to 32. All classes
    of a label then move together, by less than the largest such move, so that the label sums to 1.
    Logits come back with the mean 0, which their distribution does not determine; losses on logits
    learn from these.
    """
    depth = np.minimum(-_nats_below_top(values, meta) / UINT8_NATS, 1)
    steps = np.rint(UINT8_STEPS * (1 - np.sqrt(depth)))
    return Labels(values=steps.astype(np.uint8), meta=meta)


@codecs.named("top-k")
def top_k(
    values: Array,
    meta: LabelMeta,
    *,
    k: int = 3,
    dtype: Literal["uint8", "float16", "float32"] = "uint8",
) -> Labels:
    """Store the k largest probabilities, scaled to sum to 1, and 1 byte each for their classes.

    The other classes get 0. Beyond 256 classes a class takes 2 bytes. Labels in the space `mass`
    keep their sum. In float32 it is lossless for probabilities of which at most k are not 0.
    """
    num_classes = values.shape[-1]
    require(
        1 <= k <= num_classes,
        f"codec top-k: k is {k}: expected 1 to {num_classes}, the number of classes",
        UsageError,
    )
    are_probs = meta.space in ("probs", "mass")
    probs = values if are_probs else np.exp(_nats_below_top(values, meta))
    index = np.argsort(-probs, axis=-1, kind="stable")[..., :k]
    kept = np.take_along_axis(probs, index, -1)
    if meta.space != "mass":
        scaled = kept / kept.sum(-1, keepdims=True)
        # A label with at most k classes is kept as it is: a sum of 0.9999999 is no loss either.
        is_whole = (probs > 0).sum(-1, keepdims=True) <= k
        kept = np.where((meta.space == "probs") & is_whole, kept, scaled)
    kept_meta = LabelMeta(space="mass" if meta.space == "mass" else "probs", source=meta.source)
    stored = uint8(kept, kept_meta).values if dtype == "uint8" else _narrow_float(kept, dtype)
    return Labels(
        values=stored,
        meta=kept_meta,
        index=index.astype(np.min_scalar_type(num_classes - 1)),
        num_classes=num_classes,
    )


def _narrow_float(values: Array, dtype: DTypeLike) -> Array:
    """Convert numbers to a floating-point dtype, refusing what it cannot hold."""
    with np.errstate(over="ignore"):
        narrow = values.astype(dtype)
    if not np.isfinite(narrow).all():
        raise IncompatibleError("float16 ends at 65504 and a label lies beyond: use another codec")
    return narrow


def _nats_below_top(values: Array, meta: LabelMeta) -> Array:
    """Return log-probabilities minus the largest of each label: at most 0, −∞ for probability 0."""
    largest = values.max(-1, keepdims=True)
    with np.errstate(divide="ignore", over="ignore"):
        if meta.space == "logits":
            return np.asarray((values - largest) / np.float32(meta.temperature))
        if meta.space == "probs":
            return np.asarray(np.log(values / largest))
    raise IncompatibleError(
        f"this codec needs distributions and the labels are {meta.space}: use float16 or bfloat16"
    )
