"""Foreign formats: each importer is one function path → `Source`; `load` picks one and makes the bundle.

An importer is a module with `recognises`, `load` (which raises what `load` here does), `PAIR` (whether it reads two
files) and `OPTIONS`: those that it has a use for, of the options that not every importer has.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ddlabel.core.config import ImportOptions
from ddlabel.core.errors import UsageError
from ddlabel.data.bundle import Bundle
from ddlabel.data.importers import cifar, folder, idx, npz, pt
from ddlabel.data.importers.source import given_statistics
from ddlabel.data.labels import Array, Labels
from ddlabel.data.schema import LabelMeta, Pixels, require

IMPORTERS = {module.__name__.rpartition(".")[2]: module for module in (folder, cifar, idx, npz, pt)}
_ROWS_AT_ONCE = 4096


def load(paths: Sequence[Path], options: ImportOptions) -> Bundle:
    """The bundle of foreign files; never downloads.

    With `rgb` grey images get three equal channels. `mean` and `std` are those of the channels that come out, one
    number for all or one each; pixels that are `normalised` are put back channel by channel as the file has them.
    InvalidInputError if a file is missing, damaged or of no known kind, UnsafeInputError if it could run code or
    exhaust the machine, UsageError if an option is missing or does not fit the source.
    """
    for path in paths:
        require(path.exists(), f"{path}: there is no such file or folder")
    kind = _kind(paths, options.format)
    _check_use(kind, paths, options)
    source = IMPORTERS[kind].load(paths, options)
    images, classes = source.images, source.classes
    if options.class_names is not None:
        classes = tuple(name.strip() for name in options.class_names.split(","))
        if len(classes) < (count := len(source.classes)):
            raise UsageError(
                f"--class-names gives {len(classes)} names for {count} classes: name them all"
            )
    if options.rgb and images.shape[1] == 1:
        images = np.repeat(images, 3, axis=1)
    mean, std = given_statistics(options, images.shape[1]) or statistics(images)
    soft = None
    if source.soft_labels is not None:
        meta = LabelMeta(space=source.label_space, source="import")
        soft = Labels(values=source.soft_labels, meta=meta)
    return Bundle(
        classes=classes,
        pixels=Pixels(space="uint8" if images.dtype == np.uint8 else "unit", mean=mean, std=std),
        images=images,
        hard_labels=source.hard_labels.astype(np.int64),
        soft=soft,
    )


def _kind(paths: Sequence[Path], wanted: str) -> str:
    """The importer that an option names or, with auto, the only one that recognises the files."""
    if wanted != "auto":
        return wanted
    known = [
        name
        for name, each in IMPORTERS.items()
        if (each.PAIR or len(paths) == 1) and each.recognises(paths)
    ]
    found = f"it could be {' or '.join(known)}" if known else "no importer knows it"
    require(
        len(known) == 1, f"{paths[0]}: {found}: say what it is with --format {'|'.join(IMPORTERS)}"
    )
    return known[0]


def _check_use(kind: str, paths: Sequence[Path], options: ImportOptions) -> None:
    """Refuse paths and options that the importer would leave out without a word."""
    if (count := len(paths)) > 1 and not IMPORTERS[kind].PAIR:
        raise UsageError(
            f"{kind} reads one file or folder at a time, and there are {count}: import them one by one"
        )
    for name in sorted(set().union(*(module.OPTIONS for module in IMPORTERS.values()))):
        users = [each for each, module in IMPORTERS.items() if name in module.OPTIONS]
        value = getattr(options, name)
        if kind not in users and value != getattr(ImportOptions(), name):
            what = (
                f"--{name.replace('_', '-')} {value} means nothing for a source of the kind {kind}"
            )
            raise UsageError(f"{what} (only {', '.join(users)}): leave it out")


def statistics(images: Array) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Channel means and deviations in unit space of images [N, C, H, W]."""
    total = np.zeros((2, images.shape[1]))
    scale = 255.0 if images.dtype == np.uint8 else 1.0
    for start in range(0, len(images), _ROWS_AT_ONCE):
        chunk = images[start : start + _ROWS_AT_ONCE].astype(np.float64) / scale
        total += [chunk.sum((0, 2, 3)), (chunk**2).sum((0, 2, 3))]
    mean, square = total / max(1, images[:, 0].size)
    # A constant channel has no deviation to divide by.
    std = np.maximum(np.sqrt(np.maximum(square - mean**2, 0)), 1e-3)
    return tuple(map(float, mean.round(6))), tuple(map(float, std.round(6)))
