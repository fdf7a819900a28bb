"""Hostile safetensors containers."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import pytest
import safetensors
import safetensors.numpy
from format_samples import container, forge

from ddlabel.core.errors import (
    InvalidInputError,
)
from ddlabel.data import formats


def refuse(name: Path, content: bytes) -> None:
    name.write_bytes(content)
    for read in (formats.read_header, formats.read):
        with pytest.raises(InvalidInputError):
            read(str(name))


def test_safetensors_of_someone_else_is_refused(tmp_path):
    safetensors.numpy.save_file(
        {"images": np.zeros((2, 1, 2, 2), np.uint8)}, tmp_path / "x.safetensors"
    )
    with pytest.raises(InvalidInputError, match=r"x\.safetensors"):
        formats.read(str(tmp_path / "x.safetensors"))


@pytest.mark.parametrize("name", ["images", "__metadata__"])
def test_a_name_that_stands_twice_is_refused(parts, name):
    file, entries, data = parts
    text = json.dumps(entries)
    twice = f'{text[:-1]}, "{name}": {json.dumps(entries[name])}}}'
    assert json.loads(twice) == entries  # Python's reader sees nothing wrong
    refuse(file, container(twice.encode(), data))


@pytest.mark.parametrize("length", [2**20 + 1, 2**31, 2**63, 2**64 - 1])
def test_a_huge_header_length_is_refused_at_once(tmp_path, length):
    name = tmp_path / "x.safetensors"
    begin = time.monotonic()
    with name.open("wb") as file:
        file.write(length.to_bytes(8, "little") + b'{"a":1}')
        file.truncate(2**21)  # a hole: as much as the smallest of these lengths declares
    for read in (formats.read_header, formats.read):
        with pytest.raises(InvalidInputError):
            read(str(name))
    assert time.monotonic() - begin < 2


TEXTS = {
    "list": b"[]",
    "number": b"1",
    "null": b"null",
    "deep": b"[" * 200_000,
    "deep objects": b'{"a":' * 100_000,
    "NaN": b'{"__metadata__":{"ddlabel":NaN}}',
    "not utf-8": b'{"\xff":1}',
    "metadata is a number": b'{"__metadata__":1}',
    "metadata is null": b'{"__metadata__":null}',
    "header is a list": b'{"__metadata__":{"ddlabel":[]}}',
    "header is text": b'{"__metadata__":{"ddlabel":"x"}}',
    "header is a number in text": b'{"__metadata__":{"ddlabel":"1"}}',
    "header is deep": b'{"__metadata__":{"ddlabel":"' + b"[" * 100_000 + b'"}}',
    "a number of 5,000 digits": b'{"__metadata__":{"ddlabel":"{\\"digest\\":'
    + b"9" * 5000
    + b'}"}}',
}


@pytest.mark.parametrize("text", TEXTS)
def test_a_header_of_another_form_is_refused(tmp_path, text):
    refuse(tmp_path / "x.safetensors", container(TEXTS[text]))


OFFSETS = [
    "[0, 1]",
    "[]",
    "null",
    '"x"',
    "[1e999, 1]",
    "[NaN, 1]",
    "[-8, 0]",
    "[[], 0]",
    "{}",
    "[9999999999999999, 0]",
]


@pytest.mark.parametrize("offsets", OFFSETS)
def test_offsets_that_do_not_follow_from_the_header_are_refused(parts, offsets):
    file, entries, data = parts
    entries["images"]["data_offsets"] = "HERE"
    refuse(file, container(json.dumps(entries).replace('"HERE"', offsets).encode(), data))


@pytest.mark.parametrize("entry", ["null", "1", "[]", '"x"', "{}"])
def test_an_entry_of_another_form_is_refused(parts, entry):
    file, entries, data = parts
    refuse(file, container(json.dumps(entries | {"images": json.loads(entry)}).encode(), data))


def test_an_array_more_or_less_than_declared_is_refused(parts):
    file, entries, data = parts
    less = {name: entry for name, entry in entries.items() if name != "images"}
    refuse(file, container(json.dumps(less).encode(), data))
    empty = {"dtype": "U8", "shape": [0], "data_offsets": [len(data), len(data)]}
    refuse(file, container(json.dumps(entries | {"../../x": empty}).encode(), data))


@pytest.mark.parametrize("side", [2**31, 2**32, 10**30])
def test_a_shape_whose_size_overflows_is_refused(parts, side):
    """2³² × 2³² pixels are 0 bytes, to anyone who counts in 64 bits."""
    file, entries, data = parts
    size = (2 * side * side) % 2**64
    images = entries["images"]
    begin = images["data_offsets"][0]
    entries["images"] = images | {
        "shape": [2, 1, side, side],
        "data_offsets": [begin, begin + size],
    }
    name = forge(
        file,
        entries,
        data[:begin],
        lambda b: b["arrays"]["images"].update(shape=[2, 1, side, side]),
    )
    for read in (formats.read_header, formats.read):
        with pytest.raises(InvalidInputError):
            read(name)
