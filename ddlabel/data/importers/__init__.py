"""Foreign formats: an importer is one function paths → `Source`; `load` picks one of them.

A module of this folder that holds an importer registers it (see `registry`). It raises what `load`
here does.
"""

import importlib
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ddlabel.core.config import ImportOptions
from ddlabel.core.errors import ResourceError, StorageError, UsageError
from ddlabel.core.memory import is_out_of_memory
from ddlabel.data.bundle import Bundle
from ddlabel.data.class_names import check_class_names
from ddlabel.data.importers.budget import check_source
from ddlabel.data.importers.class_options import with_class_options
from ddlabel.data.importers.pixels import given_statistics
from ddlabel.data.importers.registry import choose, importers
from ddlabel.data.importers.source import Source
from ddlabel.data.labels import Labels
from ddlabel.data.schema import LabelMeta, Pixels
from ddlabel.data.statistics import statistics

_SHOWN_CLASSES = 12

# So that a new importer is one new file: every module of this folder is imported.
for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")


class Imported(NamedTuple):
    """A bundle of foreign files, and what they say that belongs into its history (see `Entry`)."""

    bundle: Bundle
    facts: Mapping[str, Any]


def load(
    paths: Sequence[Path],
    options: ImportOptions,
    note: Callable[[str], None] | None = None,
) -> Imported:
    """Read foreign files as a bundle. Nothing is downloaded.

    With `options.rgb` grey images get three equal channels. `options.normalise`, or `options.mean`
    and `options.std`, are for the channels of the bundle; pixels that are `normalised` are
    converted with the channels of the file. `note` is called with what was left out, and with the
    classes that have no image.

    Raises:
        InvalidInputError: A file is missing, damaged or of no known kind.
        UnsafeInputError: A file could run code or exhaust the machine.
        UsageError: An option is missing, does not fit the source or does not go with others.
        StorageError: The operating system refuses to read.
        ResourceError: There is not enough memory.
    """
    try:
        imported, notes = _load(paths, options)
    except MemoryError as error:
        raise ResourceError(
            f"{paths[0]}: there is not enough memory for it: import a part of it, or smaller images"
        ) from error
    except OSError as error:
        if is_out_of_memory(error):
            raise
        name = error.filename or paths[0]
        raise StorageError(f"cannot read {name}: {error.strerror or error}") from error
    if note is not None:
        for text in notes:
            note(text)
    return imported


def _load(paths: Sequence[Path], options: ImportOptions) -> tuple[Imported, Sequence[str]]:
    for path in paths:
        check_source(path)
    kind, found = choose(paths, options.format)
    _check_use(kind, paths, options)
    options.check_together()
    source = importers[kind].load(paths, options)
    bundle, class_notes = with_class_options(_bundle_of(source, options), options)
    check_class_names(str(paths[0]), bundle.classes)
    detected = [] if found is None else [f"{paths[0]}: {found.what} (--format {kind})"]
    notes = [*detected, *source.notes, *class_notes, *_empty_classes_note(bundle)]
    return Imported(bundle, source.facts), notes


def _empty_classes_note(bundle: Bundle) -> list[str]:
    """Return a note of the classes that have no image."""
    counts = np.bincount(bundle.hard_labels, minlength=bundle.num_classes)
    empty = [bundle.classes[number] for number in np.flatnonzero(counts == 0)]
    if not empty:
        return []
    shown = ", ".join(empty[:_SHOWN_CLASSES])
    more = f", … {len(empty) - _SHOWN_CLASSES} more" if len(empty) > _SHOWN_CLASSES else ""
    total = bundle.num_classes
    if empty == ["0"]:
        more = ": do the numbers of the classes begin at 1? Subtract 1 from all then"
    return [f"note: {len(empty)} of {total} classes have no image: {shown}{more}"]


def _bundle_of(source: Source, options: ImportOptions) -> Bundle:
    images = source.images
    if options.rgb and images.shape[1] == 1:
        images = np.repeat(images, 3, axis=1)
    mean, std = given_statistics(options, images.shape[1]) or statistics(images)
    soft = None
    if source.soft_labels is not None:
        meta = LabelMeta(space=source.label_space, source="import")
        soft = Labels(values=source.soft_labels, meta=meta)
    return Bundle(
        classes=source.classes,
        pixels=Pixels(space="uint8" if images.dtype == np.uint8 else "unit", mean=mean, std=std),
        images=images,
        hard_labels=source.hard_labels.astype(np.int64),
        soft=soft,
    )


def _check_use(kind: str, paths: Sequence[Path], options: ImportOptions) -> None:
    """Refuse paths and options that the importer would leave out silently."""
    importer = importers[kind]
    if len(paths) > importer.most_paths:
        is_one = importer.most_paths == 1
        at_most = "one file or folder" if is_one else f"at most {importer.most_paths} files"
        raise UsageError(
            f"a source of the kind {kind} is {at_most}, and there are {len(paths)}: "
            "import them one by one"
        )
    defaults = ImportOptions()
    special = frozenset().union(*(each.options for each in importers.values()))
    for name in sorted(special - importer.options):
        value = getattr(options, name)
        if value != getattr(defaults, name):
            users = [user for user, each in importers.items() if name in each.options]
            flag = f"--{name.replace('_', '-')}"
            raise UsageError(
                f"{flag} {value} means nothing for a source of the kind {kind} (only "
                f"{', '.join(users)}): leave it out"
            )
