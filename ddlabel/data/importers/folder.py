"""A folder or zip of class folders: real images, and the form of SRe2L, CDA, G-VBSM and RDED."""

import shlex
import zipfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path, PurePath, PurePosixPath
from typing import NamedTuple

import numpy as np

from ddlabel.core.config import ImportOptions
from ddlabel.core.errors import InvalidInputError, UnsafeInputError, UsageError
from ddlabel.data.importers.archives import check_packed, is_archive, read_member
from ddlabel.data.importers.image_list import read_images
from ddlabel.data.importers.images import Member, file_order, read_file
from ddlabel.data.importers.registry import Certainty, Found, importers
from ddlabel.data.importers.source import Source
from ddlabel.data.importers.tiny_imagenet import TABLE, with_classes
from ddlabel.data.labels import Array
from ddlabel.data.provenance import FACTOR
from ddlabel.data.reading import reading
from ddlabel.data.schema import require

_SUFFIXES = (".jpg", ".jpeg", ".png")
# What `export --format folder` writes beside the images.
_LABELS = "labels.csv"
_CLASSES = "classes.txt"
_PARTS = {"train", "val", "test"}
# Tables of Tiny ImageNet by their paths, and functions that read them.
_Tables = dict[PurePath, Callable[[], bytes]]


class ImageList(NamedTuple):
    """Image files in the order of `load`, the class number [N] of each, the classes, and notes."""

    members: list[Member]
    hard_labels: Array
    classes: tuple[str, ...]
    notes: tuple[str, ...]


def _recognise(paths: Sequence[Path]) -> Found | None:
    """Find a folder or zip archive with images."""
    path = paths[0]
    readable = path.is_dir() or is_archive(zipfile.is_zipfile, path)
    members = _members(path, []) if readable else []
    if not members:
        return None
    if not any(member.class_name for member in members):
        what = f"{len(members)} images" if len(members) > 1 else "one image"
        return Found(what, Certainty.CONTENT, missing="class folders")
    return Found("class folders of images", Certainty.CONTENT)


@importers.add(
    "folder",
    recognise=_recognise,
    options={"split", "size", "resize", "skip_bad", "factor"},
)
def load(paths: Sequence[Path], options: ImportOptions) -> Source:
    """A folder or zip of class folders: real images, and those of SRe2L, CDA, G-VBSM and RDED.

    The images are sorted by class and then by name. Where the folder has parts (`train/`, `val/`,
    `test/`), `options.split` picks one. Images of several sizes need `options.size`. The layout of
    Tiny ImageNet is read too: see `tiny_imagenet`. RDED's images are `options.factor` ×
    `options.factor` patches. They stay whole, as students of RDED see them (its public code
    shuffles the patches while it trains), and the factor goes into the history.

    Raises:
        InvalidInputError: There is no image, one cannot be read, or their sizes differ.
        UnsafeInputError: An image or a member of the archive is too large or outside of it.
        UsageError: A part is asked for and there are none.
        StorageError: The images do not fit the disk of temporary files.
    """
    path = paths[0]
    if options.size is not None and options.resize is not None and options.resize < options.size:
        raise UsageError(
            f"--resize is {options.resize} and --size {options.size}: expected at least as much"
        )
    listed = list_images(path, options)
    read = read_images(str(path), listed.members, len(listed.members), options)
    facts = dict(read.facts)
    if options.factor is not None:
        _check_factor(path, read.images, options.factor)
        facts[FACTOR] = options.factor
    return Source(
        read.images,
        listed.hard_labels[read.rows],
        listed.classes,
        notes=(*listed.notes, *read.notes),
        facts=facts,
    )


def _check_factor(path: Path, images: Array, factor: int) -> None:
    """Check that images can be factor × factor patches, as RDED's are."""
    height, width = images.shape[2:]
    if height % factor or width % factor:
        raise UsageError(
            f"{path}: images of {width} × {height} px are not {factor} × {factor} equal patches: "
            "leave out --factor, or choose another --size"
        )


def list_images(path: Path, options: ImportOptions) -> ImageList:
    """Return the image files of class folders, sorted by class and then by name.

    Raises:
        InvalidInputError: There is no image, one is in no class folder, or the class folders do
            not lie side by side.
        UnsafeInputError: A member of the archive is too large or outside of it.
        UsageError: A part is asked for and there are none.
    """
    others: list[str] = []
    found = _members(path, others)
    members = _of_part(path, found, options)
    _check_side_by_side(path, members)
    members.sort(key=lambda member: file_order(member.path))
    classes = tuple(dict.fromkeys(member.class_name for member in members))
    numbers = {name: number for number, name in enumerate(classes)}
    hard_labels = np.array([numbers[member.class_name] for member in members])
    notes = (*_stray_note(path, found), *_others_note(path, others))
    return ImageList(members, hard_labels, classes, notes)


