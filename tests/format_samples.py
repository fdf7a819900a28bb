"""A small bundle with every array, and its container as an attacker would write it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
from samples import bundle_of

from ddlabel.data.bundle import Bundle
from ddlabel.data.schema import LabelMeta, Pixels

SUFFIXES = (".safetensors", ".h5")


def small(**changes) -> Bundle:
    """Two 2 × 2 grey images of two classes with every array a bundle can have."""
    arrays = {
        "images": np.arange(8, dtype=np.uint8).reshape(2, 1, 2, 2),
        "hard_labels": np.array([0, 1]),
        "source_index": np.array([7, 9]),
        "soft_labels": np.array([[0.25, 0.75], [1, 0]], np.float32),
        "soft": LabelMeta(space="probs", temperature=2.0, source="experts"),
        "dense_labels": np.array([[[1, -2]], [[3, 4]]], np.float32),
        "dense_boxes": np.array([[0, 0, 0.5, 1]], np.float32),
        "dense": LabelMeta(space="logits"),
    }
    pixels = Pixels(space="uint8", mean=(0.5,), std=(0.25,))
    return bundle_of(**{"classes": ("cat", "dog"), "pixels": pixels} | arrays | changes)


def assert_same(left: Bundle, right: Bundle) -> None:
    assert left.arrays.keys() == right.arrays.keys()
    for name, array in left.arrays.items():
        other = right.arrays[name]
        assert (array.dtype, array.shape) == (other.dtype, other.shape)
        # Bytes and not values, so that -0.0 and 0.0 differ.
        assert np.ascontiguousarray(array).tobytes() == np.ascontiguousarray(other).tobytes(), name
    assert (left.classes, left.pixels, left.history) == (right.classes, right.pixels, right.history)
    for field in ("soft", "dense"):
        assert getattr(left.header(), field) == getattr(right.header(), field)


def container(text: bytes, data: bytes = b"") -> bytes:
    return len(text).to_bytes(8, "little") + text + data


def split(content: bytes) -> tuple[dict, bytes]:
    length = int.from_bytes(content[:8], "little")
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def forge(file: Path, entries: dict, data: bytes, change) -> str:
    """The file with another header under a digest that is right, as an attacker would write it."""
    body = json.loads(entries["__metadata__"]["ddlabel"])
    del body["digest"]
    change(body)
    canonical = {"sort_keys": True, "separators": (",", ":"), "ensure_ascii": False}
    digest = hashlib.sha256(json.dumps(body, **canonical).encode()).hexdigest()
    entries["__metadata__"]["ddlabel"] = json.dumps(body | {"digest": digest}, **canonical)
    file.write_bytes(container(json.dumps(entries, ensure_ascii=False).encode(), data))
    return str(file)
