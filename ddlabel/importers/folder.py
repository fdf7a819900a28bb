"""A folder or zip of class folders: real images, and what SRe2L, CDA, G-VBSM and RDED publish."""

from __future__ import annotations

import io
import re
import warnings
import zipfile
from collections.abc import Callable, Sequence
from operator import itemgetter
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from ddlabel import files
from ddlabel.config import ImportOptions
from ddlabel.errors import InvalidInputError, UnsafeInputError, UsageError
from ddlabel.importers.source import DAMAGED, Array, Source, is_archive

PAIR = False
OPTIONS = {"split", "size"}
_SUFFIXES = (".jpg", ".jpeg", ".png")
_FORMATS = ("JPEG", "PNG")
_SPLITS = ("train", "val", "test")
_MAX_PIXELS = 1 << 26
_MAX_FILE_BYTES = 1 << 28


def recognises(paths: Sequence[Path]) -> bool:
    """A single folder or zip archive with an image in a subfolder."""
    if len(paths) != 1 or not (paths[0].is_dir() or is_archive(zipfile.is_zipfile, paths[0])):
        return False
    return any(len(PurePosixPath(name).parts) > 1 for name, _ in _members(paths[0]))


def load(paths: Sequence[Path], options: ImportOptions) -> Source:
    """Images of class folders, by class and then by name, both in the order of their characters.

    Where the folder has parts (`train/`, `val/`, `test/`), the option `split` picks one. Images of several sizes need
    `size`.

    Raises:
        InvalidInputError: if there are no images, one cannot be read, or they differ in size or channels.
        UnsafeInputError: for a member outside its archive or of absurd size.
    """
    path = paths[0]
    members = _of_split(path, _members(path), options)
    by_class: dict[str, list[tuple[str, Callable[[], bytes]]]] = {}
    for name, read in members:
        by_class.setdefault(PurePosixPath(name).parent.name, []).append((name, read))
    classes = tuple(sorted(by_class, key=_natural))
    items = [
        (number, *item) for number, label in enumerate(classes) for item in sorted(by_class[label], key=itemgetter(0))
    ]
    first = _decode(items[0][1], items[0][2], options)
    images = files.scratch((len(items), *first.shape), np.uint8)
    for row, (_, name, read) in enumerate(items):
        image = _decode(name, read, options)
        if image.shape != first.shape:
            raise InvalidInputError(
                f"{path}: {name} is {_shown(image)} and {items[0][1]} is {_shown(first)}: "
                "make them alike with --size, and grey ones with --rgb"
            )
        images[row] = image
    return Source(images=images, hard_labels=np.array([number for number, *_ in items]), classes=classes)


def _natural(name: str) -> tuple[int, int, str]:
    """Class folders that are numbers in the order of the numbers (new0 … new9, new10), others by their characters."""
    match = re.fullmatch(r"(?:new|class)?(\d+)", name)
    return (0, int(match[1]), name) if match else (1, 0, name)


def _members(path: Path) -> list[tuple[str, Callable[[], bytes]]]:
    """Relative name and content of every image file."""
    if path.is_dir():
        # A class without images would shift the numbers of those behind it.
        empty = [p.relative_to(path).as_posix() for p in sorted(path.rglob("*")) if p.is_dir() and not any(p.iterdir())]
        if empty:
            raise InvalidInputError(f"{path}: the folder {empty[0]} is empty: fill it, or remove it")
        found = [p for p in sorted(path.rglob("*")) if p.suffix.lower() in _SUFFIXES and p.is_file()]
        return [(p.relative_to(path).as_posix(), _reader(p)) for p in found]
    try:
        archive = zipfile.ZipFile(path)
    except DAMAGED as error:
        raise InvalidInputError(f"{path}: not a folder and not a readable zip archive: {error}") from error
    members = []
    for info in archive.infolist():
        parts = PurePosixPath(info.filename).parts
        if PurePosixPath(info.filename).suffix.lower() not in _SUFFIXES or "__MACOSX" in parts:
            continue
        if ".." in parts or info.filename.startswith("/"):
            raise UnsafeInputError(f"{path}: the member {info.filename!r} points outside the archive")
        if info.file_size > _MAX_FILE_BYTES:
            raise UnsafeInputError(f"{path}: the member {info.filename!r} declares {info.file_size} bytes")
        members.append((info.filename, _archive_reader(path, archive, info)))
    return members