def _check_side_by_side(path: Path, members: Sequence[Member]) -> None:
    """Refuse class folders below several folders, which may be several data sets."""
    parents = sorted({str(member.path.parent.parent) for member in members})
    require(
        len(parents) == 1,
        f"{path}: its class folders lie in {len(parents)} folders ({', '.join(parents[:4])}): "
        "import one of them, or put all class folders side by side",
    )


def _stray_note(path: Path, members: Sequence[Member]) -> tuple[str, ...]:
    """Return a note of the images that are in no part, although the folder has parts."""
    stray = [member for member in members if member.part not in _PARTS]
    if not stray or len(stray) == len(members):
        return ()
    return (
        f"note: {path}: {len(stray)} images outside of train/, val/ and test/ are left out (the "
        f"first is {stray[0].name})",
    )


def _others_note(path: Path, others: Sequence[str]) -> tuple[str, ...]:
    """Return notes of the files that are no images by their suffix.

    The tables of an exported folder are named with the command lines that read them.
    """
    if _LABELS in others and path.is_dir():
        line = shlex.join(["ddlabel", "import-labels", "OUT", str(path / _LABELS), "LABELLED"])
        rest = [name for name in others if name not in (_LABELS, _CLASSES)]
        note = f"note: {path}: {_LABELS} is left out: '{line}' puts its labels on the bundle"
        return (note, *_others_note(path, rest))
    if not others:
        return ()
    what = "1 file is" if len(others) == 1 else f"{len(others)} files are"
    first = "" if len(others) == 1 else "the first is "
    return (f"note: {path}: {what} left out, not PNG or JPEG by suffix ({first}{others[0]!r})",)


def _members(path: Path, others: list[str]) -> list[Member]:
    """Return every image of a folder or zip archive, under its class (see `tiny_imagenet`).

    The names of other files are appended to `others`, without hidden ones.
    """
    tables: _Tables = {}
    read = _folder_members if path.is_dir() else _zip_members
    members = read(path, tables, others)
    return with_classes(members, tables)


def _folder_members(path: Path, tables: _Tables, others: list[str]) -> list[Member]:
    """Return the images of a folder; enter tables of classes into `tables`."""
    members = []
    for inside in sorted(path.rglob("*")):
        if inside.is_symlink():
            _check_link(path, inside)
        # A class without images would shift the numbers of those behind it.
        if inside.is_dir() and not any(inside.iterdir()):
            empty = inside.relative_to(path)
            raise InvalidInputError(f"{path}: the folder {empty} is empty: fill it, or remove it")
        relative = inside.relative_to(path)
        if inside.suffix.lower() in _SUFFIXES and inside.is_file():
            members.append(Member(relative, partial(read_file, inside), str(inside)))
        elif inside.name == TABLE and inside.is_file():
            tables[relative] = partial(read_file, inside)
        elif inside.is_file() and not inside.name.startswith("."):
            others.append(str(relative))
    return members


def _check_link(path: Path, link: Path) -> None:
    """Refuse symbolic links whose images would be left out."""
    name = link.relative_to(path)
    require(
        not link.is_dir(),
        f"{path}: the folder {name} is a symbolic link, which is not followed: copy the folder",
    )
    is_image = link.suffix.lower() in _SUFFIXES
    require(
        link.exists() or not is_image,
        f"{path}: the symbolic link {name} leads nowhere: repair or remove it",
    )


def _zip_members(path: Path, tables: _Tables, others: list[str]) -> list[Member]:
    """Return the images of a zip archive; enter tables of classes into `tables`."""
    members = []
    with reading(path, "not a folder and not a readable zip archive"):
        archive = zipfile.ZipFile(path)
        check_packed(archive, path.stat().st_size)
        for info in archive.infolist():
            name = PurePosixPath(info.filename)
            is_table = name.name == TABLE
            if "__MACOSX" in name.parts:
                continue
            if not is_table and name.suffix.lower() not in _SUFFIXES:
                if not info.is_dir() and not name.name.startswith("."):
                    others.append(info.filename)
                continue
            if ".." in name.parts or name.is_absolute():
                raise UnsafeInputError(f"the member {info.filename!r} points outside the archive")
            read = partial(read_member, archive, info)
            if is_table:
                tables[name] = read
            else:
                members.append(Member(name, read, f"{path}: {name}"))
    return members


def _of_part(path: Path, members: list[Member], options: ImportOptions) -> list[Member]:
    """Return the members of one part, where the folders above the classes are parts."""
    in_classes = bool(members) and all(member.class_name for member in members)
    require(
        in_classes, f"{path}: expected images ({', '.join(_SUFFIXES)}) in one folder for each class"
    )
    parts = sorted({member.part for member in members} & _PARTS)
    if not parts and options.split is not None:
        raise UsageError(
            f"{path}: it has no parts (train/, val/, test/): leave out --split {options.split}"
        )
    if not parts:
        return members
    require(
        options.part in parts,
        f"{path}: no part {options.part!r}: choose --split {' or '.join(parts)}",
    )
    return [member for member in members if member.part == options.part]
