"""Mapped files that must not change while they are read."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from ddlabel.core.errors import InvalidInputError
from ddlabel.data.labels import Array


@dataclass(frozen=True, kw_only=True)
class MappedFile:
    """A file that arrays are mapped from, as it was when it was opened.

    A file that replaces it by its name does no harm: the mapped one stays until it is closed.
    """

    path: Path
    inode: int
    size: int
    modified_ns: int

    @classmethod
    def of(cls, array: Array) -> Self | None:
        """Return the file of a mapped array; None for an array in memory or in an unnamed file."""
        name = getattr(array, "filename", None)
        if not isinstance(name, str | os.PathLike):
            return None
        path = Path(name)
        try:
            status = path.stat()
        except OSError:
            return None
        return cls(
            path=path,
            inode=status.st_ino,
            size=status.st_size,
            modified_ns=status.st_mtime_ns,
        )

    def check_unchanged(self) -> None:
        """Check that the file is what it was.

        Raises:
            InvalidInputError: It was written to.
        """
        try:
            status = self.path.stat()
        except OSError:
            return  # it has no name any more, and nobody can write to it by its name
        if status.st_ino != self.inode:
            return
        if (status.st_size, status.st_mtime_ns) != (self.size, self.modified_ns):
            raise InvalidInputError(
                f"{self.path}: the file was changed while it was read; run the command again, and "
                "leave the file as it is meanwhile"
            )
