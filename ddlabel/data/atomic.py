"""Writing whole or not at all, for every file that this program makes; and scratch space that leaves nothing behind."""

import fcntl
import glob
import itertools
import math
import os
import secrets
import shutil
import stat
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path, PurePath
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ddlabel.core.errors import (
    ClosedPipeError,
    DDLabelError,
    InvalidInputError,
    OutputExistsError,
    StorageError,
    UsageError,
)
from ddlabel.data.schema import require

STANDARD = "-"
Head = tuple[int, Callable[[], bytes]]
_IN_MEMORY_BYTES = 1 << 28


def check_output(path: str, *, force: bool) -> None:
    """Refuse, before the work, an output that could not or must not be written after it.

    OutputExistsError if `path` is there and `force` is not set, StorageError if its folder is missing or cannot be
    written to, UsageError if it is a terminal's standard output.
    """
    if path == STANDARD:
        if sys.stdout.isatty():
            raise UsageError(
                "a bundle is binary and standard output is a terminal: name a file, or pipe it on"
            )
        return
    target = Path(path)
    folder = target.resolve().parent
    replaceable = force or not target.is_file()
    require(not target.is_dir(), f"{path} is a folder: give the name of a file", OutputExistsError)
    require(
        replaceable,
        f"{path} exists: choose another name, or replace it with --force",
        OutputExistsError,
    )
    require(
        folder.is_dir(),
        f"cannot write {path}: there is no folder {folder.name!r}; make it first",
        StorageError,
    )
    require(
        os.access(folder, os.W_OK),
        f"cannot write {path}: no permission to write in its folder",
        StorageError,
    )


def write(
    path: str, chunks: Iterable[bytes | memoryview], *, size: int, head: Head = (0, bytes)
) -> None:
    """Write `size` bytes to `path`: after any crash there is the old file or the new one, never half of one.

    The first bytes are those of `head`: how many there are, and what makes them, which a file asks for last of all.
    A symbolic link is followed; `-`, a FIFO or a device is streamed to, never renamed over. A new file gets the mode
    that the umask allows, a replaced one keeps its own. StorageError if the disk is full or refuses.
    """
    streamed = path == STANDARD or is_stream(Path(path))
    try:
        if streamed:
            with (
                nullcontext(sys.stdout.buffer)
                if path == STANDARD
                else Path(path).open("wb") as sink
            ):
                sink.writelines(itertools.chain([head[1]()], chunks))
                sink.flush()
        else:
            _replace(Path(path).resolve(), chunks, size, head)
    except BrokenPipeError:
        raise ClosedPipeError from None
    except OSError as error:
        left = "its reader has a part of it" if streamed else "nothing was changed"
        raise StorageError(f"cannot write {path}: {error.strerror or error}; {left}") from error


def _replace(target: Path, chunks: Iterable[bytes | memoryview], size: int, head: Head) -> None:
    """Temporary file beside the target, fsync, rename, fsync of the folder."""
    free = shutil.disk_usage(target.parent).free
    require(
        size <= free,
        f"cannot write {target.name}: it needs {size} bytes, the disk has {free} free",
        StorageError,
    )
    # The first line of defence against leftovers is `finally`, the second is that a later run of the same command
    # removes what a killed one left. The name holds the process id to know those by, and a random part because two
    # containers that share a folder may both be process 1: neither ever renames the other's file.
    for stale in target.parent.glob(f".{glob.escape(target.name)}.*.part"):
        if not _alive(stale):
            stale.unlink(missing_ok=True)
    part = target.with_name(f".{target.name}.{os.getpid()}-{secrets.token_hex(4)}.part")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        with os.fdopen(descriptor, "wb") as sink:
            if target.exists():
                os.fchmod(descriptor, stat.S_IMODE(target.stat().st_mode))
            sink.seek(head[0])
            sink.writelines(chunks)
            sink.seek(0)
            sink.write(head[1]())
            sink.flush()
            os.fsync(descriptor)
        part.replace(target)
        _sync_folder(target)
    finally:
        part.unlink(missing_ok=True)


def _alive(part: Path) -> bool:
    """Whether the process that a temporary file's name carries still runs; this one has none while it looks."""
    try:
        number = int(part.name.split(".")[-2].partition("-")[0])
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    except (ValueError, OverflowError, PermissionError):
        return True
    return number != os.getpid()


def _sync_folder(target: Path) -> None:
    """Make the new name of a file last; the file itself is there by now, whatever happens here."""
    try:
        descriptor = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        message = f"{target.name} was written, but its folder could not be synced ({error.strerror or error})"
        raise StorageError(
            f"{message}: a loss of power now may bring back what was there before"
        ) from error


def append_line(path: Path, line: str) -> None:
    """Append one line in a single write, so that a crash can cut a line off but never mix two."""
    with path.open("ab", buffering=0) as sink:
        fcntl.flock(sink, fcntl.LOCK_EX)
        sink.write(f"{line}\n".encode())
        os.fsync(sink.fileno())


def whole_lines(path: Path) -> tuple[list[bytes], bool]:
    """The lines of a file that grows, if it is there, and whether a crash had cut off the last one: it is removed."""
    if not path.exists():
        return [], False
    with path.open("r+b") as file:
        fcntl.flock(
            file, fcntl.LOCK_EX
        )  # in place, not by another file: other processes may be appending
        *lines, rest = file.read().split(b"\n")
        file.truncate(file.tell() - len(rest))
    return lines, bool(rest)


def make_folder(path: Path) -> None:
    """Make a folder and those above it; StorageError if the operating system refuses."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"cannot make the folder {path}: {error.strerror or error}") from error


@contextmanager
def reading(name: PurePath, failure: str) -> Iterator[None]:
    """Errors of ours get the file's name in front; whatever else a decoder raises means a damaged or foreign file."""
    try:
        yield
    except DDLabelError as error:
        raise type(error)(f"{name}: {error}") from error
    except MemoryError:
        raise
    except Exception as error:
        raise InvalidInputError(
            f"{name}: {failure}: {str(error) or type(error).__name__}"
        ) from error


def is_stream(path: Path) -> bool:
    """Whether a path is there and is neither a regular file nor a folder."""
    return path.exists() and not path.is_file() and not path.is_dir()


def spool_standard_input() -> Path:
    """Standard input as a file that can be mapped, without a name on the disk; InvalidInputError if there is none."""
    require(
        not sys.stdin.isatty(), "a bundle is expected and it is a terminal: pipe one in, or name it"
    )
    spool = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the arrays that map it
    shutil.copyfileobj(sys.stdin.buffer, spool, 1 << 20)
    spool.flush()
    require(spool.tell() > 0, "it is empty: the command before the pipe wrote no bundle")
    # The path of the descriptor stays valid after this object: detach the number from it.
    return Path(f"/dev/fd/{os.dup(spool.fileno())}")


def scratch(shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
    """An array to fill, on an unnamed file when it is large, so that peak memory does not grow with N."""
    if math.prod(shape) * np.dtype(dtype).itemsize <= _IN_MEMORY_BYTES:
        return np.zeros(shape, dtype)
    with tempfile.TemporaryFile() as file:
        return np.memmap(file, dtype=dtype, mode="w+", shape=shape)
