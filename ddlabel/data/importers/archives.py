"""Members of archives, read no further than they declare."""

import copy
import gzip
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, BinaryIO

from ddlabel.core.errors import UnsafeInputError
from ddlabel.data.importers import budget
from ddlabel.data.schema import require

_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_READ_AHEAD = 1 << 16
# What is read of a tar archive to find out what it holds.
_BYTES_SEEN = 1 << 24
_MEMBERS_SEEN = 1000
_GZIP_MAGIC = b"\x1f\x8b"


def is_archive(test: Callable[[Path], bool], path: Path) -> bool:
    """Return whether `zipfile.is_zipfile` or a test like it recognises a file.

    A damaged file can make them fail.

    Raises:
        UnsafeInputError: The test would have to read too much.
    """
    try:
        return test(path)
    except UnsafeInputError as error:
        raise UnsafeInputError(f"{path}: {error}") from error
    except Exception:
        return False


def check_packed(archive: zipfile.ZipFile, file_bytes: int) -> None:
    """Check that the members of a zip archive do not lie over one another.

    If they did, one image could stand for any number of them.

    Raises:
        UnsafeInputError: They have more bytes, as they are packed, than the file.
    """
    packed = sum(member.compress_size for member in archive.infolist())
    require(
        packed <= file_bytes,
        f"its members have {packed} bytes packed and it has {file_bytes}",
        UnsafeInputError,
    )


def read_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes:
    """Return the content of a zip member.

    Raises:
        UnsafeInputError: It is too large, or larger than it declares.
    """
    name = f"the member {member.filename!r}"
    budget.check_budget(name, member.file_size, budget.MAX_FILE_BYTES)
    with open_member(archive, member) as file:
        return file.read(member.file_size)


@contextmanager
def open_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Iterator[IO[bytes]]:
    """Open a zip member, of which the block has to read as many bytes as it declares.

    Raises:
        UnsafeInputError: It is larger than it declares, or packed by a method other than deflate.
    """
    name = f"the member {member.filename!r}"
    require(
        member.compress_type in _METHODS,
        f"{name} is packed by a method that can take gigabytes: pack it again with deflate",
        UnsafeInputError,
    )
    # zipfile leaves out silently what a member has beyond its declared size, and compares the
    # checksum when this size is reached: it must not be reached by reading ahead.
    longer = copy.copy(member)
    longer.file_size += _READ_AHEAD
    with archive.open(longer) as file:
        yield file
        has_more = file.read(1) != b""
    require(not has_more, f"{name} is larger than the archive declares", UnsafeInputError)


def is_tar(path: Path) -> bool:
    """Return whether a file is a tar archive, packed by gzip or not."""
    with open_tar(path):
        return True


@contextmanager
def open_tar(path: Path) -> Iterator[tarfile.TarFile]:
    """Open a tar archive, packed by gzip or not, whose reading stops at the limits.

    Raises:
        UnsafeInputError: It inflates out of proportion, or a part of it is too large to read.
    """
    with path.open("rb") as packed:
        is_gzip = packed.read(2) == _GZIP_MAGIC
    with (
        gzip.open(path) if is_gzip else path.open("rb") as stream,
        tarfile.open(
            fileobj=_Limited(stream, path.stat().st_size),  # type: ignore[call-overload]
            mode="r:",
        ) as archive,
    ):
        yield archive


def first_members(path: Path) -> list[tarfile.TarInfo]:
    """Return the members in the first 16 MiB of a tar archive; of a damaged one, the intact ones.

    Raises:
        UnsafeInputError: It inflates out of proportion, or a part of it is too large to read.
    """
    members = []
    with open_tar(path) as archive, suppress(tarfile.TarError, EOFError, zlib.error):
        for info in archive:
            members.append(info)
            if info.offset_data + info.size > _BYTES_SEEN or len(members) == _MEMBERS_SEEN:
                break
    return members


class _Limited:
    """A file that reads at most a limit at once and in total.

    tarfile reads headers and skips members of any size that they declare.
    """

    def __init__(self, stream: BinaryIO | gzip.GzipFile, file_bytes: int) -> None:
        self._stream = stream
        self._file_bytes = file_bytes

    def read(self, size: int) -> bytes:
        budget.check_budget("a part of the archive", size, budget.MAX_FILE_BYTES)
        budget.check_inflated(self.tell() + size, self._file_bytes)
        return self._stream.read(size)

    def seek(self, position: int) -> int:
        budget.check_inflated(position, self._file_bytes)
        return self._stream.seek(position)

    def tell(self) -> int:
        return self._stream.tell()
