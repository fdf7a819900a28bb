"""Configuration files: TOML with options at the top level and in a table for each command."""

from collections.abc import Collection
from pathlib import Path
from typing import Any

from ddlabel.core.errors import UsageError
from ddlabel.core.registry import nearest
from ddlabel.core.toml_file import read_toml
from ddlabel.core.values import as_option_type

# A file for the options of each command. `import` is no name for a module of Python.
_CONFIGS = Path(__file__).parent / "config"
_NOT_COMMANDS = ("__init__", "shared")


def commands() -> list[str]:
    """Return the commands that have options: the names of the tables of a configuration file."""
    names = [path.stem for path in _CONFIGS.glob("*.py") if path.stem not in _NOT_COMMANDS]
    return sorted(name.removesuffix("_images").replace("_", "-") for name in names)


def read_options(
    path: Path, command: str, hints: dict[str, Any], several: Collection[str]
) -> dict[str, Any]:
    """Return the options of the table [command] of a TOML file over those of its top level.

    Args:
        path: The file.
        command: The command whose table is read.
        hints: The types of the options, by name; no other names may occur.
        several: Names of the options that may be a list of values.

    Raises:
        InvalidInputError: The file is missing, or cannot be read as TOML.
        StorageError: The operating system refuses to read it.
        UsageError: A table is not a command's, an option is unknown, or its type is wrong.
    """
    values = _read_table(path, command)
    options = {}
    for name, value in values.items():
        if name not in hints:
            hint = nearest(name, hints)
            raise UsageError(f"{path}: unknown option {name!r} for {command}: {hint}")
        options[name] = as_option_type(
            value, hints[name], f"{path}: {name}", is_list=name in several
        )
    return options


def _read_table(path: Path, command: str) -> dict[str, Any]:
    content = read_toml(path)
    top_level = {}
    for name, value in content.items():
        if not isinstance(value, dict):
            top_level[name] = value
        elif name not in commands():
            hint = nearest(name, commands())
            raise UsageError(f"{path}: there is no command for the table [{name}]: {hint}")
    options = top_level | content.get(command, {})
    return {name.replace("-", "_"): value for name, value in options.items()}
