"""Where a bundle comes from: digests of contents, and the history that every command appends to."""

import hashlib
import json
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

_CHUNK_BYTES = 1 << 24


def canonical_json(value: Any) -> str:
    """The one JSON text of a value: keys sorted, no spaces, no NaN."""
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )


def sha256_of_text(text: str) -> str:
    """Hexadecimal sha256 of the UTF-8 text."""
    return hashlib.sha256(text.encode()).hexdigest()


def array_chunks(array: NDArray[Any]) -> Iterator[memoryview]:
    """The bytes of an array in C order, in chunks along the first axis: what a file holds and a digest covers."""
    rows = max(1, _CHUNK_BYTES // max(1, array[:1].nbytes))
    for start in range(0, len(array), rows):
        # A copy where the slice is not contiguous: its memory as it lies would be other numbers.
        yield np.ascontiguousarray(array[start : start + rows]).reshape(-1).view(np.uint8).data


def sha256_of_array(array: NDArray[Any]) -> str:
    """Hexadecimal sha256 of an array's bytes in C order."""
    digest = hashlib.sha256()
    for chunk in array_chunks(array):
        digest.update(chunk)
    return digest.hexdigest()


def sha256_of_file(path: Path) -> str:
    """Hexadecimal sha256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_of_path(path: Path) -> str:
    """Digest of a file, or of a folder: its relative names and their contents, sorted by name."""
    if path.is_file():
        return sha256_of_file(path)
    files = sorted(p for p in path.rglob("*") if p.is_file())
    return sha256_of_text(
        canonical_json([[p.relative_to(path).as_posix(), sha256_of_file(p)] for p in files])
    )


@dataclass(frozen=True, kw_only=True)
class Input:
    """Something that a command read besides the bundle it passes on: a name without folders, and its content."""

    role: str
    name: str
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One command of a bundle's history: enough to run it again.

    `bundle` is the digest of the bundle that the command read, empty where it read none. Paths of bundles are left
    out on purpose: a pipe and a file give the same bytes.
    """

    command: str
    version: str
    options: dict[str, Any] = field(default_factory=dict)
    bundle: str = ""
    inputs: tuple[Input, ...] = ()

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Self:
        """The entry of a header; TypeError or KeyError if the value has another form."""
        inputs = tuple(
            Input(**{key: str(text) for key, text in item.items()}) for item in value["inputs"]
        )
        texts = {key: str(value[key]) for key in ("command", "version", "bundle")}
        return cls(**texts, options=dict(value["options"]), inputs=inputs)


def shell_lines(history: Sequence[Entry]) -> list[str]:
    """The pipeline that would make a bundle again, one command a line; inputs stand under their bare names."""
    lines = []
    for entry in history:
        words = ["ddlabel", entry.command, *(i.name for i in entry.inputs if i.role == "source")]
        words += ["-", "-"] if entry.bundle else ["-"]
        named = [(i.role, i.name) for i in entry.inputs if i.role != "source"]
        for key, value in [*named, *entry.options.items()]:
            flag = f"--{key.replace('_', '-')}"
            for each in value if isinstance(value, list | tuple) else [value]:
                if each is not None and each is not False:
                    words += [flag] if each is True else [flag, str(each)]
        lines.append(" ".join(map(shlex.quote, words)))
    return lines
