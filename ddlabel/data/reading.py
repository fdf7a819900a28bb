"""Reading files: errors that name the file, streams, and standard input."""

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePath

from ddlabel.core.errors import DDLabelError, InvalidInputError
from ddlabel.core.memory import is_out_of_memory
from ddlabel.data.schema import require

STANDARD = "-"
_COPY_BYTES = 1 << 20


@contextmanager
def reading(name: PurePath, failure: str) -> Iterator[None]:
    """Turn every error inside the block into one of ours that begins with the file's name.

    An error of ours keeps its type. Anything else that a decoder raises means that the file is
    damaged or foreign; `failure` says so in the message. An error that says that memory is
    exhausted passes.

    Raises:
        InvalidInputError: The block raised an error that is not ours.
    """
    try:
        yield
    except DDLabelError as error:
        raise type(error)(f"{name}: {error}") from error
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


def is_stream(path: Path) -> bool:
    """Return whether a path exists and is neither a regular file nor a folder."""
    return path.exists() and not path.is_file() and not path.is_dir()


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
