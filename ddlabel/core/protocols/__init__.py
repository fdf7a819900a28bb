"""Evaluation protocols of papers: each TOML file presets the options of one command."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ddlabel.core.errors import UsageError
from ddlabel.core.protocols.facts import DATASETS, Facts
from ddlabel.core.protocols.protocol import Options, Protocol
from ddlabel.core.registry import nearest

__all__ = ["DATASETS", "Facts", "Protocol", "names", "preset", "read"]

_FOLDER = Path(__file__).parent


def names() -> list[str]:
    """Return the names of all protocols, sorted."""
    return sorted(path.stem for path in _FOLDER.glob("*.toml"))


def read(name: str) -> Protocol:
    """Return a protocol.

    Raises:
        UsageError: There is no protocol of that name.
    """
    if name not in names():
        raise UsageError(f"unknown protocol {name!r}: {nearest(name, names())}")
    content = tomllib.loads((_FOLDER / f"{name}.toml").read_text(encoding="utf-8"))
    return Protocol.from_toml(name, content)


def preset(
    name: str | None,
    command: str = "evaluate",
    *,
    facts: Facts | None = None,
    given: Mapping[str, Any] | None = None,
) -> Options:
    """Return the options of `command` that a protocol presets; without `name` there are none.

    Rows need `facts` and the options that are `given`; without facts they are left out.

    Raises:
        UsageError: There is no protocol of that name, it is for another command, or it has no row
            for the facts.
    """
    if name is None:
        return {}
    protocol = read(name)
    if command != protocol.command:
        raise UsageError(
            f"protocol {name!r} is not for {command}: choose one that is ('ddlabel list protocols')"
        )
    if facts is None:
        return dict(protocol.options)
    return protocol.preset(facts, given or {})
