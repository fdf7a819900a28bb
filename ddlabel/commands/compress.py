"""`compress`: labels in fewer bytes, and labels of fewer views."""

import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from ddlabel.commands.command import Made, command
from ddlabel.commands.describe import compare_labels
from ddlabel.commands.inputs import BundleLike, open_bundle
from ddlabel.commands.reporter import Reporter
from ddlabel.core import rng
from ddlabel.core.config import CompressOptions
from ddlabel.core.errors import IncompatibleError, UsageError
from ddlabel.data.bundle import FIELDS, Bundle, Field, image_chunks
from ddlabel.data.codecs import codecs
from ddlabel.data.labels import Array, Labels, Views
from ddlabel.data.scratch import scratch_array
from ddlabel.methods.labels.blocks import label_blocks, label_bytes
from ddlabel.methods.labels.pruning import prunings

# The numbers of classes that --budget tries to keep.
_TOP_KS = (1, 2, 3, 5, 10, 20, 50, 100)
# The number of labels on which codecs are tried, at most.
_SAMPLE_LABELS = 1000
# 0.7 / 100 is a little less than 7 / 1000: a budget is met up to rounding.
_ROUNDING = 1 + 1e-9
Figures = dict[str, Any]


@command("compress", CompressOptions)
def compress(bundle: BundleLike, *, options: CompressOptions, reporter: Reporter) -> Made:
    """Store labels in fewer bytes: by a codec or within a budget, and of some of the views.

    Raises:
        UsageError: No codec meets the budget, or an option is out of its range.
        IncompatibleError: There are no such labels, or the codec cannot store them.
    """
    opened = open_bundle(bundle)
    compressed, figures = compress_labels(opened.bundle, options)
    before, after = figures["before"], figures["after"]
    reporter.note(
        f"{figures['codec']}: {before:,.0f} → {after:,.0f} bytes an image "
        f"(× {after / before:.2f}), {100 * figures['share']:.2f} % of its pixels"
    )
    if figures["js_distance"] is not None:
        reporter.note(
            f"mean Jensen-Shannon distance {figures['js_distance']:.4f}, "
            f"{100 * figures['same_class']:.1f} % keep their largest class (of up to "
            f"{_SAMPLE_LABELS:,} labels)"
        )
    return Made(bundle=compressed, source=opened.digest)


def compress_labels(bundle: Bundle, options: CompressOptions) -> tuple[Bundle, Figures]:
    """Store soft labels, dense labels or both by one codec. Compressed labels are decoded first.

    The figures are the `codec`; `before` and `after`, bytes of the labels of an image with all that
    belongs to them; `after` as a `share` of its pixels; and for up to 1,000 labels the mean
    `js_distance` to the labels before and the share of the `same_class` (None for directions).

    Raises:
        UsageError: No codec meets the budget.
        IncompatibleError: There are no such labels, or the codec cannot store them.
    """
    options.check_together()
    fields = _fields_to_compress(bundle, options.field)
    before = _bytes_per_image(bundle, fields)
    if options.prune is not None:
        bundle = prune(bundle, options.prune)
    sample = _sample_of(bundle, fields)
    are_directions = [bundle.labels(field).meta.space == "direction" for field in fields]
    if options.share is None:
        figures = _try_codec(bundle, sample, fields, options.codec or "uint8")
    elif any(are_directions):
        raise IncompatibleError(
            "--budget compares distributions and labels are directions: use --codec float16"
        )
    else:
        figures = _best_within(bundle, sample, fields, options.share)
    return _store(bundle, fields, figures["codec"]), {"before": before} | figures


def _fields_to_compress(bundle: Bundle, wanted: str) -> list[Field]:
    """Return the labels that `--field` names; `all` are those that the bundle has."""
    if wanted != "all":
        return [field for field in FIELDS if field == wanted]
    # Without any labels, asking for soft labels raises the error that says so.
    return [field for field in FIELDS if getattr(bundle, field) is not None] or ["soft"]


def encode(bundle: Bundle, field: str, codec: Callable[..., Labels]) -> Labels:
    """Encode soft or dense labels with a codec, in blocks of images."""
    labels = bundle.labels(field)

    def scratch_like(part: Array) -> Array:
        return scratch_array((len(bundle), *part.shape[1:]), part.dtype)

    first = codec(labels.decode(slice(0, 1)), labels.meta)
    encoded = replace(
        first,
        values=scratch_like(first.values),
        index=None if first.index is None else scratch_like(first.index),
    )
    for rows in image_chunks(bundle):
        block = codec(labels.decode(rows), labels.meta)
        encoded.values[rows] = block.values
        if encoded.index is not None:
            encoded.index[rows] = block.index
    return encoded


