"""NumPy archives with images and labels under their usual names."""

import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

from ddlabel.core.config import ImportOptions
from ddlabel.core.errors import InvalidInputError, UsageError
from ddlabel.data.importers.hard_labels import OPTIONS as HARD
from ddlabel.data.importers.numpy_files import (
    open_npz,
    read_array,
    read_shape,
    read_text,
    read_texts,
)
from ddlabel.data.importers.registry import Certainty, Found, importers
from ddlabel.data.importers.source import Source, from_arrays
from ddlabel.data.schema import Space

# Known names in the order of their precedence; {} is the part, such as train.
_IMAGES = ("images", "x", "data", "x_{}", "{}_images", "X_{}")
_LABELS = ("labels", "y", "label", "y_{}", "{}_labels", "Y_{}", "hard_labels", "soft_labels")
_NAMES = "class_names"
_SOFT = "soft_labels"
# Texts of `export` that say what the numbers mean: the option that each stands for, and its values.
_STATED = {
    "pixels": ("pixels", ("uint8", "unit", "normalised")),
    f"{_SOFT}_space": ("label_space", get_args(Space)),
}
_PARTS = ("train", "val", "test")
_Members = Mapping[str, zipfile.ZipInfo]


def _recognise(paths: Sequence[Path]) -> Found | None:
    """Find an .npz file with images and labels of any part."""
    path = paths[0]
    if path.suffix != ".npz" or not path.is_file():
        return None
    with open_npz(path) as (_, members):
        names = list(members)
    has_images, has_labels = (
        any(pattern.format(part) in names for pattern in patterns for part in _PARTS)
        for patterns in (_IMAGES, _LABELS)
    )
    if has_images and has_labels:
        return Found("a NumPy archive", Certainty.NAME)
    missing = "images (such as images or x_train) and labels (such as labels or y_train)"
    if has_images:
        missing = "labels (such as labels or y_train): add --format npz --hard-labels FILE"
    elif has_labels:
        missing = "images (such as images or x_train; 'ddlabel import-labels' reads labels alone)"
    return Found(f"a NumPy archive with {', '.join(names)}", Certainty.NAME, missing)


@importers.add(
    "npz", recognise=_recognise, options={"split", "pixels", "label_space", "zca_from", *HARD}
)
def load(paths: Sequence[Path], options: ImportOptions) -> Source:
    """A NumPy archive .npz: `images`, `x` or `x_train` with `labels`, `y` or `y_train`.

    Hard and soft labels are both read if there are both, and `class_names` if they are texts, one
    for each class. With an explicit `options.split` only names with a part are looked for. What
    `export` writes of the pixels and of the label space is read where no option states it.

    Raises:
        InvalidInputError: The archive is damaged or lacks the arrays.
        UnsafeInputError: It declares too many bytes or holds pickled objects.
        UsageError: A space is ambiguous and not stated.
    """
    path = paths[0]
    with open_npz(path) as (archive, members):
        image_names = _known_names(members, _IMAGES, options)
        label_names = _known_names(members, _LABELS, options)
        if not image_names or not (label_names or options.hard_labels):
            raise InvalidInputError(
                f"it holds {', '.join(members)}: expected images and labels, or "
                f"x_{options.part} and y_{options.part}"
            )
        names = [image_names[0], *_pick_labels(archive, members, label_names)]
        images, *labels = (read_array(archive, members[name]) for name in names)
        classes = read_texts(archive, members[_NAMES]) if _NAMES in members else None
        stated = _stated(archive, members, names)
    options = _with_stated(path, options, stated)
    names += stated
    source = from_arrays(str(path), images, labels, options)
    if classes is not None and _fit(classes, source):
        source = source._replace(classes=classes)
        names.append(_NAMES)
    notes = (
        *_part_note(path, members, names, options),
        *_unread_note(path, members, names, options),
    )
    return source._replace(notes=notes)


def _stated(archive: zipfile.ZipFile, members: _Members, names: Sequence[str]) -> dict[str, str]:
    """Return the texts that say what the arrays `names` mean, by their own names."""
    stated = {}
    for name, (_, values) in _STATED.items():
        is_of_others = name == f"{_SOFT}_space" and _SOFT not in names
        text = read_text(archive, members[name]) if name in members else None
        if text is not None and text in values and not is_of_others:
            stated[name] = text
    return stated


def _with_stated(path: Path, options: ImportOptions, stated: Mapping[str, str]) -> ImportOptions:
    """Return options with what an archive states; the options of the user win.

    Raises:
        UsageError: The pixels are normalised, and no option says how.
    """
    changes: dict[str, Any] = {}
    for name, text in stated.items():
        option, _ = _STATED[name]
        if getattr(options, option) is None:
            changes[option] = text
    options = replace(options, **changes)
    if options.pixels == "normalised" and not (options.normalise or options.mean):
        raise UsageError(
            f"{path}: its pixels are normalised: add the --normalise that it was exported with, or "
            "--mean and --std"
        )
    return options


def _part_note(
    path: Path, members: _Members, names: Sequence[str], options: ImportOptions
) -> tuple[str, ...]:
    """Return a note of the part that is read where none was asked for, and there are others."""
    of_part = {
        part: [pattern.format(part) for pattern in _IMAGES if "{}" in pattern] for part in _PARTS
    }
    parts = [part for part in _PARTS if any(name in members for name in of_part[part])]
    others = [part for part in parts if part != options.part]
    if options.split is not None or not others or names[0] not in of_part[options.part]:
        return ()
    listed = " or ".join(f"--split {part}" for part in others)
    return (f"note: {path}: its part {options.part} is read: {listed} reads the other",)


def _fit(classes: Sequence[str], source: Source) -> bool:
    """Return whether class names are as many as the classes, of which the last may be empty."""
    num_classes = len(source.classes)
    has_soft = source.soft_labels is not None
    return len(classes) == num_classes or (not has_soft and len(classes) > num_classes)


def _known_names(members: _Members, patterns: Sequence[str], options: ImportOptions) -> list[str]:
    """Return the arrays that have one of the known names, the preferred one first."""
    if options.split is not None:
        patterns = [pattern for pattern in patterns if "{}" in pattern]
    names = [pattern.format(options.part) for pattern in patterns]
    return [name for name in names if name in members]


def _pick_labels(archive: zipfile.ZipFile, members: _Members, names: Sequence[str]) -> list[str]:
    """Return the array of labels; of hard and soft labels, the hard ones and then the soft ones."""
    hard: list[str] = []
    soft: list[str] = []
    for name in names:
        shape = read_shape(archive, members[name])
        is_soft = len(shape) == 2 and shape[1] != 1
        same_kind = soft if is_soft else hard
        same_kind.append(name)
    return hard[:1] + soft[:1]


def _unread_note(
    path: Path, members: _Members, names: Sequence[str], options: ImportOptions
) -> tuple[str, ...]:
    """Return a note of arrays that are not read; those of other parts are not named."""
    known = {*names}
    for part in _PARTS:
        if part != options.part:
            known |= {pattern.format(part) for pattern in (*_IMAGES, *_LABELS) if "{}" in pattern}
    unread = [name for name in members if name not in known]
    statistics = {"mean", "std"}.issubset(unread) and not (options.mean or options.normalise)
    hint = ""
    if statistics:
        hint = " (networks normalise by mean and std: give them with --mean and --std)"
    if _NAMES in unread:
        hint = " (no texts, or not one for each class: name the classes with --class-names)"
    return (f"note: {path}: not read: {', '.join(unread)}{hint}",) if unread else ()
