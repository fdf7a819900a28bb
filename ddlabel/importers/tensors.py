"""Bare arrays of images and labels: what their numbers are has to be stated, or be beyond doubt."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import numpy as np

from ddlabel import whitening
from ddlabel.bundle import check_rows, sum_to_one
from ddlabel.config import ImportOptions
from ddlabel.errors import InvalidInputError, UsageError
from ddlabel.header import Space
from ddlabel.importers.source import Array, Source, given_statistics, grey_to_chw, numbered


# What float32 or int64 cannot hold becomes infinite or another number, and is refused as that.
@np.errstate(over="ignore", invalid="ignore")
def from_arrays(name: str, images: Array, labels: Array, options: ImportOptions) -> Source:
    """Images [N, H, W], [N, H, W, C] or [N, C, H, W] and labels [N], [N, 1] or [N, K] as a source in unit space.

    Raises:
        InvalidInputError: if the shapes do not fit together, or something in them is not a finite real number.
        UsageError: if the pixel or label space is ambiguous and not stated.
    """
    images = grey_to_chw(images)
    labels = labels[:, 0] if labels.ndim == 2 and labels.shape[1] == 1 else labels
    if images.ndim != 4 or labels.ndim not in (1, 2) or len(images) != len(labels) or not len(images):
        shapes = f"images {list(images.shape)} and labels {list(labels.shape)}"
        raise InvalidInputError(f"{name}: {shapes}: expected [N, C, H, W] and [N] or [N, K] with one N")
    for what, array in (("images", images), ("labels", labels)):
        if array.dtype.kind not in "buif":
            raise InvalidInputError(f"{name}: the {what} are of type {array.dtype}: expected real numbers")
        if array.dtype.kind == "f":
            check_rows(f"{name}: {what}", array, "finite numbers", np.isfinite)
    pixels = _to_unit(name, images, options)
    if labels.ndim == 1:
        hard = _integers(name, labels)
        return Source(images=pixels, hard_labels=hard, classes=numbered(int(hard.max()) + 1))
    return Source(
        images=pixels,
        hard_labels=labels.argmax(1),
        classes=numbered(labels.shape[1]),
        soft_labels=labels if labels.dtype == np.float16 else labels.astype(np.float32),
        label_space=_label_space(name, labels, options.label_space),
    )


def _integers(name: str, labels: Array) -> Array:
    hard = labels.astype(np.int64)
    if (hard != labels).any() or hard.min() < 0:
        raise InvalidInputError(
            f"{name}: labels [N] must be classes 0, 1, 2, …: they are {labels.min()} … {labels.max()}"
        )
    return hard


def _to_unit(name: str, images: Array, options: ImportOptions) -> Array:
    """Pixels as uint8, or in float32 unit space out of the space that is stated."""
    space = options.pixels or ("uint8" if images.dtype == np.uint8 else None)
    low, high = float(images.min()), float(images.max())
    if space is None:
        raise UsageError(
            f"{name}: the file does not say what its pixels are (they lie in {low:.3g} … {high:.3g}): "
            "state it with --pixels uint8|unit|normalised|zca"
        )
    if options.zca_from is not None and space != "zca":
        raise UsageError(f"{name}: --zca-from belongs to --pixels zca, and the pixels are {space}: leave it out")
    if space == "uint8":
        if low < 0 or high > 255:
            raise InvalidInputError(f"{name}: pixels in {low:.3g} … {high:.3g} are not uint8: expected 0 … 255")
        return images if images.dtype == np.uint8 else np.rint(images).astype(np.uint8)
    if images.dtype == np.uint8:
        raise UsageError(f"{name}: its pixels are bytes and cannot be {space}: say --pixels uint8, or nothing")
    images = images.astype(np.float32)
    if space == "normalised":
        given = given_statistics(options, images.shape[1])
        if given is None:
            raise UsageError(f"{name}: --pixels normalised needs the --mean and --std that were used")
        mean, std = (np.array(values, np.float32).reshape(1, -1, 1, 1) for values in given)
        return images * std + mean
    if space == "zca":
        if options.zca_from is None:
            raise UsageError(f"{name}: --pixels zca needs --zca-from REAL, the bundle that the whitening was fitted on")
        return _unwhiten(name, images, Path(options.zca_from))
    low, high = images.min(), images.max()
    # Learned pixels leave 0 … 1 by a little; normalised ones by far.
    if low < -1 or high > 2:
        range_ = f"{low:.3g} … {high:.3g}"
        raise InvalidInputError(f"{name}: pixels in {range_} are hardly --pixels unit: normalised, zca or uint8?")
    return images


def _unwhiten(name: str, images: Array, real: Path) -> Array:
    from ddlabel import formats

    bundle = formats.read(str(real))
    if bundle.images.shape[1:] != images.shape[1:]:
        raise InvalidInputError(
            f"{name}: images {list(images.shape[1:])} and {real}'s {list(bundle.images.shape[1:])} differ"
        )
    return whitening.undo(images, *whitening.fit(bundle.images))


def _label_space(name: str, labels: Array, stated: str | None) -> Space:
    """Logits if anything is negative, probabilities if every row is a distribution; else it has to be stated."""
    if stated is not None:
        return cast(Space, stated)
    if labels.min() < 0:
        return "logits"
    if sum_to_one(labels).all():
        return "probs"
    raise UsageError(f"{name}: labels [N, K] that are neither clearly logits nor distributions: state --label-space")
