"""A bundle's labels in blocks: read, changed, and their figures and size."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from ddlabel.data.bundle import Bundle, image_chunks
from ddlabel.data.codecs import Stored
from ddlabel.data.scratch import scratch_array
from ddlabel.methods.labels.target import Target, shares
from ddlabel.methods.metrics import correct, entropy

# LADD zips one uncompressed .npy for each image and each label: a header and a zip entry more than the numbers.
_ZIPPED_NPY = 128 + 108


def label_blocks(bundle: Bundle, field: str) -> Iterator[tuple[slice, Target]]:
    """Soft or dense labels in blocks of images: which ones, and the labels of all their views one after another.

    IncompatibleError if there are none.
    """
    label, every = bundle.label(field), torch.from_numpy(np.array(bundle.hard_labels))
    for rows in image_chunks(bundle):
        values = torch.from_numpy(bundle.labels(field, rows))
        hard = every[rows].repeat_interleave(values[0].numel() // len(bundle.classes))
        if (
            field == "dense"
            and bundle.dense_mix is not None
            and bundle.dense_mix_weight is not None
        ):
            mix = (bundle.dense_mix[rows], bundle.dense_mix_weight[rows])
            other, share = (torch.from_numpy(np.array(each)).flatten() for each in mix)
            hard = shares(hard, every[other], share, len(bundle.classes))
        yield rows, Target(hard=hard, values=values.flatten(0, -2), label=label)


def map_labels(
    bundle: Bundle, field: str, change: Callable[[Target], Target], *, how: str
) -> Bundle:
    """The bundle with its soft or dense labels changed in blocks; `how` is added to where they come from."""
    label = bundle.label(field)
    values = scratch_array(
        (*bundle.arrays[f"{field}_labels"].shape[:-1], len(bundle.classes)), np.float32
    )
    for rows, target in label_blocks(bundle, field):
        changed = change(target)
        values[rows] = changed.values.view(values[rows].shape).numpy()
    return bundle.with_labels(
        field, Stored(values, replace(changed.label, source=f"{label.source} {how}"))
    )


def label_figures(bundle: Bundle, field: str) -> dict[str, Any]:
    """Accuracy of labels against the hard labels, and their mean entropy in nats, which directions have none of.

    Of a view that was blended the class with the larger share counts, and of a label that lost probability what is
    left of it, divided by its sum; one that is 0 for every class agrees with none.
    """
    right, nats, count = 0, 0.0, 0
    for _, target in label_blocks(bundle, field):
        left = (target.values != 0).any(1) if target.label.space == "mass" else slice(None)
        hard = target.hard if target.hard.ndim == 1 else target.hard.argmax(1)
        right += int(correct(target.values[left], hard[left]))
        nats += float(entropy(F.normalize(target.in_common_space().values, p=1)).sum())
        count += len(target.hard)
    entropy_nats = None if getattr(bundle, field).space == "direction" else nats / count
    return {"accuracy": right / count, "entropy_nats": entropy_nats}


def label_bytes(bundle: Bundle, field: str) -> dict[str, float]:
    """Bytes of the labels of one image, their share of its pixels, and the share as LADD counts it.

    LADD's 2.5 % (N = 5, 10 classes, 128 px) are a zip, not compressed, of one .npy of uint8 pixels for each image and
    one of float32 labels. Its Table S1 prints 20.7 % for the same: what that counting gives for 100 classes.
    """
    arrays = [array for name, array in bundle.arrays.items() if name.startswith(field)]
    own = sum(array.nbytes / len(bundle) for array in arrays)
    image, labels = bundle.images[0], bundle.labels(field, slice(0, 1))
    ladd = (4 * labels.size + _ZIPPED_NPY) / (image.size + _ZIPPED_NPY)
    return {"bytes": own, "share": own / image.nbytes, "ladd_share": ladd}
