"""Evaluation protocols of papers: each TOML file presets the options of one command."""

import tomllib
from pathlib import Path
from typing import Any

from ddlabel.core.errors import UsageError
from ddlabel.core.registry import nearest

_FOLDER = Path(__file__).parent


def names() -> list[str]:
    """Return the names of all protocols, sorted."""
    return sorted(path.stem for path in _FOLDER.glob("*.toml"))


def read(name: str) -> dict[str, Any]:
    """Return the content of a protocol's file.

    It has the texts `source` and `note`, a table of options named after the command, and
    optionally a table `net` with the options of single networks.

    Raises:
        UsageError: There is no protocol of that name.
    """
    if name not in names():
        raise UsageError(f"unknown protocol {name!r}: {nearest(name, names())}")
    return tomllib.loads((_FOLDER / f"{name}.toml").read_text(encoding="utf-8"))


def preset(name: str | None, net: str | None, command: str = "evaluate") -> dict[str, Any]:
    """Return the options of `command` that a protocol presets for the network spec `net`.

    Without `net` they are those for the protocol's own network; without `name` there are none.

    Raises:
        UsageError: There is no protocol of that name, or it is for another command.
    """
    if name is None:
        return {}
    content = read(name)
    if command not in content:
        raise UsageError(
            f"protocol {name!r} is not for {command}: choose one that is ('ddlabel list protocols')"
        )
    options = _with_underscores(content[command])
    spec = net or options.get("net", "")
    network = spec.partition(":")[0]
    of_network = content.get("net", {}).get(network, {})
    return options | _with_underscores(of_network)


def _with_underscores(options: dict[str, Any]) -> dict[str, Any]:
    return {name.replace("-", "_"): value for name, value in options.items()}
