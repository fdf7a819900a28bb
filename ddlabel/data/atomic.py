"""Files that this program writes: all of a file or nothing. Appended lines are in `lines`."""

import errno
import glob
import os
import secrets
import shutil
import stat
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, NamedTuple

from ddlabel.core.errors import ClosedPipeError, OutputExistsError, StorageError, UsageError
from ddlabel.data.exclusive import move_to_free_name
from ddlabel.data.reading import is_regular, is_standard_output, is_stream
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
        UsageError: `path` is standard output, and that is a terminal.
    """
    if is_standard_output(path):
        _check_standard_output()
        return
    try:
        _check_file(path, force=force)
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error.strerror or error}") from error


def _check_file(path: str, *, force: bool) -> None:
    target = Path(path)
    folder = target.resolve().parent
    require(not target.is_dir(), f"{path} is a folder: give the name of a file", OutputExistsError)
    if target.is_file() and not force:
        # A writer that was killed after it had given the file its name leaves another name of it.
        remove_stale_parts(target.resolve())
        raise _exists(path)
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


def _exists(path: str | Path) -> OutputExistsError:
    return OutputExistsError(f"{path} exists: choose another name, or replace it with --force")


def write(
    path: str,
    chunks: Iterable[Chunk],
    *,
    size: int,
    head: Head = NO_HEAD,
    force: bool = False,
) -> None:
    """Write `head` and then `chunks` to `path`, all of it or nothing.

    After a crash at any moment, `path` holds the old file or the new one, never a part. Of several
    processes that write one new file at the same time, one writes it and the others fail. A
    symbolic link is followed. Standard output (`-` or its path), a FIFO and a device are streamed
    to and never replaced. A new file gets the mode that the umask allows, a replaced file keeps its
    mode.

    Args:
        path: The file, or `-` for standard output.
        chunks: The content after the head.
        size: The number of bytes of head and chunks, compared with the free space.
        head: The first bytes. For a file they are made after the last chunk was written, so that
            they can depend on all of them.
        force: Whether to replace an existing file.

    Raises:
        OutputExistsError: The file exists, or another process has written it meanwhile, and `force`
            is not set.
        StorageError: The disk is full or the operating system refuses.
        ClosedPipeError: The reader of a pipe is gone.
    """
    streamed = is_standard_output(path) or is_stream(Path(path))
    if is_regular(path) and not streamed and not force:
        raise _exists(path)
    try:
        if streamed:
            _stream(path, chunks, head)
        else:
            _write_file(Path(path).resolve(), chunks, size, head, force=force)
    except BrokenPipeError:
        raise ClosedPipeError from None
    except FileExistsError as error:
        raise OutputExistsError(
            f"{path} was written by another process meanwhile: choose another name, or replace it "
            "with --force"
        ) from error
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
    if is_standard_output(path):
        yield sys.stdout.buffer
    else:
        with Path(path).open("wb") as sink:
            yield sink


def _write_file(
    target: Path, chunks: Iterable[Chunk], size: int, head: Head, *, force: bool
) -> None:
    """Write a temporary file beside the target, sync it, give it its name and sync the folder.

    Raises:
        FileExistsError: The target has come into being meanwhile, and `force` is not set.
    """
    free = shutil.disk_usage(target.parent).free
    require(
        size <= free,
        f"cannot write {target.name}: it needs {size} bytes, the disk has {free} free",
        StorageError,
    )
    remove_stale_parts(target)
    part = target.with_name(f".{target.name}.{os.getpid()}-{secrets.token_hex(4)}.part")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        try:
            if target.exists():
                os.fchmod(descriptor, stat.S_IMODE(target.stat().st_mode))
            _write_content(descriptor, chunks, head)
        finally:
            os.close(descriptor)
        if force:
            part.replace(target)
        else:
            move_to_free_name(part, target)
    finally:
        # A temporary file that cannot be removed is removed by the next writer.
        with suppress(OSError):
            part.unlink(missing_ok=True)
    _sync_folder(target)


def _write_content(descriptor: int, chunks: Iterable[Chunk], head: Head) -> None:
    """Write the chunks, then the head before them, and sync the file."""
    os.lseek(descriptor, head.length, os.SEEK_SET)
    for chunk in chunks:
        write_all(descriptor, chunk)
    os.lseek(descriptor, 0, os.SEEK_SET)
    write_all(descriptor, head.make())
    os.fsync(descriptor)


def write_all(descriptor: int, content: Chunk) -> None:
    """Write all bytes of `content` to a file: the system may take a part of them at a time.

    Raises:
        OSError: The operating system refuses. A part may be written.
    """
    rest = memoryview(content)
    while rest:
        num_written = os.write(descriptor, rest)
        if num_written == 0:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        rest = rest[num_written:]


def remove_stale_parts(target: Path) -> None:
    """Remove the temporary files and folders that killed writers of the same target left.

    A writer removes its temporary file itself unless it is killed. The file's name holds the
    writer's process id, by which a later run knows that it is dead. It also holds a random part:
    two containers that share a folder may both be process 1, and neither must rename the other's
    file.
    """
    for part in target.parent.glob(f".{glob.escape(target.name)}.*.part"):
        if not _has_living_writer(part):
            with suppress(OSError):
                shutil.rmtree(part) if part.is_dir() else part.unlink(missing_ok=True)


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


def make_folder(path: Path) -> None:
    """Make a folder and its parents.

    Raises:
        StorageError: The operating system refuses.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"cannot make the folder {path}: {error.strerror or error}") from error