def prune(bundle: Bundle, spec: str) -> Bundle:
    """Keep some views of each image and their labels.

    A grid stays one grid if the same views are kept for all images.

    Raises:
        IncompatibleError: There are no views, or views are blended with views that would be lost.
    """
    kept_views = _kept_views(bundle, spec)
    labels = bundle.labels("dense")
    views = bundle.views
    assert views is not None  # dense labels have views
    are_same = bool((kept_views == kept_views[0]).all())
    if views.mix is not None and not are_same:
        raise IncompatibleError(
            "--prune: views are blended with views of the same number, and this pruning keeps "
            "others for each image: use random"
        )

    def keep(array: Array) -> Array:
        kept = scratch_array((*kept_views.shape, *array.shape[2:]), array.dtype)
        for rows in image_chunks(bundle):
            columns = kept_views[rows]
            images = np.arange(len(columns))[:, None]
            kept[rows] = array[rows][images, columns]
        return kept

    arrays = {}
    for name, array in views.arrays():
        if name == "boxes" and views.are_shared:
            arrays[name] = array[kept_views[0] if are_same else kept_views]
        else:
            arrays[name] = keep(array)
    index = None if labels.index is None else keep(labels.index)
    dense = replace(labels, values=keep(labels.values), index=index)
    return replace(bundle, dense=dense, views=Views(**arrays))


def _kept_views(bundle: Bundle, spec: str) -> Array:
    """Return the numbers [N, keep] of the views that a pruning keeps."""
    pruning = prunings.resolve(spec)
    chosen = []
    for rows, target in label_blocks(bundle, "dense"):
        num_images = len(bundle.hard_labels[rows])
        num_views = len(target.hard) // num_images
        chosen.append(pruning(target, num_views))
    return np.asarray(torch.cat(chosen).numpy())


def _best_within(bundle: Bundle, sample: Bundle, fields: Sequence[str], share: float) -> Figures:
    """Return the figures of the codec that is nearest to the labels within a share of the pixels.

    Of two that are equally near it is the smaller.
    """
    specs = ["float32", "float16", "bfloat16", "uint8"]
    for k in _TOP_KS:
        if k < bundle.num_classes:
            specs += [f"top-k:k={k},dtype=uint8", f"top-k:k={k},dtype=float16"]
    tried = []
    for spec in specs:
        with suppress(IncompatibleError):  # the codec cannot store these labels
            tried.append(_try_codec(bundle, sample, fields, spec))
    within = [figures for figures in tried if figures["share"] <= share * _ROUNDING]
    if not within:
        least = min(tried, key=lambda figures: float(figures["share"]))
        percent = math.ceil(1e4 * least["share"]) / 100
        raise UsageError(
            f"--budget: the least is {percent:g} % of the images' bytes, with {least['codec']}: "
            "allow that, or keep fewer views with --prune"
        )
    return min(within, key=lambda figures: (figures["js_distance"], figures["share"]))


def _try_codec(bundle: Bundle, sample: Bundle, fields: Sequence[str], spec: str) -> Figures:
    """Return the figures of a codec, from the labels of a sample of the images."""
    stored = _store(sample, fields, spec)
    saved = _bytes_per_image(sample, fields) - _bytes_per_image(stored, fields)
    after = _bytes_per_image(bundle, fields) - saved
    comparisons: list[Figures] = [
        compare_labels(sample, stored, field)
        for field in fields
        if bundle.labels(field).meta.space != "direction"
    ]
    figures: Figures = {"codec": spec, "after": after, "share": after / bundle.images[0].nbytes}
    for name in ("js_distance", "same_class"):
        values = [comparison[name] for comparison in comparisons]
        figures[name] = float(np.mean(values)) if values else None
    return figures


def _store(bundle: Bundle, fields: Sequence[str], spec: str) -> Bundle:
    """Return the bundle with its labels encoded by the codec of a spec."""
    for field in fields:
        bundle = bundle.with_labels(field, encode(bundle, field, codecs.resolve(spec)))
    return bundle


def _sample_of(bundle: Bundle, fields: Sequence[str]) -> Bundle:
    """Return random images with up to 1,000 labels, at least one image."""
    if bundle.views is not None:
        # The partners of blended views would be left out.
        unblended = replace(bundle.views, mix=None, mix_weight=None, mix_box=None)
        bundle = replace(bundle, views=unblended)
    labels_per_image = bundle.labels("dense").values.shape[1] if "dense" in fields else 1
    num_images = max(1, _SAMPLE_LABELS // labels_per_image)
    shuffled = np.random.default_rng(rng.stream(0, "compress")).permutation(len(bundle))
    return bundle.take(np.sort(shuffled[:num_images]))


def _bytes_per_image(bundle: Bundle, fields: Sequence[str]) -> float:
    """Return the bytes of the labels of an image with all that belongs to them."""
    return sum(label_bytes(bundle, field)["bytes"] for field in fields)
