"""Foreign formats: each importer is one function path → `Source`; `load` picks one and makes the bundle.

An importer is a module with `recognises`, `load`, `PAIR` (whether it reads two files) and `OPTIONS`: those that it has
a use for, of the options that not every importer has.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np

from ddlabel.bundle import Array, Bundle
from ddlabel.config import ImportOptions, default_of
from ddlabel.errors import InvalidInputError, UsageError
from ddlabel.header import LabelSpace, Pixels
from ddlabel.importers import cifar, folder, idx, npz, pt
from ddlabel.importers.source import given_statistics

IMPORTERS = {module.__name__.rpartition(".")[2]: module for module in (folder, cifar, idx, npz, pt)}
_ROWS_AT_ONCE = 4096


def load(paths: Sequence[Path], options: ImportOptions) -> Bundle:
    """The bundle of foreign files; never downloads.

    With `rgb` grey images get three equal channels. `mean` and `std` are those of the channels that come out, one
    number for all or one each; pixels that are `normalised` are put back channel by channel as the file has them.

    Raises:
        InvalidInputError: if a file is missing, damaged or of no known kind.
        UnsafeInputError: if it could run code or exhaust the machine.
        UsageError: if an option that the source needs is missing, or one does not fit it.
    """
    for path in paths:
        if not path.exists():
            raise InvalidInputError(f"{path}: there is no such file or folder")
    kind = _kind(paths, options.format)
    _check_use(kind, IMPORTERS[kind], paths, options)
    source = IMPORTERS[kind].load(paths, options)
    if options.class_names is not None:
        names = tuple(name.strip() for name in options.class_names.split(","))
        if len(names) < len(source.classes):
            raise UsageError(f"--class-names gives {len(names)} names for {len(source.classes)} classes: name them all")
        source = replace(source, classes=names)
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
        soft_labels=source.soft_labels,
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


def _check_use(kind: str, module: ModuleType, paths: Sequence[Path], options: ImportOptions) -> None:
    """Refuse paths and options that the importer would leave out without a word."""
    if len(paths) > 1 and not module.PAIR:
        raise UsageError(
            f"{kind} reads one file or folder at a time, and there are {len(paths)}: import them one by one"
        )
    for name in sorted(set().union(*(each.OPTIONS for each in IMPORTERS.values())) - module.OPTIONS):
        value = getattr(options, name)
        if value != default_of(ImportOptions, name):
            users = ", ".join(each for each, other in IMPORTERS.items() if name in other.OPTIONS)
            flag = f"--{name.replace('_', '-')}"
            raise UsageError(
                f"{flag} {value} means nothing for a source of the kind {kind} (only {users}): leave it out"
            )


def _statistics(images: Array, options: ImportOptions) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Channel means and deviations in unit space: given ones, or those of these images."""
    channels = images.shape[1]
    given = given_statistics(options, channels)
    if given is not None:
        return given
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
