"""The table of refusals, `tests/cli/refusals.toml`: how it is read and written."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

TABLE = Path(__file__).parent / "cli" / "refusals.toml"
HEADER = """\
# Every refusal of the command line: what was called, the exit code, and the exact message.
# Rows of one command stand together. `files` are written before the call, `stdin` is piped in,
# `leaves` is what may stay behind; all other files are made by tests/refusal_files.py.
# After a change of messages: pytest -n 0 tests/cli/test_refusals.py --update-refusals
"""


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """A command line that is refused, and how."""

    command: str
    name: str
    words: str
    code: int
    message: str
    stdin: str = ""
    leaves: str = ""
    files: dict[str, str] = field(default_factory=dict)

    @property
    def id(self) -> str:
        return f"{self.command}: {self.name}"


def read() -> list[Refusal]:
    """Return the rows of the table."""
    content = tomllib.loads(TABLE.read_text(encoding="utf-8"))
    rows = []
    for command, group in content.items():
        rows += [Refusal(command=command, **row) for row in group]
    return rows


def write(rows: Iterable[Refusal]) -> None:
    """Write the table; rows of one command must stand together."""
    parts = [HEADER]
    for command, group in groupby(rows, key=lambda row: row.command):
        parts += [_row_text(command, row) for row in group]
    TABLE.write_text("\n".join(parts), encoding="utf-8")


def _row_text(command: str, row: Refusal) -> str:
    lines = [f"[[{command}]]"]
    lines += [f"{name} = {_text(getattr(row, name))}" for name in ("name", "words")]
    if row.stdin:
        lines.append(f"stdin = {_text(row.stdin)}")
    lines += [f"code = {row.code}", f"message = {_text(row.message)}"]
    if row.leaves:
        lines.append(f"leaves = {_text(row.leaves)}")
    if row.files:
        lines.append(f"[{command}.files]")
        for name, content in row.files.items():
            lines.append(f"{_text(name)} = '''\n{content}'''")
    return "\n".join(lines) + "\n"


def _text(value: Any) -> str:
    """Return a text as TOML, which has JSON's escapes."""
    return json.dumps(value, ensure_ascii=False)
