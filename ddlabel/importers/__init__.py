"""Foreign formats: each importer is one function path → `Source`; `load` picks one and makes the bundle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from ddlabel.bundle import Array, Bundle
from ddlabel.config import ImportOptions
from ddlabel.errors import InvalidInputError, UsageError
from ddlabel.header import LabelSpace, Pixels
from ddlabel.importers import cifar, folder, idx, npz, pt

IMPORTERS = {module.__name__.rpartition(".")[2]: module for module in (folder, cifar, idx, npz, pt)}
_ROWS_AT_ONCE = 4096


def load(paths: Sequence[Path], options: ImportOptions) -> Bundle:
    """The bundle of foreign files; never downloads.

    Raises:
        InvalidInputError: if a file is missing, damaged or of no known kind.
        UnsafeInputError: if it could run code or exhaust the machine.
        UsageError: if an option that the source needs is missing, or one does not fit it.
    """
    for path in paths:
        if not path.exists():
            raise InvalidInputError(f"{path}: there is no such file or folder")
    source = IMPORTERS[_kind(paths, options.format)].load(paths, options)
    if options.class_names is not None:
        source = replace(source, classes=tuple(name.strip() for name in options.class_names.split(",")))
    images = source.images
    if options.rgb and images.shape[1] == 1:
        images = np.repeat(images, 3, axis=1)
    mean, std = _statistics(images, options)
    space = "uint8" if images.dtype == np.uint8 else "unit"
    return Bundle(
        classes=source.classes,
        pixels=Pixels(space=space, mean=mean, std=std),  # type: ignore[arg-type]
        images=images,
        hard_labels=source.hard_labels.astype(np.int64),
        soft_labels=None if source.soft_labels is None else source.soft_labels.astype(np.float32),
        soft=LabelSpace(space=source.label_space, source="import") if source.soft_labels is not None else None,
    )


def _kind(paths: Sequence[Path], wanted: str) -> str:
    """The importer that an option names or, with auto, the only one that recognises the files."""
    if wanted != "auto":
        return wanted
    known = [name for name, module in IMPORTERS.items() if module.recognises(paths)]
    if len(known) != 1:
        found = f"it could be {' or '.join(known)}" if known else "no importer knows it"
        raise InvalidInputError(f"{paths[0]}: {found}: say what it is with --format {'|'.join(IMPORTERS)}")
    return known[0]


def _statistics(images: Array, options: ImportOptions) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Channel means and deviations in unit space: given ones, or those of these images."""
    if (options.mean is None) != (options.std is None):
        raise UsageError("--mean and --std belong together: give both or neither")
    channels = images.shape[1]
    if options.mean is not None and options.std is not None:
        return numbers("--mean", options.mean, channels), numbers("--std", options.std, channels)
    total, squares, count = np.zeros(channels), np.zeros(channels), 0
    scale = 255.0 if images.dtype == np.uint8 else 1.0
    for start in range(0, len(images), _ROWS_AT_ONCE):
        chunk = images[start : start + _ROWS_AT_ONCE].astype(np.float64) / scale
        total, squares = total + chunk.sum((0, 2, 3)), squares + (chunk**2).sum((0, 2, 3))
        count += chunk[:, 0].size
    mean = total / max(1, count)
    # A constant channel has no deviation to divide by.
    std = np.sqrt(np.maximum(squares / max(1, count) - mean**2, 1e-12))
    return tuple(map(float, mean.round(6))), tuple(map(float, np.maximum(std, 1e-3).round(6)))


def numbers(flag: str, text: str, count: int) -> tuple[float, ...]:
    """Comma-separated numbers.

    Raises:
        UsageError: if they are not `count` numbers.
    """
    try:
        values = tuple(float(part) for part in text.split(","))
    except ValueError:
        values = ()
    if len(values) != count:
        raise UsageError(f"{flag} is {text!r}: expected {count} comma-separated numbers, one a channel")
    return values
