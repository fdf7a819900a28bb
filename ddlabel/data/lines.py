"""Files of lines that several processes read and append to at the same time."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from ddlabel.data.atomic import write_all

_NEWLINE = b"\n"


class LockedLines:
    """A file of lines while this process holds its lock: no other process reads or appends."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    @property
    def size(self) -> int:
        """The number of bytes of the file."""
        return os.fstat(self._descriptor).st_size

    def read_from(self, offset: int) -> bytes:
        """Return the bytes of the file from `offset` to its end."""
        with os.fdopen(os.dup(self._descriptor), "rb") as file:
            file.seek(offset)
            return file.read()

    def cut(self, size: int) -> None:
        """Shorten the file to `size` bytes."""
        os.ftruncate(self._descriptor, size)

    @property
    def ends_with_newline(self) -> bool:
        """Whether the next byte begins a line. A device has no size."""
        size = self.size
        return size == 0 or os.pread(self._descriptor, 1, size - 1) == _NEWLINE

    def append(self, line: bytes) -> None:
        """Append a line and sync the file: all of the line, or nothing.

        A last line without a newline, which a killed process left, is ended first, so that the new
        line is never glued to it.

        Raises:
            OSError: The operating system refuses. The file is as long as it was before.
        """
        ending = b"" if self.ends_with_newline else _NEWLINE
        self._append_all(ending + line + _NEWLINE)

    def end_line(self) -> None:
        """Append the newline that the last line lacks."""
        self._append_all(_NEWLINE)

    def _append_all(self, content: bytes) -> None:
        size = self.size
        try:
            write_all(self._descriptor, content)
            os.fsync(self._descriptor)
        except BaseException:
            # If this fails too, the next append begins a new line, and readers skip the broken one.
            with suppress(OSError):
                self.cut(size)
            raise


@contextmanager
def locked_lines(path: Path, *, create: bool) -> Iterator[LockedLines]:
    """Open a file of lines and lock it for the `with` block. Blocks until others release it.

    Raises:
        FileNotFoundError: There is no such file, and `create` is not set.
        OSError: The operating system refuses.
    """
    flags = os.O_RDWR | os.O_APPEND
    if create:
        flags |= os.O_CREAT
    descriptor = os.open(path, flags, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield LockedLines(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def shared_lines(path: Path) -> Iterator[BinaryIO]:
    """Open a file of lines for reading for the `with` block. Blocks until no process appends.

    Raises:
        OSError: The operating system refuses.
    """
    with path.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        yield file
