"""Evaluation protocols of the papers: one TOML file each, which presets options of one command."""

import tomllib
from pathlib import Path
from typing import Any

from ddlabel.core.errors import UsageError
from ddlabel.core.registry import nearest

_FOLDER = Path(__file__).parent


def names() -> list[str]:
    """All protocols."""
    return sorted(path.stem for path in _FOLDER.glob("*.toml"))


def read(name: str) -> dict[str, Any]:
    """A protocol's file: `source`, `note`, the options in the command's table, and those of single networks in `net`.

    UsageError if there is none of that name.
    """
    if name not in names():
        raise UsageError(f"unknown protocol {name!r}: {nearest(name, names())}")
    return tomllib.loads((_FOLDER / f"{name}.toml").read_text(encoding="utf-8"))


def preset(name: str | None, net: str | None, command: str = "evaluate") -> dict[str, Any]:
    """What a protocol sets for a network spec (None: the protocol's own); nothing without a protocol.

    UsageError for a protocol of another command.
    """
    if name is None:
        return {}
    content = read(name)
    if command not in content:
        raise UsageError(
            f"protocol {name!r} is not for {command}: choose one that is ('ddlabel list protocols')"
        )
    options = {key.replace("-", "_"): value for key, value in content[command].items()}
    own = content.get("net", {}).get((net or options.get("net", "")).partition(":")[0], {})
    return options | {key.replace("-", "_"): value for key, value in own.items()}
