"""The common form of foreign data before it becomes a bundle, and how bare arrays are read."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, NamedTuple, cast

import numpy as np

from ddlabel.core.config import ImportOptions
from ddlabel.core.errors import UsageError
from ddlabel.data.checks import check_rows, sum_to_one
from ddlabel.data.importers.pixels import to_unit
from ddlabel.data.labels import Array
from ddlabel.data.schema import Space, require

_MAX_CLASSES = 1 << 16


class Source(NamedTuple):
    """The data that an importer reads.

    `images` [N, C, H, W] are uint8, or float32 in unit space. `hard_labels` are [N], `soft_labels`
    [N, K] are floating point. `notes` say what was left out of the files.
    """

    images: Array
    hard_labels: Array
    classes: tuple[str, ...]
    soft_labels: Array | None = None
    label_space: Space = "logits"
    notes: tuple[str, ...] = ()


def from_pair(
    expected: str, paths: Sequence[Path], read: Callable[[Path], Array], options: ImportOptions
) -> Source:
    """Read one file of images and one of labels, in either order, with `from_arrays`.

    Raises:
        InvalidInputError: There are not two files, or both hold images or labels.
        UsageError: A space is ambiguous and not stated.
    """
    arrays = [read(path) for path in paths]
    images = [array for array in arrays if array.ndim >= 3]
    labels = [array for array in arrays if array.ndim < 3]
    names = ", ".join(path.name for path in paths) or "none"
    require(len(images) == len(labels) == 1, f"expected {expected}, got {names}")
    return from_arrays(str(paths[0]), images[0], labels[0], options)


# A number that float32 or int64 cannot hold becomes infinite or another number, which is refused.
@np.errstate(over="ignore", invalid="ignore")
def from_arrays(
    name: str,
    images: Array,
    labels: Array,
    options: ImportOptions,
    soft_labels: Array | None = None,
) -> Source:
    """Convert arrays of images and labels to unit space.

    Images are [N, H, W], [N, H, W, C] or [N, C, H, W] with C of 1 or 3. Labels are [N] or [N, 1]
    with the number of the class, or [N, K]. Labels [N, K] are logits if one is negative and
    probabilities if every row is a distribution, unless the options state it. Their largest entries
    are the hard labels, unless labels [N] and `soft_labels` [N, K] are both given.

    Raises:
        InvalidInputError: The shapes do not fit together, or a number is not finite.
        UsageError: A space is ambiguous and not stated, or stated against the numbers.
    """
    images = _channels_first(images)
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    _check_arrays(name, images, labels)
    if soft_labels is not None:
        _check_arrays(name, images, soft_labels)
    images = to_unit(name, images, options)
    if labels.ndim == 2:
        hard_labels = labels.argmax(1)
        soft_labels = labels
    else:
        hard_labels = _hard_labels(name, labels)
    if soft_labels is None:
        num_classes = int(hard_labels.max()) + 1
        return Source(images, hard_labels, _numbered_classes(num_classes))
    num_classes = soft_labels.shape[1]
    require(
        hard_labels.max() < num_classes,
        f"{name}: the hard labels go up to {hard_labels.max()}, and the soft labels have "
        f"{num_classes} classes",
    )
    soft, space = _soft_labels(name, soft_labels, options.label_space)
    return Source(images, hard_labels, _numbered_classes(num_classes), soft, space)


def _channels_first(images: Array) -> Array:
    """Return images [N, H, W] or [N, H, W, C] as [N, C, H, W]."""
    if images.ndim == 3:
        return images[:, None]
    if images.ndim != 4:
        return images
    channels_last = images.shape[1] not in (1, 3) and images.shape[3] in (1, 3)
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2)) if channels_last else images


def _check_arrays(name: str, images: Array, labels: Array) -> None:
    axes_fit = images.ndim == 4 and labels.ndim in (1, 2)
    same_length = axes_fit and len(images) == len(labels)
    require(
        same_length and images.size > 0 and labels.size > 0,
        f"{name}: images {list(images.shape)} and labels {list(labels.shape)}: expected "
        "[N, C, H, W] and [N] or [N, K] with one N",
    )
    for role, array in (("images", images), ("labels", labels)):
        require(
            array.dtype.kind in "buif",
            f"{name}: the {role} are of type {array.dtype.name}: expected real numbers",
        )
        check_rows(f"{name}: {role}", array, "finite numbers", np.isfinite)


def _hard_labels(name: str, labels: Array) -> Array:
    """Return labels [N] as whole numbers."""
    hard = labels.astype(np.int64)
    whole = (hard == labels).all() and hard.min() >= 0
    require(
        whole,
        f"{name}: labels [N] must be classes 0, 1, 2, …: they are {labels.min()} … {labels.max()}",
    )
    return np.asarray(hard)


def _soft_labels(name: str, labels: Array, stated: str | None) -> tuple[Array, Space]:
    """Return labels [N, K] as they are stored, and their space."""
    soft = labels if labels.dtype == np.float16 else labels.astype(np.float32)
    likely = _likely_space(labels, soft)
    if stated == "logits" and likely == "probs":
        raise UsageError(
            f"{name}: --label-space logits, but every row of the labels is a distribution: say "
            "--label-space probs"
        )
    space = stated or likely
    if space is None:
        raise UsageError(
            f"{name}: labels [N, K] are not clearly logits or probabilities: "
            "add --label-space logits or probs"
        )
    return soft, cast(Space, space)


def _likely_space(labels: Array, soft: Array) -> Literal["logits", "probs"] | None:
    """Return the space of labels [N, K] if their numbers leave no doubt; `soft` is as stored."""
    if labels.min() < 0:
        return "logits"
    tolerance = 1e-2 if soft.dtype == np.float16 else 1e-4
    if sum_to_one(labels, tolerance=tolerance).all():
        return "probs"
    return None


def _numbered_classes(num_classes: int) -> tuple[str, ...]:
    """Return names for classes that have none: "0", "1", "2", …."""
    require(
        num_classes <= _MAX_CLASSES,
        f"the labels go up to {num_classes - 1}: at most {_MAX_CLASSES} classes are read",
    )
    return tuple(map(str, range(num_classes)))
