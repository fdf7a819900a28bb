"""Headers with a right digest and without a meaning."""

from __future__ import annotations

import json

import pytest
from format_samples import assert_same, container, forge, small

from ddlabel.core.errors import (
    IncompatibleError,
    InvalidInputError,
)
from ddlabel.data import formats


def test_a_forged_header_without_a_change_is_accepted(parts):
    """The other tests of forged headers would prove nothing otherwise."""
    assert_same(formats.read(forge(*parts, len)), small())


@pytest.mark.parametrize("version", [0, 2, 99, "1", None, 1.5, [1]])
def test_another_format_version_is_incompatible(parts, version):
    with pytest.raises(IncompatibleError, match="format"):
        formats.read(forge(*parts, lambda body: body.update(format=version)))


ENTRY = {"command": "edit", "version": "1", "options": {}, "bundle": "", "inputs": []}
FORGED = {
    "no classes": lambda b: b.update(classes=[]),
    "a class twice": lambda b: b.update(classes=["cat", "cat"]),
    "a class more": lambda b: b.update(classes=["cat", "dog", "emu"]),
    "classes are null": lambda b: b.update(classes=None),
    "classes are missing": lambda b: b.pop("classes"),
    "an unknown part": lambda b: b.update(extra=1),
    "pixels are a list": lambda b: b.update(pixels=[]),
    "unknown pixel space": lambda b: b["pixels"].update(space="lab"),
    "pixels said to be unit": lambda b: b["pixels"].update(space="unit"),
    "no mean": lambda b: b["pixels"].update(mean=[]),
    "two means": lambda b: b["pixels"].update(mean=[0.5, 0.5]),
    "std 0": lambda b: b["pixels"].update(std=[0]),
    "std is text": lambda b: b["pixels"].update(std=["x"]),
    "std is a number in text": lambda b: b["pixels"].update(std=["0.25"]),
    "mean is a number and no list": lambda b: b["pixels"].update(mean=0.5),
    "mean is true": lambda b: b["pixels"].update(mean=[True]),
    "mean is a number that no float holds": lambda b: b["pixels"].update(mean=[10**400]),
    "temperature is a number in text": lambda b: b["soft"].update(temperature="2"),
    "source is a number": lambda b: b["soft"].update(source=1),
    "classes are numbers": lambda b: b.update(classes=[1, 2]),
    "classes are lists": lambda b: b.update(classes=[["cat"], ["dog"]]),
    "classes are one text": lambda b: b.update(classes="ab"),
    "shape of numbers in text": lambda b: b["arrays"]["images"].update(shape=["2", "1", "2", "2"]),
    "shape of fractions": lambda b: b["arrays"]["images"].update(shape=[2.0, 1.0, 2.0, 2.0]),
    "mean is the text nan": lambda b: b["pixels"].update(mean=["nan"]),
    "std is the text nan": lambda b: b["pixels"].update(std=["nan"]),
    "std is the text inf": lambda b: b["pixels"].update(std=["inf"]),
    "soft space unknown": lambda b: b["soft"].update(space="odds"),
    "soft space missing": lambda b: b.update(soft=None),
    "temperature 0": lambda b: b["soft"].update(temperature=0),
    "temperature -1": lambda b: b["soft"].update(temperature=-1),
    "temperature is the text nan": lambda b: b["soft"].update(temperature="nan"),
    "temperature is the text inf": lambda b: b["soft"].update(temperature="inf"),
    "arrays are a list": lambda b: b.update(arrays=[]),
    "arrays are missing": lambda b: b.update(arrays={}),
    "no images": lambda b: b["arrays"].pop("images"),
    "an unknown array": lambda b: b["arrays"].update(extra=b["arrays"]["images"]),
    "array is null": lambda b: b["arrays"].update(images=None),
    "images are objects": lambda b: b["arrays"]["images"].update(dtype="object"),
    "images have three axes": lambda b: b["arrays"]["images"].update(shape=[2, 2, 2]),
    "images have no rows": lambda b: b["arrays"]["images"].update(shape=[0, 1, 2, 2]),
    "negative shape": lambda b: b["arrays"]["images"].update(shape=[2, 1, -2, -2]),
    "images are of another shape": lambda b: b["arrays"]["images"].update(shape=[2, 1, 2, 3]),
    "another digest": lambda b: b["arrays"]["images"].update(sha256="0" * 64),
    "labels have a field more": lambda b: b["soft"].update(extra=1),
    "history is a number": lambda b: b.update(history=1),
    "history holds a number": lambda b: b.update(history=[1]),
    "history holds an empty object": lambda b: b.update(history=[{}]),
    "history holds a time": lambda b: b.update(history=[ENTRY | {"time": "today"}]),
    "history holds a version that is a number": lambda b: b.update(
        history=[ENTRY | {"version": 1}]
    ),
}


@pytest.mark.parametrize("change", FORGED)
def test_a_header_without_meaning_is_refused_whatever_its_digest(parts, change):
    with pytest.raises(InvalidInputError):
        formats.read(forge(*parts, FORGED[change]))


@pytest.mark.parametrize("entry", [ENTRY, ENTRY | {"facts": {"learned_lr": 0.1}}])
def test_a_history_is_accepted(parts, entry):
    """The entries of the forged headers above would prove nothing otherwise."""
    header = formats.read_header(forge(*parts, lambda body: body.update(history=[entry])))
    assert [found.facts for found in header.history] == [entry.get("facts", {})]


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace(",", ", ", 1),
        lambda text: text.replace('"format":1', '"format":2,"format":1'),
        lambda text: text.replace("cat", "\\u0063at"),
        lambda text: f"{text} ",
    ],
    ids=["a space", "a name twice", "an escape", "a space at the end"],
)
def test_a_header_that_is_not_canonical_is_refused_though_its_digest_is_right(parts, change):
    file, entries, data = parts
    text = entries["__metadata__"]["ddlabel"]
    assert change(text) != text
    entries["__metadata__"]["ddlabel"] = change(text)
    file.write_bytes(container(json.dumps(entries).encode(), data))
    with pytest.raises(InvalidInputError, match="canonical"):
        formats.read(str(file))


def nested(depth: int) -> list:
    value: list = []
    for _ in range(depth):
        value = [value]
    return value


def with_options(options):
    return lambda body: body["history"].append(ENTRY | {"options": options})


@pytest.mark.parametrize("depth", [40, 300, 900])
@pytest.mark.parametrize("read", [formats.read, formats.read_header])
def test_lists_in_one_another_are_refused_before_anything_copies_them(parts, depth, read):
    """Which depth Python can copy depends on how deep the caller stands."""
    with pytest.raises(InvalidInputError):
        read(forge(*parts, with_options({"x": nested(depth)})))


def test_options_may_hold_lists_of_lists(parts):
    options = {"x": [[1, 2], [3, 4]]}
    header = formats.read_header(forge(*parts, with_options(options)))
    assert header.history[-1].options == options
