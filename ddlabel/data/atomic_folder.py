"""Folders that this program writes: all files of a folder or none."""

import os
import secrets
import shutil
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from ddlabel.core.errors import OutputExistsError, StorageError, UsageError
from ddlabel.data import atomic
from ddlabel.data.atomic import Chunk
from ddlabel.data.exclusive import move_folder_to_free_name
from ddlabel.data.reading import is_standard_output


def check_folder(path: str) -> None:
    """Refuse a folder that cannot be made, before any work is done for it.

    Raises:
        UsageError: It is standard output.
        OutputExistsError: Something of this name exists.
        StorageError: The folder that it is to lie in is missing or not writable.
    """
    if is_standard_output(path):
        raise UsageError("a folder cannot go to standard output: give it a name")
    if Path(path).exists():
        raise OutputExistsError(f"{path} exists: choose another name for the folder")
    atomic.check_output(path, force=False)


def write_folder(path: str, files: Iterable[tuple[str, Iterable[Chunk]]]) -> None:
    """Write the files of a new folder, by their paths in it: all of them or nothing.

    They are written to a temporary folder beside `path`, which gets its name at the end. What a
    killed writer left behind is removed by the next writer of the same folder.

    Raises:
        OutputExistsError: Something of this name exists, or has come into being meanwhile.
        StorageError: The disk is full or the operating system refuses.
    """
    check_folder(path)
    target = Path(path).resolve()
    atomic.remove_stale_parts(target)
    part = target.with_name(f".{target.name}.{os.getpid()}-{secrets.token_hex(4)}.part")
    try:
        part.mkdir()
        for name, chunks in files:
            file = part / name
            file.parent.mkdir(parents=True, exist_ok=True)
            with file.open("xb") as sink:
                sink.writelines(chunks)
        # One call for all files: to sync thousands one by one takes minutes.
        os.sync()
        move_folder_to_free_name(part, target)
    except FileExistsError as error:
        raise OutputExistsError(
            f"{path} was written by another process meanwhile: choose another name"
        ) from error
    except OSError as error:
        reason = error.strerror or error
        raise StorageError(f"cannot write {path}: {reason}; nothing was changed") from error
    finally:
        with suppress(OSError):
            shutil.rmtree(part)
