"""Reading files: errors that name the file, streams, and standard input."""

import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePath
from typing import TextIO

from ddlabel.core.errors import DDLabelError, InvalidInputError
from ddlabel.data.schema import require

STANDARD = "-"
_COPY_BYTES = 1 << 20


@contextmanager
def reading(name: PurePath, failure: str) -> Iterator[None]:
    """Turn every error inside the block into one of ours that begins with the file's name.

    An error of ours keeps its type. Anything else that a decoder raises means that the file is
    damaged or foreign; `failure` says so in the message. A MemoryError passes.

    Raises:
        InvalidInputError: The block raised an error that is not ours.
    """
    try:
        yield
    except DDLabelError as error:
        raise type(error)(f"{name}: {error}") from error
    except MemoryError:
        raise
    except Exception as error:
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


def is_stream(path: Path) -> bool:
    """Return whether a path exists and is neither a regular file nor a folder."""
    return path.exists() and not path.is_file() and not path.is_dir()


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


def is_regular(path: str | Path) -> bool:
    """Return whether a path is a regular file."""
    try:
        return stat.S_ISREG(os.stat(path).st_mode)  # noqa: PTH116
    except (OSError, ValueError):
        return False


def _is_same_file(path: str | Path, stream: TextIO | None) -> bool:
    """Return whether a path is the file behind a stream. A closed stream has none."""
    if stream is None:
        return False
    try:
        return os.path.samestat(os.stat(path), os.fstat(stream.fileno()))  # noqa: PTH116
    except (OSError, ValueError):  # io.UnsupportedOperation is both
        return False


def spool_standard_input() -> Path:
    """Copy standard input to an unnamed temporary file that can be mapped, and return its path.

    Raises:
        InvalidInputError: Standard input is a terminal or empty.
    """
    require(
        not sys.stdin.isatty(), "a bundle is expected and it is a terminal: pipe one in, or name it"
    )
    with tempfile.TemporaryFile() as spool:
        shutil.copyfileobj(sys.stdin.buffer, spool, _COPY_BYTES)
        spool.flush()
        require(spool.tell() > 0, "it is empty: the command before the pipe wrote no bundle")
        # The copy of the descriptor stays open, so that its path can be mapped.
        return Path(f"/dev/fd/{os.dup(spool.fileno())}")
