"""Arrays in `.npy` files and `.npz` archives, which run no code and hold what they declare."""

import io
import math
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np

from ddlabel.core.errors import UnsafeInputError
from ddlabel.data.importers import budget
from ddlabel.data.importers.archives import check_packed, open_member
from ddlabel.data.labels import Array
from ddlabel.data.reading import reading
from ddlabel.data.schema import require

# The longest header that numpy reads has 10,000 bytes.
_MAX_HEADER_BYTES = 1 << 16
Members = dict[str, zipfile.ZipInfo]


@contextmanager
def open_npz(path: Path) -> Iterator[tuple[zipfile.ZipFile, Members]]:
    """Open an .npz archive: the archive, and its members by the names of their arrays.

    Raises:
        InvalidInputError: It is damaged.
        UnsafeInputError: It declares too many bytes.
    """
    with reading(path, "cannot be read as an .npz archive"), zipfile.ZipFile(path) as archive:
        members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
        check_packed(archive, path.stat().st_size)
        declared = sum(info.file_size for info in archive.infolist())
        budget.check_inflated(declared, path.stat().st_size)
        yield archive, members


def read_npy(path: Path) -> Array:
    """Return the array of a .npy file.

    Raises:
        InvalidInputError: It is damaged.
        UnsafeInputError: It declares too many bytes, or holds pickled objects.
    """
    with reading(path, "cannot be read as a .npy file"), path.open("rb") as file:
        size = path.stat().st_size
        budget.check_budget("it", size, budget.MAX_TOTAL_BYTES)
        _check_shape(file, "the file", size)
        file.seek(0)
        return np.asarray(np.lib.format.read_array(file, allow_pickle=False))


def read_array(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Array:
    """Read an array whose header declares just the bytes that the archive declares.

    Raises:
        InvalidInputError: It is damaged.
        UnsafeInputError: It holds pickled objects.
    """
    read_shape(archive, member)
    with open_member(archive, member) as file:
        return np.asarray(np.lib.format.read_array(file, allow_pickle=False))


def read_texts(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> tuple[str, ...] | None:
    """Read an array [n] of texts; None if it is something else.

    Raises:
        InvalidInputError: It is damaged.
    """
    texts = _read_unicode(archive, member, num_axes=1)
    return None if texts is None else tuple(texts.tolist())


def read_text(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> str | None:
    """Read a text alone, an array without axes; None if it is something else.

    Raises:
        InvalidInputError: It is damaged.
    """
    text = _read_unicode(archive, member, num_axes=0)
    return None if text is None else str(text)


def _read_unicode(
    archive: zipfile.ZipFile, member: zipfile.ZipInfo, *, num_axes: int
) -> Array | None:
    """Read an array of texts with so many axes; None, without reading it, if it is another one."""
    with archive.open(member) as file:
        shape, dtype, _ = _read_header(file)
    if dtype.kind != "U" or len(shape) != num_axes:
        return None
    return read_array(archive, member)


def read_shape(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> tuple[int, ...]:
    """Return the shape of an array, without reading more than its header.

    Raises:
        InvalidInputError: It is damaged.
        UnsafeInputError: It holds pickled objects.
    """
    with archive.open(member) as file:
        return _check_shape(file, f"the member {member.filename!r}", member.file_size)


def _check_shape(file: IO[bytes], name: str, num_bytes: int) -> tuple[int, ...]:
    """Return the shape of an array, which must have as many bytes as its file."""
    shape, dtype, header_bytes = _read_header(file)
    require(
        not dtype.hasobject,
        "pickled objects could run code: only numbers are read",
        UnsafeInputError,
    )
    declared = header_bytes + math.prod(shape) * dtype.itemsize
    require(
        min(shape, default=0) >= 0 and declared == num_bytes,
        f"{name} has {num_bytes} bytes, and an array of shape {list(shape)} and type {dtype} has "
        f"{declared}",
    )
    return shape


def _read_header(file: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[Any], int]:
    """Return shape and dtype of the array in a .npy file, and the number of bytes before it."""
    # numpy reads a header of any length before it looks at it.
    start = io.BytesIO(file.read(_MAX_HEADER_BYTES))
    version = np.lib.format.read_magic(start)
    require(version in ((1, 0), (2, 0)), f"version {version} of .npy is not for plain numbers")
    is_first = version == (1, 0)
    formats = np.lib.format
    read = formats.read_array_header_1_0 if is_first else formats.read_array_header_2_0
    shape, _, dtype = read(start)
    return shape, dtype, start.tell()
