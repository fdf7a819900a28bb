"""Image files: decoding, resizing and cropping, within a budget."""

import io
import re
import warnings
from collections.abc import Callable
from pathlib import Path, PurePath
from typing import NamedTuple

import numpy as np
from PIL import Image, UnidentifiedImageError

from ddlabel.core.config import ImportOptions
from ddlabel.core.errors import InvalidInputError, UnsafeInputError
from ddlabel.data.importers import budget
from ddlabel.data.labels import Array
from ddlabel.data.reading import reading

_FORMATS = ("JPEG", "PNG")
_GREY_MODES = ("L", "1", "LA", "I", "I;16", "I;16B")
_ALPHA_MODES = ("LA", "RGBA")
# Cuts a part out of an image and resizes it to size × size.
Cut = Callable[[Image.Image, int], Image.Image]


class Member(NamedTuple):
    """An image file: its path below the folder or in the archive, and a function to read it.

    `name` is how messages name it: with its folder, or with its archive.
    """

    path: PurePath
    read: Callable[[], bytes]
    name: str

    @property
    def class_name(self) -> str:
        """The name of the folder that the image is in; empty if it is in none."""
        return self.path.parent.name

    @property
    def part(self) -> str:
        """The name of the folder above the class folder."""
        return self.path.parent.parent.name


def file_order(path: PurePath) -> tuple[int, int, str, str]:
    """Return what image files are sorted by: their class folder, and then the path.

    Class folders that are numbers (new0 … new9, new10) come first and as numbers.
    """
    name = path.parent.name
    match = re.fullmatch(r"(?:new|class)?(\d+)", name)
    return (0, int(match[1]), name, str(path)) if match else (1, 0, name, str(path))


def read_file(path: Path) -> bytes:
    """Return the content of an image file.

    Raises:
        UnsafeInputError: It is too large.
    """
    budget.check_budget("the file", path.stat().st_size, budget.MAX_FILE_BYTES)
    return path.read_bytes()


class Decoded(NamedTuple):
    """The pixels of an image as uint8 [C, H, W], whether it had transparent ones, and its bytes."""

    pixels: Array
    is_transparent: bool
    file_bytes: int


def decode(member: Member, options: ImportOptions, cut: Cut | None = None) -> Array:
    """Return an image as uint8 [C, H, W].

    With `options.size` it is resized, to `options.resize` if that is given, and cropped to its
    centre, or as `cut` does it.

    Raises:
        InvalidInputError: The file is not an image or is damaged.
        UnsafeInputError: The image has too many pixels.
    """
    return decode_image(member, options, cut).pixels


def decode_image(member: Member, options: ImportOptions, cut: Cut | None = None) -> Decoded:
    """Return the pixels of an image as `decode` does, and whether it had transparent ones.

    Raises:
        InvalidInputError: The file is not an image or is damaged.
        UnsafeInputError: The image has too many pixels.
    """
    # Pillow warns of images above its own limit, and refuses those far above it: ours is below.
    quiet = warnings.catch_warnings(action="ignore")
    with reading(member.name, "cannot be read as an image"), quiet:
        content = member.read()
        image = _open(content)
        grey = image.mode in _GREY_MODES and not options.rgb
        is_transparent = _is_transparent(image)
        if image.mode.startswith("I"):
            # The upper 8 of 16 bits: Pillow's own conversion turns all above 255 into 255.
            image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
        mode = "L" if grey else "RGB"
        if image.mode != mode:
            image = image.convert(mode)
        if options.size is not None and cut is not None:
            image = cut(image, options.size)
        elif options.size is not None:
            image = _fit(image, options.size, options.resize or options.size)
        pixels = np.asarray(image)
    pixels = pixels[None] if grey else pixels.transpose(2, 0, 1)
    return Decoded(pixels, is_transparent, file_bytes=len(content))


def _open(content: bytes) -> Image.Image:
    try:
        image: Image.Image = Image.open(io.BytesIO(content), formats=_FORMATS)
    except Image.DecompressionBombError as error:
        raise UnsafeInputError(str(error)) from error
    except UnidentifiedImageError as error:
        # Pillow's message shows the buffer and not the file.
        raise InvalidInputError("it is neither a PNG nor a JPEG image") from error
    num_pixels = image.width * image.height
    budget.check_budget("the image", num_pixels, budget.MAX_IMAGE_PIXELS, "pixels")
    return image


def _is_transparent(image: Image.Image) -> bool:
    """Return whether a pixel is not opaque, or a colour stands for transparent pixels."""
    if image.mode in _ALPHA_MODES:
        alpha = np.asarray(image.getchannel("A"))
        return int(alpha.min()) < 255
    return "transparency" in image.info


def _fit(image: Image.Image, size: int, short_side: int) -> Image.Image:
    """Resize the short side to `short_side` (bicubic, antialiased); crop the centre of `size`."""
    scale = short_side / min(image.size)
    width = max(short_side, round(image.width * scale))
    height = max(short_side, round(image.height * scale))
    num_pixels = width * height
    budget.check_budget("the resized image", num_pixels, budget.MAX_IMAGE_PIXELS, "pixels")
    if image.size != (width, height):
        image = image.resize((width, height), Image.Resampling.BICUBIC)
    left = (width - size) // 2
    top = (height - size) // 2
    return image.crop((left, top, left + size, top + size))
