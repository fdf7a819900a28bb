"""Many image files as one array: their sizes, and those that cannot be read."""

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from ddlabel.core.config import ImportOptions
from ddlabel.core.errors import InvalidInputError
from ddlabel.data.importers import budget
from ddlabel.data.importers.images import Member, decode_image
from ddlabel.data.labels import Array
from ddlabel.data.reading import reading
from ddlabel.data.scratch import scratch_array

_SHOWN = 5


class ImageArray(NamedTuple):
    """Images [n, C, H, W] as uint8, the number [n] of the file of each, and notes and facts."""

    images: Array
    rows: Array
    notes: tuple[str, ...]
    facts: dict[str, Any]


class _Reader:
    """Decodes image files one after another into one array of `count` rows."""

    def __init__(self, source: str, count: int, options: ImportOptions) -> None:
        self.source = source
        self.count = count
        self.options = options
        self.first = ""
        self.images: Array | None = None
        self.rows: list[int] = []
        self.file_bytes = 0
        self.transparent: list[str] = []
        self.bad: list[Member] = []
        self.reason: InvalidInputError | None = None

    def read(self, row: int, member: Member) -> None:
        try:
            decoded = decode_image(member, self.options)
        except InvalidInputError as error:
            self.reason = self.reason or error
            self.bad.append(member)
            return
        if self.images is None:
            self.images = scratch_array((self.count, *decoded.pixels.shape), np.uint8)
            self.first = member.path.as_posix()
        elif decoded.pixels.shape != self.images.shape[1:]:
            raise InvalidInputError(
                f"{self.source}: {member.path.as_posix()} is {_described(decoded.pixels)} and "
                f"{self.first} is {_described(self.images[0])}: make them alike with --size, and "
                "grey ones with --rgb"
            )
        self.file_bytes += decoded.file_bytes
        # Before the pixels are written: an array that is not filled takes no memory.
        num_bytes = (len(self.rows) + 1) * decoded.pixels.nbytes
        with reading(self.source, ""):
            budget.check_decoded(num_bytes, self.file_bytes)
        self.images[len(self.rows)] = decoded.pixels
        self.rows.append(row)
        if decoded.is_transparent:
            self.transparent.append(member.name)

    def check_bad(self) -> None:
        """Raise the error of an image that cannot be read, unless such images are to be skipped."""
        if self.reason is None or (self.options.skip_bad and self.rows):
            return
        num_read = len(self.rows) + len(self.bad)
        if num_read == 1 or self.options.skip_bad:
            raise self.reason
        raise InvalidInputError(
            f"{self.source}: {self._bad_images()} ({self.reason}): repair them, or leave them out "
            "with --skip-bad"
        ) from self.reason

    def _bad_images(self) -> str:
        names = ", ".join(member.path.as_posix() for member in self.bad[:_SHOWN])
        more = f", … {len(self.bad) - _SHOWN} more" if len(self.bad) > _SHOWN else ""
        num_read = len(self.rows) + len(self.bad)
        return f"{len(self.bad)} of {num_read} images cannot be read: {names}{more}"

    def notes(self) -> tuple[str, ...]:
        notes = []
        if self.transparent:
            notes.append(
                f"note: the transparency of {len(self.transparent)} images is left out, and their "
                f"colours are kept (the first is {self.transparent[0]})"
            )
        if self.bad:
            notes.append(f"note: {self._bad_images()}: left out")
        return tuple(notes)


def read_images(
    source: str, members: Iterable[Member], count: int, options: ImportOptions
) -> ImageArray:
    """Decode `count` image files, at least one, in their order; `source` is for messages.

    With `options.skip_bad` images that cannot be read are left out.

    Raises:
        InvalidInputError: Some images cannot be read (the message has their number and names), or
            their sizes differ.
        UnsafeInputError: An image has too many pixels, or all are out of proportion to their files.
        StorageError: The images do not fit the disk of temporary files.
    """
    reader = _Reader(source, count, options)
    for row, member in enumerate(members):
        reader.read(row, member)
    reader.check_bad()
    assert reader.images is not None  # there is a first image, or the check has raised
    return ImageArray(
        images=reader.images[: len(reader.rows)],
        rows=np.array(reader.rows),
        notes=reader.notes(),
        facts={"images_left_out": len(reader.bad)} if reader.bad else {},
    )


def _described(image: Array) -> str:
    num_channels, height, width = image.shape
    return f"{width} × {height} px in {'grey' if num_channels == 1 else 'colour'}"
