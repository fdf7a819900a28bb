"""`compress`: labels in fewer bytes, and of fewer views."""

import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from ddlabel.commands.describe import compare
from ddlabel.core import rng
from ddlabel.core.config import CompressOptions
from ddlabel.core.errors import IncompatibleError, UsageError
from ddlabel.data.bundle import Bundle, image_chunks
from ddlabel.data.codecs import codecs
from ddlabel.data.labels import Array, Labels, Views
from ddlabel.data.scratch import scratch_array
from ddlabel.methods.labels.blocks import label_blocks, label_bytes
from ddlabel.methods.labels.pruning import prunings

_KS = (1, 2, 3, 5, 10, 20, 50, 100)
_LABELS = 1000  # that codecs are tried on, at most
Figures = dict[str, Any]


def compress(bundle: Bundle, options: CompressOptions) -> tuple[Bundle, Figures]:
    """The bundle with its soft or dense labels, or both, stored by one codec; those stored by one before are decoded.

    Figures: the `codec`; `before` and `after`, bytes of an image's labels with all that belongs to them; these as a
    `share` of its pixels; and of up to 1,000 labels the mean `js_distance` to the first ones and the share of the
    `same_class`, which directions have none of. IncompatibleError if there are no such labels or the codec cannot
    store them, UsageError if no codec meets the budget.
    """
    options.check_together()
    there = [name for name in ("soft", "dense") if getattr(bundle, name)] or ["soft"]
    fields = there if options.field == "all" else [options.field]
    before = _bytes(bundle, fields)
    if options.prune is not None:
        bundle = prune(bundle, options.prune)
    sample = _sample(bundle, fields)
    if options.share is None:
        found = _tried(bundle, sample, fields, options.codec or "uint8")
    elif any(bundle.labels(field).meta.space == "direction" for field in fields):
        raise IncompatibleError(
            "--budget compares distributions and labels are directions: use --codec float16"
        )
    else:
        found = _best(bundle, sample, fields, options.share)
    return _stored(bundle, fields, found["codec"]), {"before": before} | found


def encode(bundle: Bundle, field: str, codec: Callable[..., Labels]) -> Labels:
    """Soft or dense labels as a codec stores them, in blocks of images."""
    labels = bundle.labels(field)

    def scratch_like(part: Array) -> Array:
        return scratch_array((len(bundle), *part.shape[1:]), part.dtype)

    first = codec(labels.decode(slice(0, 1)), labels.meta)
    whole = replace(
        first,
        values=scratch_like(first.values),
        index=None if first.index is None else scratch_like(first.index),
    )
    for rows in image_chunks(bundle):
        block = codec(labels.decode(rows), labels.meta)
        whole.values[rows] = block.values
        if whole.index is not None:
            whole.index[rows] = block.index
    return whole


def prune(bundle: Bundle, spec: str) -> Bundle:
    """Some views of each image and their labels; a grid stays one grid where they are the same for all images.

    IncompatibleError without views, or where views are blended with those of the same number and would lose them.
    """
    pruning, blocks = prunings.resolve(spec), label_blocks(bundle, "dense")
    chosen = [
        pruning(target, len(target.hard) // len(bundle.hard_labels[rows]))
        for rows, target in blocks
    ]
    picks = torch.cat(chosen).numpy()
    shared = bool((picks == picks[0]).all())
    views = bundle.views
    assert views is not None  # dense labels have views
    if views.mix is not None and not shared:
        raise IncompatibleError(
            "--prune: views are blended with ones of the same number, which this parts: use random"
        )

    def kept(array: Array) -> Array:
        copy = scratch_array((*picks.shape, *array.shape[2:]), array.dtype)
        for rows in image_chunks(bundle):
            copy[rows] = array[rows][np.arange(len(picks[rows]))[:, None], picks[rows]]
        return copy

    arrays = {}
    for name, array in views.arrays():
        if name == "boxes" and views.are_shared:
            arrays[name] = array[picks[0] if shared else picks]
        else:
            arrays[name] = kept(array)
    labels = bundle.labels("dense")
    index = None if labels.index is None else kept(labels.index)
    dense = replace(labels, values=kept(labels.values), index=index)
    return replace(bundle, dense=dense, views=Views(**arrays))


def _best(bundle: Bundle, sample: Bundle, fields: Sequence[str], share: float) -> Figures:
    """Of the codecs within a share of the pixels the one nearest to the labels, of two as near the smaller."""
    specs = ["float32", "float16", "bfloat16", "uint8"]
    specs += [
        f"top-k:k={k},dtype={t}"
        for k in _KS
        for t in ("uint8", "float16")
        if k < len(bundle.classes)
    ]
    tried = []
    for spec in specs:
        with suppress(IncompatibleError):  # labels that it cannot store
            tried.append(_tried(bundle, sample, fields, spec))
    within = [
        each for each in tried if each["share"] <= share * (1 + 1e-9)
    ]  # 0.7 / 100 is less than 7 / 1000
    if not within:
        least = min(tried, key=lambda each: each["share"])
        reached = f"{math.ceil(1e4 * least['share']) / 100:g} % of the images' bytes, with {least['codec']}"
        raise UsageError(
            f"--budget: the least is {reached}: allow that, or keep fewer views with --prune"
        )
    return min(within, key=lambda each: (each["js_distance"], each["share"]))


def _tried(bundle: Bundle, sample: Bundle, fields: Sequence[str], spec: str) -> Figures:
    """What a codec would make of a bundle's labels, by those of a sample of its images."""
    stored = _stored(sample, fields, spec)
    after = _bytes(bundle, fields) + _bytes(stored, fields) - _bytes(sample, fields)
    known = [
        compare(sample, stored, field)
        for field in fields
        if bundle.labels(field).meta.space != "direction"
    ]
    names = ("js_distance", "same_class")
    means = {
        name: float(np.mean([each[name] for each in known])) if known else None for name in names
    }
    return {"codec": spec, "after": after, "share": after / bundle.images[0].nbytes} | means


def _stored(bundle: Bundle, fields: Sequence[str], spec: str) -> Bundle:
    """The bundle with its labels stored by the codec of a spec."""
    for field in fields:
        bundle = bundle.with_labels(field, encode(bundle, field, codecs.resolve(spec)))
    return bundle


def _sample(bundle: Bundle, fields: Sequence[str]) -> Bundle:
    """Random images with up to 1,000 labels, or one image with more."""
    if bundle.views is not None:  # partners are left out
        unmixed = replace(bundle.views, mix=None, mix_weight=None, mix_box=None)
        bundle = replace(bundle, views=unmixed)
    views = bundle.labels("dense").values.shape[1] if "dense" in fields else 1
    rows = np.random.default_rng(rng.stream(0, "compress")).permutation(len(bundle))
    return bundle.take(np.sort(rows[: max(1, _LABELS // views)]))


def _bytes(bundle: Bundle, fields: Sequence[str]) -> float:
    """Bytes of the labels of an image with all that belongs to them."""
    return sum(label_bytes(bundle, field)["bytes"] for field in fields)
