"""NumPy archives with images and labels under their usual names."""

import math
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

from ddlabel.core.config import ImportOptions
from ddlabel.core.errors import InvalidInputError, UnsafeInputError
from ddlabel.data.importers import budget
from ddlabel.data.importers.archives import open_member
from ddlabel.data.importers.registry import Certainty, Found, importers
from ddlabel.data.importers.source import Source, from_arrays
from ddlabel.data.labels import Array
from ddlabel.data.reading import reading
from ddlabel.data.schema import require

# Known names in the order of their precedence; {} is the part, such as train.
_IMAGES = ("images", "x", "data", "x_{}", "{}_images", "X_{}")
_LABELS = ("labels", "y", "label", "y_{}", "{}_labels", "Y_{}", "hard_labels", "soft_labels")
_PARTS = ("train", "val", "test")
_Members = Mapping[str, zipfile.ZipInfo]


def _recognise(paths: Sequence[Path]) -> Found | None:
    """Find a file with the suffix .npz."""
    return Found("a NumPy archive", Certainty.NAME) if paths[0].suffix == ".npz" else None


@importers.add("npz", recognise=_recognise, options={"split", "pixels", "label_space", "zca_from"})
def load(paths: Sequence[Path], options: ImportOptions) -> Source:
    """A NumPy archive .npz: `images`, `x` or `x_train` with `labels`, `y` or `y_train`.

    Hard and soft labels are both read if there are both. With an explicit `options.split` only
    names with a part are looked for.

    Raises:
        InvalidInputError: The archive is damaged or lacks the arrays.
        UnsafeInputError: It declares too many bytes or holds pickled objects.
        UsageError: A space is ambiguous and not stated.
    """
    path = paths[0]
    with reading(path, "cannot be read as an .npz archive"), zipfile.ZipFile(path) as archive:
        members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
        declared = sum(info.file_size for info in archive.infolist())
        budget.check_inflated(declared, path.stat().st_size)
        image_names = _known_names(members, _IMAGES, options)
        label_names = _known_names(members, _LABELS, options)
        if not image_names or not label_names:
            raise InvalidInputError(
                f"it holds {', '.join(members)}: expected images and labels, or "
                f"x_{options.part} and y_{options.part}"
            )
        names = [image_names[0], *_pick_labels(archive, members, label_names)]
        images, labels, *soft = (_read_array(archive, members[name]) for name in names)
    source = from_arrays(str(path), images, labels, options, *soft)
    return source._replace(notes=_unread_note(path, members, names, options))


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
        shape = _read_shape(archive, members[name])
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
    return (f"note: {path}: not read: {', '.join(unread)}",) if unread else ()


def _read_array(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Array:
    """Read an array whose header declares just the bytes that the archive declares."""
    _read_shape(archive, member)
    with open_member(archive, member) as file:
        return np.asarray(np.lib.format.read_array(file, allow_pickle=False))


def _read_shape(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> tuple[int, ...]:
    """Return the shape of an array, without reading more than its header."""
    with archive.open(member) as file:
        shape, dtype = _read_header(file)
        header_bytes = file.tell()
    require(
        not dtype.hasobject,
        "pickled objects could run code: only numbers are read",
        UnsafeInputError,
    )
    declared = header_bytes + math.prod(shape) * dtype.itemsize
    require(
        min(shape, default=0) >= 0 and declared == member.file_size,
        f"the member {member.filename!r} has {member.file_size} bytes, and an array of shape "
        f"{list(shape)} and type {dtype} has {declared}",
    )
    return shape


def _read_header(file: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Return shape and dtype of the array in a .npy file."""
    version = np.lib.format.read_magic(file)
    require(version in ((1, 0), (2, 0)), f"version {version} of .npy is not for plain numbers")
    is_first = version == (1, 0)
    formats = np.lib.format
    read = formats.read_array_header_1_0 if is_first else formats.read_array_header_2_0
    shape, _, dtype = read(file)
    return shape, dtype
