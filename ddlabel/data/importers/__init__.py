"""Foreign formats: an importer is one function path → `Source`; `load` picks one of them.

An importer is a module with `recognises`, `load`, `PAIR` (whether it reads two files) and
`OPTIONS` (which of the options that not every importer has it uses). Its `load` raises what `load`
here does.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from ddlabel.core.config import ImportOptions
from ddlabel.core.errors import ResourceError, StorageError, UsageError
from ddlabel.data.bundle import Bundle
from ddlabel.data.importers import cifar, folder, idx, npz, pt
from ddlabel.data.importers.budget import check_source
from ddlabel.data.importers.pixels import given_statistics
from ddlabel.data.importers.source import Source, check_class_names
from ddlabel.data.labels import Labels
from ddlabel.data.schema import LabelMeta, Pixels, require
from ddlabel.data.statistics import statistics

IMPORTERS = {module.__name__.rpartition(".")[2]: module for module in (folder, cifar, idx, npz, pt)}

_SHOWN_CLASSES = 12


def load(
    paths: Sequence[Path],
    options: ImportOptions,
    note: Callable[[str], None] | None = None,
) -> Bundle:
    """Read foreign files as a bundle. Nothing is downloaded.

    With `options.rgb` grey images get three equal channels. `options.mean` and `options.std` belong
    to the channels of the bundle, one number for each or one for all; pixels that are `normalised`
    are converted with the channels of the file. `note` is called with what was left out, and with
    the classes that have no image.

    Raises:
        InvalidInputError: A file is missing, damaged or of no known kind.
        UnsafeInputError: A file could run code or exhaust the machine.
        UsageError: An option is missing, does not fit the source or does not go with others.
        StorageError: The operating system refuses to read.
        ResourceError: There is not enough memory.
    """
    try:
        bundle, notes = _load(paths, options)
    except MemoryError as error:
        raise ResourceError(
            f"{paths[0]}: there is not enough memory for it: import a part of it, or smaller images"
        ) from error
    except OSError as error:
        name = error.filename or paths[0]
        raise StorageError(f"cannot read {name}: {error.strerror or error}") from error
    if note is not None:
        for text in notes:
            note(text)
    return bundle


def _load(paths: Sequence[Path], options: ImportOptions) -> tuple[Bundle, Sequence[str]]:
    for path in paths:
        check_source(path)
    kind = _kind_of(paths, options.format)
    _check_use(kind, paths, options)
    options.check_together()
    source = IMPORTERS[kind].load(paths, options)
    bundle = _bundle_of(source, options)
    check_class_names(str(paths[0]), bundle.classes)
    return bundle, [*source.notes, *_empty_classes_note(bundle)]


def _empty_classes_note(bundle: Bundle) -> list[str]:
    """Return a note of the classes that have no image."""
    counts = np.bincount(bundle.hard_labels, minlength=bundle.num_classes)
    empty = [bundle.classes[number] for number in np.flatnonzero(counts == 0)]
    if not empty:
        return []
    shown = ", ".join(empty[:_SHOWN_CLASSES])
    more = f", … {len(empty) - _SHOWN_CLASSES} more" if len(empty) > _SHOWN_CLASSES else ""
    total = bundle.num_classes
    return [f"note: {len(empty)} of {total} classes have no image: {shown}{more}"]


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
