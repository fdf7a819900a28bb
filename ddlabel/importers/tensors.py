"""Bare arrays of images and labels: what their numbers are has to be stated, or be beyond doubt."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import numpy as np

from ddlabel import whitening
from ddlabel.config import ImportOptions
from ddlabel.errors import InvalidInputError, UsageError
from ddlabel.header import Space
from ddlabel.importers.source import Array, Source, grey_to_chw, numbered


def from_arrays(name: str, images: Array, labels: Array, options: ImportOptions) -> Source:
    """Images [N, H, W], [N, H, W, C] or [N, C, H, W] and labels [N], [N, 1] or [N, K] as a source in unit space.

    Raises:
        InvalidInputError: if the shapes do not fit together.
        UsageError: if the pixel or label space is ambiguous and not stated.
    """
    images = grey_to_chw(images)
    labels = labels[:, 0] if labels.ndim == 2 and labels.shape[1] == 1 else labels
    if images.ndim != 4 or labels.ndim not in (1, 2) or len(images) != len(labels) or not len(images):
        shapes = f"images {list(images.shape)} and labels {list(labels.shape)}"
        raise InvalidInputError(f"{name}: {shapes}: expected [N, C, H, W] and [N] or [N, K] with one N")
    pixels = _to_unit(name, images, options)
    if labels.ndim == 1:
        hard = _integers(name, labels)
        return Source(images=pixels, hard_labels=hard, classes=numbered(int(hard.max()) + 1))
    return Source(
        images=pixels,
        hard_labels=labels.argmax(1),
        classes=numbered(labels.shape[1]),
        soft_labels=labels,
        label_space=_label_space(name, labels, options.label_space),
    )


def _integers(name: str, labels: Array) -> Array:
    hard = labels.astype(np.int64)
    if (hard != labels).any() or hard.min() < 0:
        raise InvalidInputError(f"{name}: labels [N] must be classes 0, 1, 2, …; their least is {labels.min()}")
    return hard


def _to_unit(name: str, images: Array, options: ImportOptions) -> Array:
    """Pixels as uint8, or in float32 unit space out of the space that is stated."""
    space = options.pixels or ("uint8" if images.dtype == np.uint8 else None)
    if space is None:
        raise UsageError(
            f"{name}: the file does not say what its pixels are (they lie in {images.min():.3g} … {images.max():.3g}): "
            "state it with --pixels uint8|unit|normalised|zca"
        )
    if space == "uint8":
        if images.min() < 0 or images.max() > 255:
            raise InvalidInputError(f"{name}: pixels in {images.min():.3g} … {images.max():.3g} are not uint8")
        return images.round().astype(np.uint8) if images.dtype != np.uint8 else images
    images = images.astype(np.float32)
    if space == "normalised":
        if options.mean is None or options.std is None:
            raise UsageError(f"{name}: --pixels normalised needs the --mean and --std that were used")
        mean, std = (_per_channel(text, images.shape[1]) for text in (options.mean, options.std))
        return images * std + mean
    if space == "zca":
        if options.zca_from is None:
            raise UsageError(f"{name}: --pixels zca needs --zca-from REAL, the bundle that the whitening was fitted on")
        return _unwhiten(name, images, Path(options.zca_from))
    return images


def _per_channel(text: str, channels: int) -> Array:
    values = np.array([float(part) for part in text.split(",")], np.float32)
    return values.reshape(1, channels, 1, 1)


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
    if np.abs(labels.sum(1, dtype=np.float64) - 1).max() < 1e-3:
        return "probs"
    raise UsageError(f"{name}: labels [N, K] that are neither clearly logits nor distributions: state --label-space")
