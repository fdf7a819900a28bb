"""Everything that this program writes: whole files or nothing, and lines appended to a file."""

import fcntl
import glob
import os
import secrets
import shutil
import stat
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple

from ddlabel.core.errors import ClosedPipeError, OutputExistsError, StorageError, UsageError
from ddlabel.data.reading import STANDARD, is_stream
from ddlabel.data.schema import require

Chunk = bytes | memoryview


class Head(NamedTuple):
    """The first bytes of a file: their number, and a function that makes them."""

    length: int
    make: Callable[[], bytes]


NO_HEAD = Head(0, bytes)


def check_output(path: str, *, force: bool) -> None:
    """Refuse an output that cannot be written, before any work is done for it.

    Raises:
        OutputExistsError: `path` is a folder, or an existing file and `force` is not set.
        StorageError: The folder of `path` is missing or not writable.
        UsageError: `path` is `-` and standard output is a terminal.
    """
    if path == STANDARD:
        _check_standard_output()
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


def _check_standard_output() -> None:
    if sys.stdout.isatty():
        raise UsageError(
            "a bundle is binary and standard output is a terminal: name a file, or pipe it on"
        )


def write(path: str, chunks: Iterable[Chunk], *, size: int, head: Head = NO_HEAD) -> None:
    """Write `head` and then `chunks` to `path`, all of it or nothing.

    After a crash at any moment, `path` holds the old file or the new one, never a part. A symbolic
    link is followed. `-`, a FIFO and a device are streamed to and never replaced. A new file gets
    the mode that the umask allows, a replaced file keeps its mode.

    Args:
        path: The file, or `-` for standard output.
        chunks: The content after the head.
        size: The number of bytes of head and chunks, compared with the free space.
        head: The first bytes. For a file they are made after the last chunk was written, so that
            they can depend on all of them.

    Raises:
        StorageError: The disk is full or the operating system refuses.
        ClosedPipeError: The reader of a pipe is gone.
    """
    streamed = path == STANDARD or is_stream(Path(path))
    try:
        if streamed:
            _stream(path, chunks, head)
        else:
            _replace(Path(path).resolve(), chunks, size, head)
    except BrokenPipeError:
        raise ClosedPipeError from None
    except OSError as error:
        state = "its reader has received a part of it" if streamed else "nothing was changed"
        raise StorageError(f"cannot write {path}: {error.strerror or error}; {state}") from error


def _stream(path: str, chunks: Iterable[Chunk], head: Head) -> None:
    """Write to standard output, a FIFO or a device."""
    with _open_stream(path) as sink:
        sink.write(head.make())
        sink.writelines(chunks)
        sink.flush()


@contextmanager
def _open_stream(path: str) -> Iterator[BinaryIO]:
    if path == STANDARD:
        yield sys.stdout.buffer
    else:
        with Path(path).open("wb") as sink:
            yield sink


def _replace(target: Path, chunks: Iterable[Chunk], size: int, head: Head) -> None:
    """Write a temporary file beside the target, sync it, rename it and sync the folder."""
    free = shutil.disk_usage(target.parent).free
    require(
        size <= free,
        f"cannot write {target.name}: it needs {size} bytes, the disk has {free} free",
        StorageError,
    )
    _remove_stale_parts(target)
    part = target.with_name(f".{target.name}.{os.getpid()}-{secrets.token_hex(4)}.part")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        with os.fdopen(descriptor, "wb") as sink:
            if target.exists():
                os.fchmod(descriptor, stat.S_IMODE(target.stat().st_mode))
            sink.seek(head.length)
            sink.writelines(chunks)
            sink.seek(0)
            sink.write(head.make())
            sink.flush()
            os.fsync(descriptor)
        part.replace(target)
        _sync_folder(target)
    finally:
        part.unlink(missing_ok=True)


def _remove_stale_parts(target: Path) -> None:
    """Remove the temporary files that killed writers of the same target left behind.

    A writer removes its temporary file itself unless it is killed. The file's name holds the
    writer's process id, by which a later run knows that it is dead. It also holds a random part:
    two containers that share a folder may both be process 1, and neither must rename the other's
    file.
    """
    for part in target.parent.glob(f".{glob.escape(target.name)}.*.part"):
        if not _has_living_writer(part):
            part.unlink(missing_ok=True)


def _has_living_writer(part: Path) -> bool:
    """Return whether the process named by a temporary file still runs.

    This process does not count: it has no temporary file of this target while it looks.
    """
    try:
        process_id = int(part.name.split(".")[-2].partition("-")[0])
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    except (ValueError, OverflowError, PermissionError):
        return True
    return process_id != os.getpid()


def _sync_folder(target: Path) -> None:
    """Sync the folder of a file that was renamed, so that its new name survives a loss of power."""
    try:
        descriptor = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        reason = error.strerror or error
        raise StorageError(
            f"{target.name} was written, but its folder could not be synced ({reason}): after a "
            "loss of power the old file may be back"
        ) from error


def append_line(path: Path, line: str) -> None:
    """Append one line in a single write.

    A crash can cut the line off, and never mix it with the line of another process.
    """
    with path.open("ab", buffering=0) as sink:
        fcntl.flock(sink, fcntl.LOCK_EX)
        sink.write(f"{line}\n".encode())
        os.fsync(sink.fileno())


def whole_lines(path: Path) -> tuple[list[bytes], bool]:
    """Return the lines of a file that `append_line` writes, and whether a part of one was removed.

    A last line that a crash cut off is removed from the file. A missing file has no lines.
    """
    if not path.exists():
        return [], False
    # The file is truncated in place and not replaced: other processes may be appending to it.
    with path.open("r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        *lines, rest = file.read().split(b"\n")
        file.truncate(file.tell() - len(rest))
    return lines, bool(rest)


def make_folder(path: Path) -> None:
    """Make a folder and its parents.

    Raises:
        StorageError: The operating system refuses.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"cannot make the folder {path}: {error.strerror or error}") from error
