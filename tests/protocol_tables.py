"""The tables of `ddlabel/recipes/PROTOCOLS.md`, made from the protocols' files.

`python tests/reference.py` writes the page; a test compares it (tests/guide/test_reference.py).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ddlabel.core import protocols
from ddlabel.core.protocols import Protocol

PAGE = Path(__file__).parent.parent / "ddlabel" / "recipes" / "PROTOCOLS.md"
HEAD = """\
# Protocols and their sources

This page has every value of every protocol, its place in the paper or in the public code, and what
is not as there. `python tests/reference.py` makes it from the files in `ddlabel/core/protocols/`:
do not edit it by hand. `tests/core/test_protocol_sources.py` holds the files against a table that
was written from the sources themselves.

"Depends on" names the conditions under which a value holds; a later row wins over an earlier one.
File names are those of the public code (read on 2026-11-21), and sections and tables are those of
the paper."""


def page() -> str:
    """Return the whole page."""
    read = [protocols.read(name) for name in protocols.names()]
    contents = " · ".join(f"[{each.name}](#{each.name})" for each in read)
    return "\n\n".join([HEAD, contents, *map(_section, read)]) + "\n"


def _section(protocol: Protocol) -> str:
    rows = []
    for name, value in protocol.options.items():
        rows.append((_flag(name), _code(value), "", protocol.sources[name]))
    for row in protocol.rows:
        for name, value in row.set.items():
            rows.append((_flag(name), _code(value), row.condition(), row.source))
    parts = [
        f"## {protocol.name}",
        f"Source: {protocol.source}. {protocol.note}",
        _table(("option", "value", "depends on", "source"), rows),
    ]
    if protocol.differences:
        differences = [
            (each.what, each.theirs, each.ours, each.why) for each in protocol.differences
        ]
        parts += ["Not as in the source:", _table(("what", "there", "here", "why"), differences)]
    return "\n\n".join(parts)


def _flag(name: str) -> str:
    return f"`--{name.replace('_', '-')}`"


def _code(value: Any) -> str:
    return f"`{value}`"


def _table(heads: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [heads, ("---",) * len(heads), *rows]
    return "\n".join(f"| {' | '.join(_cell(text) for text in line)} |" for line in lines)


def _cell(text: str) -> str:
    """Return a text that can stand in a cell: a bar would end it."""
    return text.replace("|", "\\|")
