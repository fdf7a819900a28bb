"""Reading files: errors that name the file, streams, and standard input."""

import errno
import io
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePath
from typing import IO, BinaryIO, TextIO

from ddlabel.core.errors import DDLabelError, InvalidInputError, StorageError, UnsafeInputError
from ddlabel.core.memory import is_out_of_memory
from ddlabel.data.schema import MAX_BYTES, require

STANDARD = "-"
_COPY_BYTES = 1 << 20
# The head of a safetensors bundle is at most its header and the length of it.
_HEAD_BYTES = MAX_BYTES + 8
_REFUSALS = (errno.EACCES, errno.EPERM, errno.EIO, errno.EMFILE, errno.ENFILE)


@contextmanager
def reading(name: PurePath | str, failure: str) -> Iterator[None]:
    """Turn every error inside the block into one of ours that begins with the file's name.

    An error of ours keeps its type. Anything else that a decoder raises means that the file is
    damaged or foreign; `failure` says so in the message. An error that says that memory is
    exhausted passes.

    Raises:
        InvalidInputError: The block raised an error that is not ours.
        StorageError: The operating system refuses to read.
    """
    try:
        yield
    except DDLabelError as error:
        raise type(error)(f"{name}: {error}") from error
    except OSError as error:
        if is_out_of_memory(error):
            raise
        # Decoders raise an OSError too, without the system's number.
        if error.errno in _REFUSALS:
            raise StorageError(f"cannot read {name}: {error.strerror}") from error
        raise InvalidInputError(f"{name}: {failure}{_reason(error)}") from error
    except Exception as error:
        if is_out_of_memory(error):
            raise
        raise InvalidInputError(f"{name}: {failure}{_reason(error)}") from error


def _reason(error: Exception) -> str:
    """Return the first line of an error as the end of a message.

    It is empty if the error says nothing to people: the text of a KeyError is just the key.
    """
    if isinstance(error, OSError) and error.strerror is not None:
        return f": {error.strerror}"
    lines = str(error).splitlines()
    is_key = isinstance(error, KeyError)
    return "" if is_key or not lines else f": {lines[0].removesuffix(':')}"


def read_limited(path: Path, limit: int, *, name: str = "it") -> bytes:
    """Return the content of a file; `name` is how the message names it.

    Raises:
        UnsafeInputError: It has more bytes than `limit`, or no end.
        OSError: The operating system refuses to read.
    """
    with path.open("rb") as file:
        content = file.read(limit + 1)
    require(len(content) <= limit, f"{name} has more than {limit} bytes", UnsafeInputError)
    return content


def is_stream(path: Path) -> bool:
    """Return whether a path exists and is neither a regular file nor a folder."""
    return _file_type(path) not in (None, stat.S_IFREG, stat.S_IFDIR)


def is_standard_output(path: str | Path) -> bool:
    """Return whether a path means standard output: `-`, or a path of the same file.

    Such are `/dev/stdout`, `/dev/fd/1`, and a file to which the shell redirects standard output.
    """
    return str(path) == STANDARD or _is_same_file(path, sys.stdout)


def is_standard_input(path: str | Path) -> bool:
    """Return whether a path means standard input: `-`, `/dev/stdin`, `/dev/fd/0`.

    A regular file with a suffix is read by its name even if standard input comes from it as well.
    """
    if str(path) == STANDARD:
        return True
    is_named = is_regular(path) and Path(path).suffix != ""
    return not is_named and _is_same_file(path, sys.stdin)


def exists(path: str | Path) -> bool:
    """Return whether a text is the path of a file or folder. One that is too long is none."""
    return _file_type(path) is not None


def is_regular(path: str | Path) -> bool:
    """Return whether a path is a regular file."""
    return _file_type(path) == stat.S_IFREG


def _file_type(path: str | Path) -> int | None:
    """Return the type of a file, as `stat` has it; None if there is no file or no access to it."""
    try:
        return stat.S_IFMT(os.stat(path).st_mode)  # noqa: PTH116
    except (OSError, ValueError):
        return None


def _is_same_file(path: str | Path, stream: TextIO | None) -> bool:
    """Return whether a path is the file behind a stream. A closed stream has none."""
    if stream is None:
        return False
    try:
        return os.path.samestat(os.stat(path), os.fstat(stream.fileno()))  # noqa: PTH116
    except (OSError, ValueError):  # io.UnsupportedOperation is both
        return False


def spool_standard_input(declared_size: Callable[[BinaryIO], int]) -> Path:
    """Copy standard input to an unnamed temporary file that can be mapped, and return its path.

    `declared_size` reads the head of the copy and returns the size of the whole file. Only one
    byte more is copied, because a stream can be endless.

    Raises:
        InvalidInputError: Standard input is a terminal or empty.
        StorageError: It does not fit the disk of temporary files.
        DDLabelError: What `declared_size` raises.
    """
    require(
        not sys.stdin.isatty(), "a bundle is expected and it is a terminal: pipe one in, or name it"
    )
    with tempfile.TemporaryFile() as spool:
        _copy(sys.stdin.buffer, spool, _HEAD_BYTES)
        require(spool.tell() > 0, "it is empty: the command before the pipe wrote no bundle")
        spool.seek(0)
        size = declared_size(spool)
        _check_free_space(size)
        num_copied = spool.seek(0, io.SEEK_END)
        _copy(sys.stdin.buffer, spool, size + 1 - num_copied)
        spool.flush()
        # The copy of the descriptor stays open, so that its path can be mapped.
        return Path(f"/dev/fd/{os.dup(spool.fileno())}")


def _copy(source: BinaryIO, target: IO[bytes], num_bytes: int) -> None:
    """Copy at most so many bytes."""
    while num_bytes > 0:
        chunk = source.read(min(_COPY_BYTES, num_bytes))
        if not chunk:
            return
        target.write(chunk)
        num_bytes -= len(chunk)


def _check_free_space(num_bytes: int) -> None:
    free = shutil.disk_usage(tempfile.gettempdir()).free
    require(
        num_bytes <= free,
        f"it needs {num_bytes} bytes of temporary space and {free} are free: set TMPDIR to "
        "another disk",
        StorageError,
    )
