"""Bundles as safetensors files: written as a stream, read by mapping.

The container is eight bytes of header length, a JSON header, and the arrays one after another. Our own reading and
writing of it is short; the library would copy every array through memory and does not check what we check.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ddlabel.bundle import Bundle
from ddlabel.errors import InvalidInputError
from ddlabel.header import MAX_BYTES, Header, check_length
from ddlabel.provenance import array_chunks, canonical_json

SUFFIXES = (".safetensors",)
METADATA_KEY = "ddlabel"
_NAMES = {"uint8": "U8", "float16": "F16", "float32": "F32", "int64": "I64"}


def write(bundle: Bundle, header: Header) -> tuple[Iterator[bytes | memoryview], int]:
    """The file's bytes in chunks, and how many there are."""
    # Wide types first keeps every array aligned, as the library does it.
    order = sorted(bundle.arrays, key=lambda name: (-bundle.arrays[name].itemsize, name))
    offsets = list(itertools.accumulate((bundle.arrays[name].nbytes for name in order), initial=0))
    entries: dict[str, Any] = {"__metadata__": {METADATA_KEY: header.to_json()}}
    for name, begin, end in zip(order, offsets[:-1], offsets[1:], strict=True):
        array = bundle.arrays[name]
        entries[name] = {
            "dtype": _NAMES[array.dtype.name],
            "shape": list(array.shape),
            "data_offsets": [begin, end],
        }
    text = canonical_json(entries).encode()
    text += b" " * (-len(text) % 8)
    check_length(len(text))
    head = len(text).to_bytes(8, "little") + text
    data = itertools.chain.from_iterable(array_chunks(bundle.arrays[name]) for name in order)
    return itertools.chain([head], data), len(head) + offsets[-1]


def locate(path: Path) -> tuple[Header, dict[str, int]]:
    """The header, and at which byte each array begins; the container must declare just what the header does.

    Raises:
        InvalidInputError: if the file is foreign, truncated or damaged.
    """
    with path.open("rb") as file:
        file.seek(0, 2)
        total = file.tell()
        file.seek(0)
        length = int.from_bytes(file.read(8), "little")
        if total < 8 or length > min(MAX_BYTES, total - 8):
            raise InvalidInputError("not a safetensors file, or cut off in its header")
        text = file.read(length)
    try:
        entries = json.loads(text, object_pairs_hook=_unique)
        header_text = entries.pop("__metadata__")[METADATA_KEY]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        message = "a safetensors file, but not a bundle: it has no 'ddlabel' header; make one with 'ddlabel import'"
        raise InvalidInputError(message) from None
    header = Header.from_json(header_text)
    offsets = {}
    position = 0
    for name, entry in sorted(entries.items(), key=_begin):
        info = header.arrays.get(name)
        size = math.prod(info.shape) * np.dtype(info.dtype).itemsize if info else 0
        if not info or entry != {
            "dtype": _NAMES[info.dtype],
            "shape": list(info.shape),
            "data_offsets": [position, position + size],
        }:
            raise InvalidInputError(f"the container's entry for {name!r} is not the one that the header declares")
        offsets[name] = 8 + length + position
        position += size
    if set(offsets) != set(header.arrays) or 8 + length + position != total:
        expected = 8 + length + position
        raise InvalidInputError(
            f"the file has {total} bytes and its header declares {expected}: it is cut off or damaged"
        )
    return header, offsets


def _begin(item: tuple[str, Any]) -> int:
    try:
        return int(item[1]["data_offsets"][0])
    except (KeyError, TypeError, ValueError, IndexError, OverflowError):
        raise InvalidInputError(f"the container's entry for {item[0]!r} cannot be read") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """JSON objects with a name twice are refused: which of the two counts differs between readers."""
    if len(dict(pairs)) != len(pairs):
        raise ValueError("a name stands twice")
    return dict(pairs)
