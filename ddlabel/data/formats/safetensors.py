"""Bundles as safetensors files: written as a stream, read by mapping.

The container is eight bytes of header length, a JSON header, and the arrays one after another. Our own reading and
writing of it is short; the library would copy every array through memory and does not check what we check.
"""

import itertools
import json
import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from ddlabel.core.errors import InvalidInputError
from ddlabel.data.atomic import Head
from ddlabel.data.bundle import Bundle
from ddlabel.data.provenance import array_chunks, canonical_json
from ddlabel.data.schema import MAX_BYTES, Header, check_length, require

SUFFIXES = (".safetensors",)
_DTYPES = {"uint8": "U8", "uint16": "U16", "float16": "F16", "float32": "F32", "int64": "I64"}


def write(
    bundle: Bundle, header: Callable[[], Header]
) -> tuple[Head, Iterable[bytes | memoryview], int]:
    """The file's head, the bytes after it in chunks, and how many there are of both."""
    blank = bundle.header(digests=False)
    entries, size = _layout(blank)

    def text(of: Header) -> bytes:
        content = canonical_json(entries | {"__metadata__": {"ddlabel": of.to_json()}}).encode()
        content += b" " * (-len(content) % 8)
        check_length(len(content))
        return len(content).to_bytes(8, "little") + content

    # Digests are all of one length: how long the head is, is known before they are.
    length = len(text(blank))
    data = itertools.chain.from_iterable(array_chunks(bundle.arrays[name]) for name in entries)
    return (length, lambda: text(header())), data, length + size


def locate(path: Path) -> tuple[Header, dict[str, int]]:
    """The header, and at which byte each array begins; the container must declare just what the header does."""
    with path.open("rb") as file:
        total = file.seek(0, 2)
        file.seek(0)
        length = int.from_bytes(file.read(8), "little")
        require(
            length <= min(MAX_BYTES, total - 8), "not a safetensors file, or cut off in its header"
        )
        text = file.read(length)
    try:
        entries = json.loads(text, object_pairs_hook=_unique)
        header_text = entries.pop("__metadata__")["ddlabel"]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        message = "a safetensors file, but not a bundle: it has no 'ddlabel' header; make one with 'ddlabel import'"
        raise InvalidInputError(message) from None
    header = Header.from_json(header_text)
    expected, size = _layout(header)
    require(
        entries == expected,
        "the container's arrays are not those that the header declares, one after another",
    )
    begin = 8 + length
    require(
        begin + size == total,
        f"it has {total} bytes and its header declares {begin + size}: cut off or damaged",
    )
    return header, {name: begin + entry["data_offsets"][0] for name, entry in expected.items()}


def _layout(header: Header) -> tuple[dict[str, Any], int]:
    """The container's entry for each array, in the order of the data, and how many bytes these are."""
    entries, end = {}, 0
    # Wide types first keeps every array aligned, as the library does it.
    for name, info in sorted(
        header.arrays.items(), key=lambda item: (-np.dtype(item[1].dtype).itemsize, item[0])
    ):
        begin, end = end, end + math.prod(info.shape) * np.dtype(info.dtype).itemsize
        entries[name] = {
            "dtype": _DTYPES[info.dtype],
            "shape": list(info.shape),
            "data_offsets": [begin, end],
        }
    return entries, end


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """JSON objects with a name twice are refused: which of the two counts differs between readers."""
    if len(dict(pairs)) != len(pairs):
        raise ValueError("a name stands twice")
    return dict(pairs)