def _reader(path: Path) -> Callable[[], bytes]:
    return path.read_bytes


def _archive_reader(path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Callable[[], bytes]:
    def read() -> bytes:
        try:
            return archive.read(info)
        except DAMAGED as error:
            raise InvalidInputError(f"{path}: the member {info.filename!r} is damaged: {error}") from error

    return read


def _of_split(
    path: Path, members: list[tuple[str, Callable[[], bytes]]], options: ImportOptions
) -> list[tuple[str, Callable[[], bytes]]]:
    """The members of one part, where the folder above the classes is called train, val or test."""
    depth = {len(PurePosixPath(name).parts) for name, _ in members}
    if not members or min(depth) < 2:
        raise InvalidInputError(f"{path}: expected images ({', '.join(_SUFFIXES)}) in one folder for each class")
    parts = {_part(name) for name, _ in members}
    if not parts & set(_SPLITS):
        if options.split is not None:
            raise UsageError(f"{path}: it has no parts (train/, val/, test/): leave out --split {options.split}")
        return members
    chosen = [(name, read) for name, read in members if _part(name) == options.part]
    if not chosen:
        raise InvalidInputError(
            f"{path}: no part {options.part!r}: choose --split {' or '.join(sorted(parts & set(_SPLITS)))}"
        )
    return chosen


def _part(name: str) -> str:
    parts = PurePosixPath(name).parts
    return parts[-3] if len(parts) > 2 else ""


def _decode(name: str, read: Callable[[], bytes], options: ImportOptions) -> Array:
    """One image as uint8 [C, H, W], resized and cropped if asked."""
    try:
        # Pillow warns of images above its own limit, and refuses those far above it; ours lies below both.
        with warnings.catch_warnings(action="ignore"), Image.open(io.BytesIO(read()), formats=_FORMATS) as image:
            if image.width * image.height > _MAX_PIXELS:
                raise UnsafeInputError(
                    f"{name}: {image.width} × {image.height} px: at most {_MAX_PIXELS} pixels are read"
                )
            grey = image.mode in ("L", "1", "LA", "I", "I;16", "I;16B") and not options.rgb
            pixels = _to_eight_bits(image).convert("L" if grey else "RGB")
            pixels = pixels if options.size is None else _fit(pixels, options.size)
            array = np.asarray(pixels)
    except Image.DecompressionBombError as error:
        raise UnsafeInputError(f"{name}: {error}") from error
    except DAMAGED as error:
        raise InvalidInputError(f"{name}: cannot be read as an image: {error}") from error
    return array[None] if grey else array.transpose(2, 0, 1)


def _to_eight_bits(image: Image.Image) -> Image.Image:
    """A grey image of 16 bits with its upper 8: Pillow's own conversion turns all above 255 into 255."""
    if not image.mode.startswith("I"):
        return image
    return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))


def _fit(image: Image.Image, size: int) -> Image.Image:
    """The short side resized to `size` (bicubic, antialiased), the centre cropped."""
    scale = size / min(image.size)
    width, height = (max(size, round(side * scale)) for side in image.size)
    if image.size != (width, height):
        image = image.resize((width, height), Image.Resampling.BICUBIC)
    left, top = (width - size) // 2, (height - size) // 2
    return image.crop((left, top, left + size, top + size))


def _shown(image: Array) -> str:
    channels, height, width = image.shape
    return f"{width} × {height} px with {channels} channel{'s' if channels > 1 else ''}"
