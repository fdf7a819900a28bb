"""Foreign formats: an importer is one function path → `Source`; `load` picks one of them.

An importer is a module with `recognises`, `load`, `PAIR` (whether it reads two files) and
`OPTIONS` (which of the options that not every importer has it uses). Its `load` raises what `load`
here does.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ddlabel.core.config import ImportOptions
from ddlabel.core.errors import UsageError
from ddlabel.data.bundle import Bundle
from ddlabel.data.importers import cifar, folder, idx, npz, pt
from ddlabel.data.importers.pixels import given_statistics
from ddlabel.data.importers.source import Source
from ddlabel.data.labels import Labels
from ddlabel.data.schema import LabelMeta, Pixels, require
from ddlabel.data.statistics import statistics

IMPORTERS = {module.__name__.rpartition(".")[2]: module for module in (folder, cifar, idx, npz, pt)}


def load(paths: Sequence[Path], options: ImportOptions) -> Bundle:
    """Read foreign files as a bundle. Nothing is downloaded.

    With `options.rgb` grey images get three equal channels. `options.mean` and `options.std` belong
    to the channels of the bundle, one number for each or one for all; pixels that are `normalised`
    are converted with the channels of the file.

    Raises:
        InvalidInputError: A file is missing, damaged or of no known kind.
        UnsafeInputError: A file could run code or exhaust the machine.
        UsageError: An option is missing, does not fit the source or does not go with others.
    """
    for path in paths:
        require(path.exists(), f"{path}: there is no such file or folder")
    kind = _kind_of(paths, options.format)
    _check_use(kind, paths, options)
    options.check_together()
    source = IMPORTERS[kind].load(paths, options)
    return _bundle_of(source, options)


def _bundle_of(source: Source, options: ImportOptions) -> Bundle:
    images = source.images
    classes = source.classes
    if options.class_names is not None:
        classes = _given_classes(options.class_names, len(source.classes))
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


def _given_classes(names: str, num_classes: int) -> tuple[str, ...]:
    classes = tuple(name.strip() for name in names.split(","))
    if len(classes) < num_classes:
        raise UsageError(
            f"--class-names gives {len(classes)} names for {num_classes} classes: name them all"
        )
    return classes


def _kind_of(paths: Sequence[Path], wanted: str) -> str:
    """Return the importer that `wanted` names; for `auto`, the only one that knows the files."""
    if wanted != "auto":
        return wanted
    kinds = []
    for name, importer in IMPORTERS.items():
        if (importer.PAIR or len(paths) == 1) and importer.recognises(paths):
            kinds.append(name)
    reason = f"it could be {' or '.join(kinds)}" if kinds else "of an unknown kind"
    require(
        len(kinds) == 1,
        f"{paths[0]}: {reason}: choose --format {', '.join(IMPORTERS)}",
    )
    return kinds[0]


def _check_use(kind: str, paths: Sequence[Path], options: ImportOptions) -> None:
    """Refuse paths and options that the importer would leave out silently."""
    if len(paths) > 1 and not IMPORTERS[kind].PAIR:
        raise UsageError(
            f"a source of the kind {kind} is one file or folder, and there are {len(paths)}: "
            "import them one by one"
        )
    defaults = ImportOptions()
    special = set().union(*(importer.OPTIONS for importer in IMPORTERS.values()))
    for name in sorted(special):
        users = [user for user, importer in IMPORTERS.items() if name in importer.OPTIONS]
        value = getattr(options, name)
        if kind not in users and value != getattr(defaults, name):
            flag = f"--{name.replace('_', '-')}"
            raise UsageError(
                f"{flag} {value} means nothing for a source of the kind {kind} (only "
                f"{', '.join(users)}): leave it out"
            )
