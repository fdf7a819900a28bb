"""The common form of foreign data before it becomes a bundle, and how bare arrays are read."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from ddlabel.core.config import ImportOptions
from ddlabel.core.errors import UsageError
from ddlabel.data.importers.hard_labels import given_hard_labels
from ddlabel.data.importers.label_arrays import (
    check_num_classes,
    check_numbers,
    read_hard,
    read_soft,
)
from ddlabel.data.importers.pixels import to_unit
from ddlabel.data.labels import Array
from ddlabel.data.provenance import HARD_LABELS, LARGEST_ENTRIES
from ddlabel.data.schema import Space, require

# Brings images [N, C, H, W] of the space that the options state to uint8 or unit space.
Convert = Callable[[str, Array, ImportOptions], Array]


class Source(NamedTuple):
    """The data that an importer reads.

    `images` [N, C, H, W] are uint8, or float32 in unit space. `hard_labels` are [N], `soft_labels`
    [N, K] are floating point. `notes` say what was left out of the files, and `facts` what they say
    that belongs into the history of the bundle.
    """

    images: Array
    hard_labels: Array
    classes: tuple[str, ...]
    soft_labels: Array | None = None
    label_space: Space = "logits"
    notes: tuple[str, ...] = ()
    facts: Mapping[str, Any] = MappingProxyType({})


def from_files(
    expected: str, paths: Sequence[Path], arrays: Sequence[Array], options: ImportOptions
) -> Source:
    """Convert the arrays of files with `from_arrays`: one of images, and one or two of labels.

    The files may be in any order: images have three axes or more.

    Raises:
        InvalidInputError: There is not one array of images and one or two of labels.
        UsageError: A space is ambiguous and not stated.
    """
    images = [array for array in arrays if array.ndim >= 3]
    labels = [array for array in arrays if array.ndim < 3]
    names = ", ".join(path.name for path in paths) or "none"
    has_labels = len(labels) > 0 or options.hard_labels is not None
    require(len(images) == 1 and has_labels, f"expected {expected}, got {names}")
    return from_arrays(str(paths[0]), images[0], labels, options)


# A number that float32 or int64 cannot hold becomes infinite or another number, which is refused.
@np.errstate(over="ignore", invalid="ignore")
def from_arrays(
    name: str,
    images: Array,
    labels: Sequence[Array],
    options: ImportOptions,
    *,
    convert: Convert = to_unit,
) -> Source:
    """Convert an array of images, and one or two of labels, to what a bundle holds.

    Images are [N, H, W], [N, H, W, C] or [N, C, H, W] with C of 1 or 3; `convert` brings them to
    unit space. Labels are [N] or [N, 1] with the number of the class, [N, K], or one of each.
    Labels [N, K] are logits if one is negative and probabilities if every row is a distribution,
    unless the options state it. Hard labels that are neither there nor given by the options are the
    largest entries of labels [N, K], which the facts of the source say.

    Raises:
        InvalidInputError: The shapes do not fit together, or a number is not finite.
        UsageError: A space is ambiguous and not stated, or stated against the numbers; hard labels
            are given twice.
    """
    images = _channels_first(images)
    check_numbers(name, "images", images)
    hard, soft = _hard_and_soft(name, images, labels)
    images = convert(name, images, options)
    given = given_hard_labels(name, len(images), soft, options)
    if hard is not None and given is not None:
        raise UsageError(
            f"{name}: it has hard labels already: leave out --hard-labels and --class-sorted"
        )
    hard = given if hard is None else hard
    if soft is None:
        require(hard is not None, f"{name}: it has no labels")
        assert hard is not None  # narrowed for mypy
        return Source(images, hard, _numbered_classes(int(hard.max()) + 1))
    values, space = read_soft(name, soft, options.label_space)
    facts = {} if hard is not None else {HARD_LABELS: LARGEST_ENTRIES}
    hard = soft.argmax(1) if hard is None else hard
    num_classes = soft.shape[1]
    require(
        hard.max() < num_classes,
        f"{name}: the hard labels go up to {hard.max()}, and the soft labels have "
        f"{num_classes} classes",
    )
    return Source(images, hard, _numbered_classes(num_classes), values, space, facts=facts)


def _hard_and_soft(
    name: str, images: Array, labels: Sequence[Array]
) -> tuple[Array | None, Array | None]:
    """Return the hard labels [N] and the soft labels [N, K] among arrays.

    Raises:
        InvalidInputError: There are two of a kind, or a shape does not fit the images.
    """
    hard = None
    soft = None
    for array in labels:
        axes_fit = images.ndim == 4 and array.ndim in (1, 2)
        same_length = axes_fit and len(images) == len(array)
        require(
            same_length and images.size > 0 and array.size > 0,
            f"{name}: images {list(images.shape)} and labels {list(array.shape)}: expected "
            "[N, C, H, W] and [N] or [N, K] with one N",
        )
        is_hard = array.ndim == 1 or array.shape[1] == 1
        twice = hard is not None if is_hard else soft is not None
        kind = "hard labels [N]" if is_hard else "soft labels [N, K]"
        require(not twice, f"{name}: two arrays of {kind}: leave one of them out")
        if is_hard:
            hard = read_hard(name, array.reshape(-1))
        else:
            check_numbers(name, "labels", array)
            soft = array
    return hard, soft


def _channels_first(images: Array) -> Array:
    """Return images [N, H, W] or [N, H, W, C] as [N, C, H, W]."""
    if images.ndim == 3:
        return images[:, None]
    if images.ndim != 4:
        return images
    channels_last = images.shape[1] not in (1, 3) and images.shape[3] in (1, 3)
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2)) if channels_last else images


def _numbered_classes(num_classes: int) -> tuple[str, ...]:
    """Return names for classes that have none: "0", "1", "2", …."""
    check_num_classes(num_classes)
    return tuple(map(str, range(num_classes)))
