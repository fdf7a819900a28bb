"""A folder or zip of class folders: real images, and the form of SRe2L, CDA, G-VBSM and RDED."""

import io
import re
import warnings
import zipfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path, PurePath, PurePosixPath
from typing import NamedTuple

import numpy as np
from PIL import Image, UnidentifiedImageError

from ddlabel.core.config import ImportOptions
from ddlabel.core.errors import InvalidInputError, UnsafeInputError, UsageError
from ddlabel.data.importers.source import Source, check_size, is_archive
from ddlabel.data.labels import Array
from ddlabel.data.reading import reading
from ddlabel.data.schema import require
from ddlabel.data.scratch import scratch_array

PAIR = False
OPTIONS = {"split", "size"}
_SUFFIXES = (".jpg", ".jpeg", ".png")
_FORMATS = ("JPEG", "PNG")
_GREY_MODES = ("L", "1", "LA", "I", "I;16", "I;16B")
_PARTS = {"train", "val", "test"}
_MAX_PIXELS = 1 << 26
_MAX_FILE_BYTES = 1 << 28
# Cuts a part out of an image and resizes it to size × size.
Cut = Callable[[Image.Image, int], Image.Image]


class Member(NamedTuple):
    """An image file: its path below the folder or in the archive, and a function to read it."""

    path: PurePath
    read: Callable[[], bytes]

    @property
    def class_name(self) -> str:
        """The name of the folder that the image is in; empty if it is in none."""
        return self.path.parent.name

    @property
    def part(self) -> str:
        """The name of the folder above the class folder."""
        return self.path.parent.parent.name


def recognises(paths: Sequence[Path]) -> bool:
    """Return whether it is a folder or zip archive with an image in a subfolder."""
    path = paths[0]
    readable = path.is_dir() or is_archive(zipfile.is_zipfile, path)
    return readable and any(member.class_name for member in _members(path))


def load(paths: Sequence[Path], options: ImportOptions) -> Source:
    """Read the images of class folders, sorted by class and then by name.

    Where the folder has parts (`train/`, `val/`, `test/`), `options.split` picks one. Images of
    several sizes need `options.size`.

    Raises:
        InvalidInputError: There is no image, one cannot be read, or their sizes differ.
        UnsafeInputError: An image or a member of the archive is too large or outside of it.
        UsageError: A part is asked for and there are none.
    """
    path = paths[0]
    members, hard_labels, classes = list_images(path, options)
    first = decode(members[0], options)
    images = scratch_array((len(members), *first.shape), np.uint8)
    for row, member in enumerate(members):
        image = decode(member, options)
        if image.shape != first.shape:
            raise InvalidInputError(
                f"{path}: {member.path} is {_described(image)} and {members[0].path} is "
                f"{_described(first)}: make them alike with --size, and grey ones with --rgb"
            )
        images[row] = image
    return Source(images, hard_labels, classes)


def _described(image: Array) -> str:
    num_channels, height, width = image.shape
    return f"{width} × {height} px in {'grey' if num_channels == 1 else 'colour'}"


def list_images(path: Path, options: ImportOptions) -> tuple[list[Member], Array, tuple[str, ...]]:
    """Return the image files in the order of `load`, the class number [N] of each, the classes.

    Raises:
        InvalidInputError: There is no image, or one is in no class folder.
        UnsafeInputError: A member of the archive is too large or outside of it.
        UsageError: A part is asked for and there are none.
    """
    members = _of_part(path, _members(path), options)
    members.sort(key=lambda member: (_class_order(member.class_name), str(member.path)))
    classes = tuple(dict.fromkeys(member.class_name for member in members))
    numbers = {name: number for number, name in enumerate(classes)}
    hard_labels = np.array([numbers[member.class_name] for member in members])
    return members, hard_labels, classes


def _class_order(name: str) -> tuple[int, int, str]:
    """Sort class folders that are numbers (new0 … new9, new10) first and as numbers."""
    match = re.fullmatch(r"(?:new|class)?(\d+)", name)
    return (0, int(match[1]), name) if match else (1, 0, name)


def _members(path: Path) -> list[Member]:
    """Return every image of a folder or zip archive."""
    return _folder_members(path) if path.is_dir() else _zip_members(path)


def _folder_members(path: Path) -> list[Member]:
    members = []
    for inside in sorted(path.rglob("*")):
        # A class without images would shift the numbers of those behind it.
        if inside.is_dir() and not any(inside.iterdir()):
            empty = inside.relative_to(path)
            raise InvalidInputError(f"{path}: the folder {empty} is empty: fill it, or remove it")
        if inside.suffix.lower() in _SUFFIXES and inside.is_file():
            members.append(Member(inside.relative_to(path), inside.read_bytes))
    return members


def _zip_members(path: Path) -> list[Member]:
    members = []
    with reading(path, "not a folder and not a readable zip archive"):
        archive = zipfile.ZipFile(path)
        for info in archive.infolist():
            name = PurePosixPath(info.filename)
            if name.suffix.lower() not in _SUFFIXES or "__MACOSX" in name.parts:
                continue
            if ".." in name.parts or name.is_absolute():
                raise UnsafeInputError(f"the member {info.filename!r} points outside the archive")
            check_size(info.file_size, _MAX_FILE_BYTES, f"the member {info.filename!r}")
            members.append(Member(name, partial(archive.read, info)))
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


def decode(member: Member, options: ImportOptions, cut: Cut | None = None) -> Array:
    """Return an image as uint8 [C, H, W].

    With `options.size` it is resized and cropped to its centre, or as `cut` does it.

    Raises:
        InvalidInputError: The file is not an image or is damaged.
        UnsafeInputError: The image has too many pixels.
    """
    # Pillow warns of images above its own limit, and refuses those far above it: ours is below.
    quiet = warnings.catch_warnings(action="ignore")
    with reading(member.path, "cannot be read as an image"), quiet:
        image = _open(member)
        grey = image.mode in _GREY_MODES and not options.rgb
        if image.mode.startswith("I"):
            # The upper 8 of 16 bits: Pillow's own conversion turns all above 255 into 255.
            image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
        image = image.convert("L" if grey else "RGB")
        if options.size is not None:
            crop = cut or _fit
            image = crop(image, options.size)
        pixels = np.asarray(image)
    return pixels[None] if grey else pixels.transpose(2, 0, 1)


def _open(member: Member) -> Image.Image:
    try:
        image: Image.Image = Image.open(io.BytesIO(member.read()), formats=_FORMATS)
    except UnidentifiedImageError as error:
        raise InvalidInputError("it is neither a PNG nor a JPEG image") from error
    except Image.DecompressionBombError as error:
        raise UnsafeInputError(str(error)) from error
    if image.width * image.height > _MAX_PIXELS:
        raise UnsafeInputError(
            f"{image.width} × {image.height} px: at most {_MAX_PIXELS} pixels are read"
        )
    return image


def _fit(image: Image.Image, size: int) -> Image.Image:
    """Resize the short side to `size` (bicubic, antialiased) and crop the centre."""
    scale = size / min(image.size)
    width = max(size, round(image.width * scale))
    height = max(size, round(image.height * scale))
    if image.size != (width, height):
        image = image.resize((width, height), Image.Resampling.BICUBIC)
    left = (width - size) // 2
    top = (height - size) // 2
    return image.crop((left, top, left + size, top + size))
