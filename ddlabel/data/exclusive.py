"""Giving a file a new name that must not be taken."""

import ctypes
import errno
import os
from contextlib import suppress
from pathlib import Path

_AT_FDCWD = -100
_RENAME_NOREPLACE = 1
# The errors of systems and file systems that cannot rename without replacing (NFS).
_NO_EXCLUSIVE_RENAME = (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP)
# The errors of file systems without hard links (some network and cloud drives).
_NO_HARD_LINKS = (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK, errno.EINVAL)


def move_to_free_name(part: Path, target: Path) -> None:
    """Give the file `part` the name `target` in one step, unless the name is taken.

    Where this takes a hard link, `part` stays as a second name of the file until the caller removes
    it.

    Raises:
        FileExistsError: `target` exists. It is left as it is.
        OSError: The operating system refuses.
    """
    if _rename_exclusively(part, target) or _link(part, target):
        return
    _rename_over_placeholder(part, target)


def move_folder_to_free_name(part: Path, target: Path) -> None:
    """Give the folder `part` the name `target` in one step, unless the name is taken.

    Raises:
        FileExistsError: `target` exists. It is left as it is.
        OSError: The operating system refuses.
    """
    if _rename_exclusively(part, target):
        return
    # A folder replaces an empty one in one step. Nobody else writes into the placeholder.
    target.mkdir()
    try:
        part.rename(target)
    except BaseException:
        with suppress(OSError):
            target.rmdir()
        raise


def _rename_exclusively(part: Path, target: Path) -> bool:
    """Rename with Linux's `renameat2`. Return False where that is not possible.

    Raises:
        OSError: The name is taken, or the operating system refuses.
    """
    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if renameat2 is None:
        return False
    old_name = os.fsencode(part)
    new_name = os.fsencode(target)
    status = renameat2(_AT_FDCWD, old_name, _AT_FDCWD, new_name, _RENAME_NOREPLACE)
    if status == 0:
        return True
    code = ctypes.get_errno()
    if code in _NO_EXCLUSIVE_RENAME:
        return False
    raise OSError(code, os.strerror(code), str(target))


def _link(part: Path, target: Path) -> bool:
    """Give a file a second name. Return False where the file system has no hard links.

    Raises:
        OSError: The name is taken, or the operating system refuses.
    """
    try:
        os.link(part, target)
    except FileExistsError:
        # A network file system may repeat a request that succeeded, and then finds its own link.
        if part.stat().st_nlink == 1:
            raise
    except OSError as error:
        if error.errno not in _NO_HARD_LINKS:
            raise
        return False
    return True


def _rename_over_placeholder(part: Path, target: Path) -> None:
    """Take the name with an empty file, and replace it.

    This is the last resort: a process that is killed in between leaves the empty file.
    """
    placeholder = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        os.close(placeholder)
        part.replace(target)
    except BaseException:
        with suppress(OSError):
            target.unlink()
        raise
