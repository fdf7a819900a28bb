"""Bundles as safetensors files: written as a stream, read by mapping.

The container is eight bytes of header length, a JSON header, and the arrays one after another. It
is read and written here without the library, which copies every array through memory and does not
check the container as `locate` does.
"""

import io
import itertools
import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from ddlabel.core.errors import InvalidInputError
from ddlabel.data.atomic import Chunk, Head
from ddlabel.data.bundle import Bundle
from ddlabel.data.provenance import array_chunks, canonical_json, parse_json
from ddlabel.data.schema import MAX_BYTES, Header, check_length, require

SUFFIXES = (".safetensors",)
_DTYPES = {"uint8": "U8", "uint16": "U16", "float16": "F16", "float32": "F32", "int64": "I64"}


_LENGTH_BYTES = 8


def write(bundle: Bundle, header: Callable[[], Header]) -> tuple[Head, Iterable[Chunk], int]:
    """Return the head, the bytes after it in chunks, and the number of bytes of both.

    Raises:
        InvalidInputError: The header is too long.
    """
    # All digests have one length, so the length of the head is known before the digests are.
    blank = bundle.header(digests=False)
    entries, data_size = _layout(blank)
    head_length = len(_head(entries, blank))
    head = Head(head_length, lambda: _head(entries, header()))
    chunks = itertools.chain.from_iterable(array_chunks(bundle.arrays[name]) for name in entries)
    return head, chunks, head_length + data_size


def _head(entries: dict[str, Any], header: Header) -> bytes:
    """Return the length and the text of the container's header, padded to a multiple of 8 bytes."""
    content = canonical_json(entries | {"__metadata__": {"ddlabel": header.to_json()}}).encode()
    padding = -len(content) % 8
    text = content + b" " * padding
    check_length(len(text))
    return len(text).to_bytes(_LENGTH_BYTES, "little") + text


def locate(path: Path) -> tuple[Header, dict[str, int]]:
    """Return the header and the byte offset of each array.

    The container must declare just the arrays that the header declares.

    Raises:
        InvalidInputError: The file is foreign, cut off or damaged.
        IncompatibleError: It is of another format version.
    """
    with path.open("rb") as file:
        file_size = file.seek(0, io.SEEK_END)
        file.seek(0)
        text = _read_head(file)
    header, entries = _parse_head(text)
    begin = _LENGTH_BYTES + len(text)
    _, data_size = _layout(header)
    declared = begin + data_size
    require(
        declared == file_size,
        f"it has {file_size} bytes and its header declares {declared}: cut off or damaged",
    )
    return header, {name: begin + entry["data_offsets"][0] for name, entry in entries.items()}


def declared_size(file: BinaryIO) -> int:
    """Return the size that the head of a file declares for all of it.

    Raises:
        InvalidInputError: The file is foreign, cut off or damaged.
        IncompatibleError: It is of another format version.
    """
    text = _read_head(file)
    header, _ = _parse_head(text)
    _, data_size = _layout(header)
    return _LENGTH_BYTES + len(text) + data_size


def _read_head(file: BinaryIO) -> bytes:
    """Return the text of the container's header."""
    start = file.read(_LENGTH_BYTES)
    length = int.from_bytes(start, "little")
    text = file.read(length) if length <= MAX_BYTES else b""
    is_whole = len(start) == _LENGTH_BYTES and len(text) == length
    require(is_whole, "not a safetensors file, or cut off in its header")
    return text


def _parse_head(text: bytes) -> tuple[Header, dict[str, Any]]:
    """Return the header of a bundle, and the container's entries, which must say the same."""
    try:
        entries = parse_json(text)
        header_text = entries.pop("__metadata__")["ddlabel"]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise InvalidInputError(
            "a safetensors file, but not a bundle: it has no 'ddlabel' header; make one with "
            "'ddlabel import'"
        ) from None
    header = Header.from_json(header_text)
    expected, _ = _layout(header)
    require(
        entries == expected,
        "the container's arrays are not those that the header declares, one after another",
    )
    return header, expected


def _layout(header: Header) -> tuple[dict[str, Any], int]:
    """Return the container's entry of each array in the order of the data, and the data's size."""

    def wide_types_first(name: str) -> tuple[int, str]:
        # This keeps every array aligned, as the library does it.
        return -np.dtype(header.arrays[name].dtype).itemsize, name

    entries = {}
    end = 0
    for name in sorted(header.arrays, key=wide_types_first):
        info = header.arrays[name]
        begin = end
        end = begin + math.prod(info.shape) * np.dtype(info.dtype).itemsize
        entries[name] = {
            "dtype": _DTYPES[info.dtype],
            "shape": list(info.shape),
            "data_offsets": [begin, end],
        }
    return entries, end
