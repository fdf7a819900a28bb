"""What an importer finds: images and labels, before they become a bundle; and what importers have in common.

What the numbers of bare arrays are has to be stated, or be beyond doubt.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np

from ddlabel.core.config import ImportOptions
from ddlabel.core.errors import UnsafeInputError, UsageError
from ddlabel.data import formats, whitening
from ddlabel.data.checks import check_rows, sum_to_one
from ddlabel.data.labels import Array
from ddlabel.data.schema import Space, require

_MAX_CLASSES = 1 << 16


class Source(NamedTuple):
    """Images [N, C, H, W] as uint8 or float32 in unit space, hard labels [N], float soft labels [N, K] if there are."""

    images: Array
    hard_labels: Array
    classes: tuple[str, ...]
    soft_labels: Array | None = None
    label_space: Space = "logits"


def check_size(size: int, limit: int, what: str = "the file") -> None:
    """Refuse, as unsafe, what declares more bytes than are read."""
    require(
        size <= limit, f"{what} declares {size} bytes: at most {limit} are read", UnsafeInputError
    )


def is_archive(test: Callable[[Path], bool], path: Path) -> bool:
    """Whether `zipfile.is_zipfile` or `tarfile.is_tarfile` knows a file; a damaged one can make them fail."""
    try:
        return test(path)
    except Exception:
        return False


def from_pair(
    expected: str, paths: Sequence[Path], read: Callable[[Path], Array], options: ImportOptions
) -> Source:
    """`from_arrays` of one file of images and one of labels, in either order; InvalidInputError if they are not so."""
    arrays = {array.ndim >= 3: array for array in map(read, paths)}
    found = ", ".join(path.name for path in paths) or "none"
    require(len(paths) == len(arrays) == 2, f"expected {expected}, got {found}")
    return from_arrays(str(paths[0]), arrays[True], arrays[False], options)


# What float32 or int64 cannot hold becomes infinite or another number, and is refused as that.
@np.errstate(over="ignore", invalid="ignore")
def from_arrays(name: str, images: Array, labels: Array, options: ImportOptions) -> Source:
    """Images [N, H, W], [N, H, W, C] or [N, C, H, W] (C is 1 or 3) and labels [N], [N, 1] or [N, K] in unit space.

    Labels [N, K] are logits if one is negative, probabilities if every row is a distribution, and have to be stated
    otherwise; their largest entries are the hard labels. InvalidInputError if the shapes do not fit together or
    something is not a finite real number, UsageError if a space is ambiguous and not stated.
    """
    if images.ndim == 3:
        images = images[:, None]
    elif images.ndim == 4 and images.shape[1] not in (1, 3) and images.shape[3] in (1, 3):
        images = np.ascontiguousarray(images.transpose(0, 3, 1, 2))
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    fit = (
        images.ndim == 4
        and labels.ndim in (1, 2)
        and len(images) == len(labels)
        and images.size
        and labels.size
    )
    shapes = f"images {list(images.shape)} and labels {list(labels.shape)}"
    require(fit, f"{name}: {shapes}: expected [N, C, H, W] and [N] or [N, K] with one N")
    for what, array in (("images", images), ("labels", labels)):
        require(
            array.dtype.kind in "buif",
            f"{name}: the {what} are of type {array.dtype}: expected real numbers",
        )
        check_rows(f"{name}: {what}", array, "finite numbers", np.isfinite)
    pixels = _to_unit(name, images, options)
    if labels.ndim == 1:
        hard = labels.astype(np.int64)
        fit = (hard == labels).all() and hard.min() >= 0
        require(
            fit,
            f"{name}: labels [N] must be classes 0, 1, 2, …: they are {labels.min()} … {labels.max()}",
        )
        return Source(pixels, hard, _numbered(int(hard.max()) + 1))
    soft = labels if labels.dtype == np.float16 else labels.astype(np.float32)
    tolerance = 1e-2 if soft.dtype == np.float16 else 1e-4
    likely = (
        "logits"
        if labels.min() < 0
        else "probs"
        if sum_to_one(labels, tolerance=tolerance).all()
        else None
    )
    space = options.label_space or likely
    require(
        space,
        f"{name}: labels [N, K] are not clearly logits or distributions: state --label-space",
        UsageError,
    )
    return Source(pixels, labels.argmax(1), _numbered(labels.shape[1]), soft, cast(Space, space))


def _numbered(classes: int) -> tuple[str, ...]:
    """Names for classes that have none: "0", "1", "2" and so on."""
    require(
        classes <= _MAX_CLASSES,
        f"the labels go up to {classes - 1}: at most {_MAX_CLASSES} classes are read",
    )
    return tuple(map(str, range(classes)))


def _to_unit(name: str, images: Array, options: ImportOptions) -> Array:
    """Pixels as uint8, or in float32 unit space out of the space that is stated."""
    space = options.pixels or ("uint8" if images.dtype == np.uint8 else None)
    low, high = float(images.min()), float(images.max())
    found = f"{low:.3g} … {high:.3g}"
    require(
        space,
        f"{name}: pixels in {found}: say what they are with --pixels uint8|unit|normalised|zca",
        UsageError,
    )
    if options.zca_from is not None and space != "zca":
        raise UsageError(
            f"{name}: --zca-from belongs to --pixels zca, and the pixels are {space}: leave it out"
        )
    if space == "uint8":
        require(
            low >= 0 and high <= 255, f"{name}: pixels in {found} are not uint8: expected 0 … 255"
        )
        return images if images.dtype == np.uint8 else np.rint(images).astype(np.uint8)
    if images.dtype == np.uint8:
        raise UsageError(
            f"{name}: its pixels are bytes and cannot be {space}: say --pixels uint8, or nothing"
        )
    images = images.astype(np.float32)
    if space == "normalised":
        given = given_statistics(options, images.shape[1])
        if given is None:
            raise UsageError(
                f"{name}: --pixels normalised needs the --mean and --std that were used"
            )
        mean, std = (np.array(values, np.float32).reshape(1, -1, 1, 1) for values in given)
        return images * std + mean
    if space == "zca":
        if options.zca_from is None:
            raise UsageError(
                f"{name}: --pixels zca needs --zca-from REAL, the bundle that the whitening was fitted on"
            )
        real = formats.read(options.zca_from).images
        shapes = f"images {list(images.shape[1:])} and {options.zca_from}'s {list(real.shape[1:])}"
        require(real.shape[1:] == images.shape[1:], f"{name}: {shapes} differ")
        return whitening.undo(images, *whitening.fit(real))
    # Learned pixels leave 0 … 1 by a little; normalised ones by far.
    require(
        low >= -1 and high <= 2,
        f"{name}: pixels in {found} are hardly --pixels unit: normalised, zca or uint8?",
    )
    return images


def given_statistics(
    options: ImportOptions, channels: int
) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    """Mean and std [C] of the options, if they are there; one number stands for every channel.

    UsageError if one of the two is missing, or they are not numbers in unit space, one a channel, std above 0.
    """
    if options.mean is None and options.std is None:
        return None
    if options.mean is None or options.std is None:
        raise UsageError("--mean and --std belong together: give both or neither")
    given = f"--mean {options.mean} and --std {options.std}"
    try:
        numbers = (np.array(text.split(","), float) for text in (options.mean, options.std))
        mean, std = (tuple(np.broadcast_to(each, channels).tolist()) for each in numbers)
    except ValueError:
        raise UsageError(
            f"{given}: expected {channels} numbers in each, with commas, or one for all"
        ) from None
    if not all(0 <= value <= 1 for value in mean + std) or 0 in std:
        raise UsageError(
            f"{given}: expected 0 to 1 and std above 0, in unit space (divide those of 0 … 255 by 255)"
        )
    return mean, std
