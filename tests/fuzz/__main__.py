"""Fuzz the header parser: `python -m tests.fuzz -max_total_time=600`, with the extra `fuzz`.

All arguments are libFuzzer's. Inputs that reach new code are kept in `tests/fuzz/found`, which git
ignores; an input that fails is written to the current folder as `crash-*`.
"""

from __future__ import annotations

import sys
from pathlib import Path

import atheris

from tests.fuzz import json_mutator

HERE = Path(__file__).parent

with atheris.instrument_imports(include=["ddlabel"]):
    from tests.fuzz.header import check


def mutate(data: bytes, max_size: int, seed: int) -> bytes:
    """Return other bytes, of JSON mostly other JSON, which gets beyond the first check."""
    changed = json_mutator.change(data, seed) if seed % 3 else None
    if changed is None or len(changed) > max_size:
        return atheris.Mutate(data, max_size)
    return changed


def main() -> None:
    found = HERE / "found"
    found.mkdir(exist_ok=True)
    folders = [str(found), str(HERE / "corpus")]
    dictionary = f"-dict={HERE / 'header.dict'}"
    words = [sys.argv[0], dictionary, "-max_len=4096", *sys.argv[1:], *folders]
    atheris.Setup(words, check, custom_mutator=mutate)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
