"""TOML files: options of commands, and grids of sweeps."""

import tomllib
from pathlib import Path
from typing import Any

from ddlabel.core.errors import InvalidInputError, StorageError

_MAX_BYTES = 1 << 20


def read_toml(path: Path) -> dict[str, Any]:
    """Return the content of a TOML file.

    Raises:
        InvalidInputError: It is missing, larger than 1 MiB, or cannot be read as TOML.
        StorageError: The operating system refuses to read it.
    """
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
        raise InvalidInputError(f"{path}: cannot be read: {error.strerror}") from error
    except OSError as error:
        raise StorageError(f"cannot read {path}: {error.strerror or error}") from error
    if len(content) > _MAX_BYTES:
        raise InvalidInputError(f"{path}: it has more than {_MAX_BYTES} bytes: expected TOML")
    try:
        return tomllib.loads(content.decode())
    except (ValueError, RecursionError) as error:
        raise InvalidInputError(f"{path}: cannot be read as TOML: {error}") from error
