"""The folder of the user in which compiled code is kept from one run to the next."""

import functools
import os
import tempfile
from pathlib import Path

from ddlabel.training.warning import warn_once

_ONLY_FOR_THE_USER = 0o700
_WRITABLE_FOR_OTHERS = 0o022


@functools.cache
def private_cache_folder() -> Path:
    """Return a folder for compiled code to which this user alone can write.

    It is `ddlabel/torch` in the user's cache folder: code that is found there is run, and torch's
    own choice is a name in the folder for temporary files that another user could take first. If it
    cannot be used, a warning says so once, and the folder lasts as long as this process.
    """
    try:
        folder = _user_cache_folder() / "ddlabel" / "torch"
        folder.mkdir(mode=_ONLY_FOR_THE_USER, parents=True, exist_ok=True)
        _check_is_private(folder)
    except (OSError, RuntimeError) as error:
        warn_once(f"compiled code is not kept for the next run: {error}")
        return Path(_temporary_folder().name)
    return folder


def _user_cache_folder() -> Path:
    """Return the user's cache folder after the XDG specification.

    Raises:
        RuntimeError: There is no home folder.
    """
    named = Path(os.environ.get("XDG_CACHE_HOME", ""))
    # The specification says to leave a relative path out of account.
    return named if named.is_absolute() else Path.home() / ".cache"


def _check_is_private(folder: Path) -> None:
    """Raise PermissionError unless this user owns the folder, and alone can write to it."""
    status = folder.stat()
    if status.st_uid != os.getuid() or status.st_mode & _WRITABLE_FOR_OTHERS:
        raise PermissionError(f"{folder}: other users can write to it")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise PermissionError(f"{folder}: it is not writable")


@functools.cache
def _temporary_folder() -> "tempfile.TemporaryDirectory[str]":
    """Make a folder that is removed when this process ends; it is kept here until then."""
    return tempfile.TemporaryDirectory(prefix="ddlabel-torch-")
