"""The hard labels that the options of an import give beside the labels of a source."""

from pathlib import Path

import numpy as np

from ddlabel.core.config import ImportOptions
from ddlabel.core.errors import UsageError
from ddlabel.data.importers.label_arrays import read_hard
from ddlabel.data.importers.label_files import read_label_file
from ddlabel.data.labels import Array
from ddlabel.data.schema import require

OPTIONS = {"hard_labels", "class_sorted"}


def given_hard_labels(
    name: str, num_images: int, soft: Array | None, options: ImportOptions
) -> Array | None:
    """Return the hard labels [N] of `options.hard_labels` or `options.class_sorted`, or None.

    Raises:
        InvalidInputError: The file holds no hard labels, or those of another number of images; the
            images cannot be sorted by class with as many of each.
        UsageError: The number of classes, which `class_sorted` needs, is not known.
    """
    if options.class_sorted:
        return _class_sorted(name, num_images, soft)
    if options.hard_labels is None:
        return None
    path = Path(options.hard_labels)
    require(path.is_file(), f"{path}: there is no such file")
    hard = read_label_file(path).hard
    require(
        hard is not None,
        f"{path}: it holds no hard labels: expected [N] numbers of classes, from 0",
    )
    assert hard is not None  # narrowed for mypy
    require(
        len(hard) == num_images,
        f"{path}: {len(hard)} hard labels for {num_images} images of {name}",
    )
    return read_hard(str(path), hard)


def _class_sorted(name: str, num_images: int, soft: Array | None) -> Array:
    if soft is None:
        raise UsageError(
            f"{name}: --class-sorted needs labels [N, K], which say the number of classes: give "
            "hard labels in a file with --hard-labels"
        )
    num_classes = soft.shape[1]
    require(
        num_images % num_classes == 0,
        f"{name}: {num_images} images cannot be sorted by class with as many of each of "
        f"{num_classes} classes: leave out --class-sorted, and give --hard-labels",
    )
    return np.repeat(np.arange(num_classes), num_images // num_classes)
