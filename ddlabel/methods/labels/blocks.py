"""The labels of a bundle in blocks of images: reading, changing and measuring them."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ddlabel.data.bundle import Bundle, image_chunks
from ddlabel.data.labels import Labels
from ddlabel.data.scratch import scratch_array
from ddlabel.methods.labels.target import Target, class_shares
from ddlabel.methods.metrics import correct, entropy

# LADD zips one uncompressed .npy for each image and each label: a header and a zip entry are added
# to the numbers.
_ZIPPED_NPY_BYTES = 128 + 108


def label_blocks(bundle: Bundle, field: str) -> Iterator[tuple[slice, Target]]:
    """Yield soft or dense labels in blocks: the rows of the images, and the labels as a target.

    The dense labels of an image's views follow one another.

    Raises:
        IncompatibleError: The bundle has no such labels.
    """
    labels = bundle.labels(field)
    hard_labels = torch.from_numpy(np.array(bundle.hard_labels))
    for rows in image_chunks(bundle):
        values = torch.from_numpy(labels.decode(rows))
        hard = _hard_of_block(bundle, field, rows, hard_labels, values)
        yield rows, Target(hard=hard, values=values.flatten(0, -2), meta=labels.meta)


def _hard_of_block(
    bundle: Bundle, field: str, rows: slice, hard_labels: Tensor, values: Tensor
) -> Tensor:
    """Return the class [B], or for blended views the share of each class [B, K], of each label."""
    labels_per_image = values[0].numel() // bundle.num_classes
    hard = hard_labels[rows].repeat_interleave(labels_per_image)
    views = bundle.views if field == "dense" else None
    if views is None or views.mix is None or views.mix_weight is None:
        return hard
    partner = torch.from_numpy(np.array(views.mix[rows])).flatten()
    weight = torch.from_numpy(np.array(views.mix_weight[rows])).flatten()
    return class_shares(hard, hard_labels[partner], weight, bundle.num_classes)


def map_labels(
    bundle: Bundle, field: str, change: Callable[[Target], Target], *, how: str
) -> Bundle:
    """Return the bundle with its soft or dense labels changed in blocks.

    `how` is appended to the source of the labels.
    """
    labels = bundle.labels(field)
    values = scratch_array(labels.shape, np.float32)
    for rows, target in label_blocks(bundle, field):
        changed = change(target)
        values[rows] = changed.values.view(values[rows].shape).numpy()
    meta = replace(changed.meta, source=f"{labels.meta.source} {how}")
    return bundle.with_labels(field, Labels(values=values, meta=meta))


def label_figures(bundle: Bundle, field: str) -> dict[str, Any]:
    """Return the accuracy of labels against the hard labels, and their mean entropy in nats.

    Of a blended view the class with the larger share counts. Of a label that lost probability
    (`mass`), what is left of it, divided by its sum, counts; one that is 0 for every class agrees
    with no class. Directions have no entropy: it is None.
    """
    num_correct = 0
    total_entropy = 0.0
    num_labels = 0
    for _, target in label_blocks(bundle, field):
        hard = target.hard if target.hard.ndim == 1 else target.hard.argmax(1)
        rows = torch.ones(len(hard), dtype=torch.bool)
        if target.meta.space == "mass":
            rows = (target.values != 0).any(1)
        num_correct += int(correct(target.values[rows], hard[rows]))
        distributions = F.normalize(target.in_common_space().values, p=1)
        total_entropy += float(entropy(distributions).sum())
        num_labels += len(target.hard)
    is_direction = bundle.labels(field).meta.space == "direction"
    return {
        "accuracy": num_correct / num_labels,
        "entropy_nats": None if is_direction else total_entropy / num_labels,
    }


def label_bytes(bundle: Bundle, field: str) -> dict[str, float]:
    """Return the bytes of the labels of an image, their share of its pixels, and LADD's share.

    LADD's 2.5 % (N = 5, 10 classes, 128 px) are an uncompressed zip of one .npy of uint8 pixels for
    each image and one of float32 labels. Its Table S1 prints 20.7 % for the same, which this count
    gives for 100 classes.
    """
    arrays = [array for name, array in bundle.arrays.items() if name.startswith(field)]
    num_bytes = sum(array.nbytes / len(bundle) for array in arrays)
    image = bundle.images[0]
    num_labels = bundle.labels(field).decode(slice(0, 1)).size
    zipped_labels = 4 * num_labels + _ZIPPED_NPY_BYTES
    zipped_image = image.size + _ZIPPED_NPY_BYTES
    return {
        "bytes": num_bytes,
        "share": num_bytes / image.nbytes,
        "ladd_share": zipped_labels / zipped_image,
    }
