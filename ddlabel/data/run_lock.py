"""The lock of an expert run's folder: one process at a time trains the run."""

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ddlabel.core.errors import OutputExistsError, StorageError
from ddlabel.data.run_files import is_temporary

# The descriptors of the folders that this process has locked.
_locked: set[int] = set()


def _close_inherited() -> None:
    """Close the locked folders in a child process, such as a worker that reads images.

    A lock lasts until the last copy of its descriptor is closed, and a worker can outlive a killed
    run by some seconds.
    """
    for descriptor in _locked:
        os.close(descriptor)
    _locked.clear()


os.register_at_fork(after_in_child=_close_inherited)


@contextmanager
def locked_folder(folder: Path) -> Iterator[None]:
    """Lock the folder of a run for the `with` block, and remove what killed writers left in it.

    The operating system releases the lock when the process ends, so that no lock is ever stale.
    The folder itself is locked: there is no file that a killed process could leave. On a file
    system that cannot lock folders (NFS) the block runs without a lock.

    Raises:
        OutputExistsError: Another process has the lock.
        StorageError: The operating system refuses.
    """
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise StorageError(f"cannot open {folder}: {error.strerror or error}") from error
    _locked.add(descriptor)
    try:
        if _lock(descriptor, folder):
            _remove_temporary_files(folder)
        yield
    finally:
        _locked.discard(descriptor)
        os.close(descriptor)


def clear_leftovers(folder: Path) -> None:
    """Remove what killed writers left in a finished run, unless a process is at work there."""
    with suppress(OutputExistsError, StorageError), locked_folder(folder):
        pass


def _lock(descriptor: int, folder: Path) -> bool:
    """Lock a folder. Return False where the file system cannot.

    Raises:
        OutputExistsError: Another process has the lock.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            raise OutputExistsError(
                f"{folder}: another process is training this run: wait for it, or give another "
                "folder"
            ) from error
        return False
    return True


def _remove_temporary_files(folder: Path) -> None:
    """Remove the temporary files of the run. While the folder is locked, their writers are dead."""
    with suppress(OSError):
        for path in folder.iterdir():
            if is_temporary(path.name):
                path.unlink(missing_ok=True)
