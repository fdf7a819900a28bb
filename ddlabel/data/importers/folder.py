"""A folder or zip of class folders: real images, and what SRe2L, CDA, G-VBSM and RDED publish."""

import io
import re
import warnings
import zipfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path, PurePath, PurePosixPath

import numpy as np
from PIL import Image

from ddlabel.core.config import ImportOptions
from ddlabel.core.errors import InvalidInputError, UnsafeInputError, UsageError
from ddlabel.data.bundle import Array
from ddlabel.data.importers.source import Source, check_size, is_archive
from ddlabel.data.reading import reading
from ddlabel.data.schema import require
from ddlabel.data.scratch import scratch_array

PAIR = False
OPTIONS = {"split", "size"}
_SUFFIXES = (".jpg", ".jpeg", ".png")
_FORMATS = ("JPEG", "PNG")
_SPLITS = {"train", "val", "test"}
_MAX_PIXELS = 1 << 26
_MAX_FILE_BYTES = 1 << 28
# An image: its path below the folder or in the archive, and what reads its bytes.
Member = tuple[PurePath, Callable[[], bytes]]
# An image and a size to that part of it, of size × size.
Cut = Callable[[Image.Image, int], Image.Image]


def recognises(paths: Sequence[Path]) -> bool:
    """A folder or zip archive with an image in a subfolder."""
    path = paths[0]
    readable = path.is_dir() or is_archive(zipfile.is_zipfile, path)
    return readable and any(name.parent.name for name, _ in _members(path))


def load(paths: Sequence[Path], options: ImportOptions) -> Source:
    """Images of class folders, by class and then by name, both in the order of their characters.

    Where the folder has parts (`train/`, `val/`, `test/`), the option `split` picks one. Images of several sizes need
    `size`.
    """
    path = paths[0]
    members, hard, classes = listed(path, options)
    first = decode(*members[0], options, None)
    images = scratch_array((len(members), *first.shape), np.uint8)
    for row, (name, read) in enumerate(members):
        image = decode(name, read, options, None)
        if image.shape != first.shape:
            this, other = (
                f"{w} × {h} px in {'grey' if c == 1 else 'colour'}"
                for c, h, w in (image.shape, first.shape)
            )
            sizes = f"{name} is {this} and {members[0][0]} is {other}"
            raise InvalidInputError(
                f"{path}: {sizes}: make them alike with --size, and grey ones with --rgb"
            )
        images[row] = image
    return Source(images, hard, classes)


def listed(path: Path, options: ImportOptions) -> tuple[list[Member], Array, tuple[str, ...]]:
    """The images of `load` in their order, the number of the class of each, and the classes."""
    members = _of_split(path, _members(path), options)
    members.sort(key=lambda member: (_natural(member[0].parent.name), str(member[0])))
    classes = list(dict.fromkeys(name.parent.name for name, _ in members))
    numbers = {name: number for number, name in enumerate(classes)}
    return members, np.array([numbers[name.parent.name] for name, _ in members]), tuple(classes)


def _natural(name: str) -> tuple[int, int, str]:
    """Class folders that are numbers in the order of the numbers (new0 … new9, new10), others by their characters."""
    match = re.fullmatch(r"(?:new|class)?(\d+)", name)
    return (0, int(match[1]), name) if match else (1, 0, name)


def _members(path: Path) -> list[Member]:
    """Every image of a folder or zip archive."""
    if path.is_dir():
        inside = sorted(path.rglob("*"))
        # A class without images would shift the numbers of those behind it.
        empty = next(
            (p.relative_to(path) for p in inside if p.is_dir() and not any(p.iterdir())), None
        )
        require(empty is None, f"{path}: the folder {empty} is empty: fill it, or remove it")
        return [
            (p.relative_to(path), p.read_bytes)
            for p in inside
            if p.suffix.lower() in _SUFFIXES and p.is_file()
        ]
    members: list[Member] = []
    with reading(path, "not a folder and not a readable zip archive"):
        archive = zipfile.ZipFile(path)
        for info in archive.infolist():
            name = PurePosixPath(info.filename)
            if name.suffix.lower() in _SUFFIXES and "__MACOSX" not in name.parts:
                if ".." in name.parts or name.is_absolute():
                    raise UnsafeInputError(
                        f"the member {info.filename!r} points outside the archive"
                    )
                check_size(info.file_size, _MAX_FILE_BYTES, f"the member {info.filename!r}")
                members.append((name, partial(archive.read, info)))
    return members


def _of_split(path: Path, members: list[Member], options: ImportOptions) -> list[Member]:
    """The members of one part, where the folder above the classes is called train, val or test."""
    fine = members and all(name.parent.name for name, _ in members)
    require(
        bool(fine), f"{path}: expected images ({', '.join(_SUFFIXES)}) in one folder for each class"
    )
    parts = sorted({name.parent.parent.name for name, _ in members} & _SPLITS)
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
    return [member for member in members if member[0].parent.parent.name == options.part]


def decode(
    name: PurePath, read: Callable[[], bytes], options: ImportOptions, cut: Cut | None
) -> Array:
    """One image as uint8 [C, H, W], resized and cropped if asked: its centre, or as `cut` does."""
    # Pillow warns of images above its own limit, and refuses those far above it; ours lies below both.
    with reading(name, "cannot be read as an image"), warnings.catch_warnings(action="ignore"):
        try:
            image: Image.Image = Image.open(io.BytesIO(read()), formats=_FORMATS)
        except Image.DecompressionBombError as error:
            raise UnsafeInputError(str(error)) from error
        if image.width * image.height > _MAX_PIXELS:
            raise UnsafeInputError(
                f"{image.width} × {image.height} px: at most {_MAX_PIXELS} pixels are read"
            )
        grey = image.mode in ("L", "1", "LA", "I", "I;16", "I;16B") and not options.rgb
        if image.mode.startswith("I"):
            # The upper 8 of 16 bits: Pillow's own conversion turns all above 255 into 255.
            image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
        image = image.convert("L" if grey else "RGB")
        pixels = np.asarray(image if options.size is None else (cut or _fit)(image, options.size))
    return pixels[None] if grey else pixels.transpose(2, 0, 1)


def _fit(image: Image.Image, size: int) -> Image.Image:
    """The short side resized to `size` (bicubic, antialiased), the centre cropped."""
    scale = size / min(image.size)
    width, height = (max(size, round(side * scale)) for side in image.size)
    if image.size != (width, height):
        image = image.resize((width, height), Image.Resampling.BICUBIC)
    left, top = (width - size) // 2, (height - size) // 2
    return image.crop((left, top, left + size, top + size))
