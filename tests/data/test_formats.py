"""Both formats: round trips, independent readers, damage, hostile files, meaning, and the writer under them."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import stat
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import safetensors
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from samples import bundle_of

from ddlabel.core.errors import (
    DDLabelError,
    IncompatibleError,
    InvalidInputError,
    StorageError,
    UnsafeInputError,
    UsageError,
)
from ddlabel.data import atomic, formats
from ddlabel.data.bundle import Bundle
from ddlabel.data.provenance import Entry, Input
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


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("formats")


@pytest.fixture(params=SUFFIXES)
def suffix(request) -> str:
    return request.param


@pytest.fixture
def path(tmp_path, suffix) -> str:
    """A bundle file of each format."""
    name = str(tmp_path / f"bundle{suffix}")
    formats.write(name, small())
    return name


# Round trips

names = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
json_values = (
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, width=32)
    | names
)
entries = st.builds(
    Entry,
    command=names,
    version=names,
    options=st.dictionaries(
        names, json_values.filter(lambda x: x not in (float("inf"), float("-inf"))), max_size=3
    ),
    bundle=names,
    inputs=st.lists(st.builds(Input, role=names, name=names, sha256=names), max_size=2).map(tuple),
)


def labels(draw, dtype, shape, space):
    """Random labels that are what their space says."""
    if space == "logits":
        return draw(hnp.arrays(dtype, shape, elements=st.floats(-100, 100, width=16)))
    values = draw(hnp.arrays(np.float64, shape, elements=st.floats(1 / 64, 1)))
    return (values / values.sum(-1, keepdims=True)).astype(dtype)


@st.composite
def bundles(draw) -> Bundle:
    n, c, h, w, k, v = (draw(st.integers(1, high)) for high in (5, 3, 4, 4, 4, 3))
    dtype = draw(st.sampled_from([np.uint8, np.float16, np.float32]))
    floats = st.sampled_from([np.float16, np.float32])
    spaces = st.sampled_from(["logits", "probs", "direction"])
    make_space = st.builds(LabelMeta, space=spaces, temperature=st.floats(0.125, 64), source=names)
    pixel = st.integers(0, 255) if dtype == np.uint8 else st.floats(-2, 3, width=16)
    values = {}
    if draw(st.booleans()):
        values["soft"] = draw(make_space)
        values["soft_labels"] = labels(draw, draw(floats), (n, k), values["soft"].space)
    if draw(st.booleans()):
        values["dense"] = draw(make_space)
        values["dense_labels"] = labels(draw, draw(floats), (n, v, k), values["dense"].space)
        values["dense_boxes"] = np.tile(np.array([0.125, 0.25, 0.5, 1], np.float32), (v, 1))
    if draw(st.booleans()):
        values["source_index"] = draw(hnp.arrays(np.int64, n, elements=st.integers(0, 2**62)))
    return bundle_of(
        classes=tuple(draw(st.lists(names, min_size=k, max_size=k, unique=True))),
        pixels=Pixels(
            space="uint8" if dtype == np.uint8 else "unit",
            mean=tuple(draw(st.lists(st.floats(-1, 1), min_size=c, max_size=c))),
            std=tuple(draw(st.lists(st.floats(1e-3, 2), min_size=c, max_size=c))),
        ),
        images=draw(hnp.arrays(dtype, (n, c, h, w), elements=pixel)),
        hard_labels=draw(hnp.arrays(np.int64, n, elements=st.integers(0, k - 1))),
        history=tuple(draw(st.lists(entries, max_size=2))),
        **values,
    )


@settings(deadline=None, max_examples=40)
@given(bundle=bundles())
def test_what_is_written_is_read_back_and_the_same_bytes_come_twice(folder, bundle):
    for suffix in SUFFIXES:
        one, two = (str(folder / f"{name}{suffix}") for name in ("one", "two"))
        header = formats.write(one, bundle)
        again, read = formats.load(one)
        assert_same(bundle, again)
        assert read == header == formats.read_header(one)
        assert read.digest == bundle.header().digest
        formats.write(two, again)
        assert Path(one).read_bytes() == Path(two).read_bytes()


@settings(deadline=None, max_examples=20)
@given(bundle=bundles())
def test_files_are_read_by_the_libraries_that_others_use(folder, bundle):
    formats.write(str(folder / "x.safetensors"), bundle)
    formats.write(str(folder / "x.h5"), bundle)
    with safetensors.safe_open(folder / "x.safetensors", "numpy") as file:
        assert file.metadata() == {"ddlabel": bundle.header().to_json()}
    with h5py.File(folder / "x.h5") as file:
        assert file.attrs["ddlabel"].decode() == bundle.header().to_json()
        h5 = {name: dataset[()] for name, dataset in file.items()}
    for found in (safetensors.numpy.load_file(folder / "x.safetensors"), h5):
        assert found.keys() == bundle.arrays.keys()
        for name, array in bundle.arrays.items():
            assert found[name].dtype == array.dtype
            np.testing.assert_array_equal(found[name], array)


def test_header_holds_the_sha256_of_each_arrays_bytes(path):
    header = formats.read_header(path)
    for name, array in small().arrays.items():
        assert header.arrays[name].sha256 == hashlib.sha256(array.tobytes()).hexdigest()


def test_bytes_do_not_depend_on_the_process(tmp_path, path, suffix):
    other = tmp_path / f"other{suffix}"
    program = "import sys; from ddlabel.data import formats as f; f.write(sys.argv[2], f.read(sys.argv[1]))"
    environment = os.environ | {"PYTHONHASHSEED": "7", "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "-c", program, path, str(other)], check=True, env=environment)
    assert other.read_bytes() == Path(path).read_bytes()


LAYOUTS = {
    "transposed": lambda x: x.transpose(0, 3, 1, 2),
    "fortran": lambda x: np.asfortranarray(x.transpose(0, 3, 1, 2)),
    "mirrored": lambda x: x.transpose(0, 3, 1, 2)[:, :, :, ::-1],
    "every second": lambda x: np.repeat(x.transpose(0, 3, 1, 2), 2, 0)[::2],
    "broadcast": lambda x: np.broadcast_to(x[:1, :, :, :1].transpose(0, 3, 1, 2), (4, 3, 5, 6)),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_arrays_that_are_not_contiguous_are_written_by_value(tmp_path, suffix, layout):
    images = LAYOUTS[layout](np.random.default_rng(1).normal(size=(4, 5, 6, 3)).astype(np.float32))
    assert not images.flags.c_contiguous
    pixels = Pixels(space="unit", mean=(0.5,) * 3, std=(0.25,) * 3)
    name = str(tmp_path / f"x{suffix}")
    formats.write(
        name,
        Bundle(classes=("a",), pixels=pixels, images=images, hard_labels=np.zeros(4, np.int64)),
    )
    assert formats.read(name).images.tolist() == images.tolist()


@pytest.mark.parametrize("name", ["hard_labels", "soft_labels", "dense_boxes"])
def test_big_endian_arrays_are_refused_when_a_bundle_is_made(name):
    """Written as they lie they would be other numbers."""
    array = small().arrays[name]
    with pytest.raises(InvalidInputError, match=f"{name} is >"):
        small(**{name: array.astype(array.dtype.newbyteorder(">"))})


def test_arrays_that_are_read_are_mapped_and_cannot_be_changed(path):
    for array in formats.read(path).arrays.values():
        assert isinstance(array, np.memmap)
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0


def test_header_is_read_when_there_is_nothing_but_a_header(tmp_path):
    """Reading a header reads no array: the rest of this file is a hole."""
    name = str(tmp_path / "x.safetensors")
    formats.write(name, small())
    content = Path(name).read_bytes()
    data = sum(array.nbytes for array in small().arrays.values())
    Path(name).write_bytes(content[:-data])
    os.truncate(name, len(content))
    assert formats.read_header(name) == small().header()
    with pytest.raises(InvalidInputError, match="sha256"):
        formats.read(name)


def test_thousand_classes_with_long_names_fit_in_both_formats(tmp_path, suffix):
    # An HDF5 attribute above 64 KiB needs another way of storing it.
    classes = tuple(f"{number:04} {'x' * 100}" for number in range(1000))
    bundle = small(
        classes=classes,
        soft=None,
        soft_labels=None,
        dense=None,
        dense_labels=None,
        dense_boxes=None,
    )
    formats.write(str(tmp_path / f"x{suffix}"), bundle)
    assert formats.read(str(tmp_path / f"x{suffix}")).classes == classes


def test_a_header_of_more_than_a_mebibyte_is_not_written(tmp_path, suffix):
    classes = ("x" * 2**20, "y")
    with pytest.raises(InvalidInputError, match="1048576"):
        formats.write(str(tmp_path / f"x{suffix}"), small(classes=classes))
    assert list(tmp_path.iterdir()) == []


def test_suffix_decides_the_format_and_unknown_ones_are_a_usage_error(tmp_path):
    formats.write(str(tmp_path / "x.HDF5"), small())
    assert (tmp_path / "x.HDF5").read_bytes()[:8] == b"\x89HDF\r\n\x1a\n"
    with pytest.raises(UsageError, match=r"\.safetensors"):
        formats.write(str(tmp_path / "x.npz"), small())


def test_the_suffix_decides_in_shared_memory_too(suffix):
    """It lies below /dev, where devices are streams without a suffix."""
    if not Path("/dev/shm").is_dir():
        pytest.skip("no shared memory here")
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        name = f"{folder}/x{suffix}"
        formats.write(name, small())
        assert_same(formats.read(name), small())


# Damage


def mutate(content: bytes, generator: np.random.Generator) -> bytes:
    data = bytearray(content)
    size = len(data)
    start, other = sorted(map(int, generator.integers(0, size, 2)))
    length = int(generator.integers(1, 65))
    match int(generator.integers(0, 7)):
        case 0:
            del data[start:]
        case 1:
            data[start] ^= 1 << int(generator.integers(0, 8))
        case 2:
            data[start : start + length], data[other : other + length] = (
                data[other : other + length],
                data[start : start + length],
            )
        case 3:
            data[start : start + length] = bytes(len(data[start : start + length]))
        case 4:
            data += generator.bytes(length)
        case 5:
            del data[start : start + length]
        case 6:
            data[start : start + length] = generator.bytes(len(data[start : start + length]))
    return bytes(data)


@pytest.mark.parametrize("seed", range(4))
def test_a_damaged_file_is_one_error_or_changes_nothing(path, suffix, seed):
    content = Path(path).read_bytes()
    generator = np.random.default_rng(seed)
    original, header = small(), small().header()
    errors = []
    for number in range(60):
        # Half of the blows go where the structure is: nearly all of an HDF5 file's first 2 kB is.
        mutant = (
            mutate(content, generator)
            if number % 2
            else mutate(content[:2048], generator) + content[2048:]
        )
        Path(path).write_bytes(mutant)
        try:
            bundle, read = formats.load(path)
        except DDLabelError as error:
            errors.append(error)
        else:
            assert read == header
            assert_same(bundle, original)
    assert len(errors) >= 10
    assert {error.exit_code for error in errors} <= {3, 4, 5}
    assert all(str(error).startswith(path) and "\n" not in str(error) for error in errors)


@pytest.mark.parametrize(("suffix", "stride"), [("safetensors", 7), ("h5", 101)])
def test_every_truncation_is_refused_before_an_array_is_read(tmp_path, suffix, stride):
    name = str(tmp_path / f"x.{suffix}")
    formats.write(name, small())
    content = Path(name).read_bytes()
    for length in range(0, len(content), stride):
        Path(name).write_bytes(content[:length])
        with pytest.raises(InvalidInputError):
            formats.read_header(name)


def test_without_verify_a_changed_number_passes_and_with_it_does_not(path):
    content = Path(path).read_bytes()
    soft = np.array([[0.25, 0.75], [1, 0]], np.float32).tobytes()
    assert content.count(soft) == 1
    changed = np.array([[0.75, 0.25], [1, 0]], np.float32).tobytes()
    Path(path).write_bytes(content.replace(soft, changed))
    assert formats.read(path, verify=False).soft.values[0].tolist() == [0.75, 0.25]
    with pytest.raises(InvalidInputError, match="soft_labels"):
        formats.read(path)


@pytest.mark.parametrize(
    "content", [b"", b"\0", b"PK\3\4", b"hello world, this is text", bytes(4096)]
)
def test_foreign_files_are_refused(tmp_path, suffix, content):
    name = tmp_path / f"x{suffix}"
    name.write_bytes(content)
    with pytest.raises(InvalidInputError, match=name.name):
        formats.read(str(name))


def test_missing_files_and_folders_are_refused(tmp_path, suffix):
    with pytest.raises(InvalidInputError, match="no such file"):
        formats.read(str(tmp_path / f"x{suffix}"))
    (tmp_path / f"y{suffix}").mkdir()
    with pytest.raises(InvalidInputError, match="folder"):
        formats.read(str(tmp_path / f"y{suffix}"))


def test_a_file_of_one_format_with_the_suffix_of_the_other_is_refused(tmp_path, path, suffix):
    other = str(tmp_path / f"x{SUFFIXES[1 - SUFFIXES.index(suffix)]}")
    Path(path).rename(other)
    with pytest.raises(InvalidInputError):
        formats.read(other)


# Hostile safetensors


def container(text: bytes, data: bytes = b"") -> bytes:
    return len(text).to_bytes(8, "little") + text + data


def split(content: bytes) -> tuple[dict, bytes]:
    length = int.from_bytes(content[:8], "little")
    return json.loads(content[8 : 8 + length]), content[8 + length :]


@pytest.fixture
def parts(tmp_path):
    name = tmp_path / "x.safetensors"
    formats.write(str(name), small())
    return name, *split(name.read_bytes())


def refuse(name: Path, content: bytes) -> None:
    name.write_bytes(content)
    for read in (formats.read_header, formats.read):
        with pytest.raises(InvalidInputError):
            read(str(name))


def test_safetensors_of_someone_else_is_refused(tmp_path):
    safetensors.numpy.save_file(
        {"images": np.zeros((2, 1, 2, 2), np.uint8)}, tmp_path / "x.safetensors"
    )
    with pytest.raises(InvalidInputError, match="ddlabel import"):
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


def test_a_forged_header_without_a_change_is_accepted(parts):
    """The other tests of forged headers would prove nothing otherwise."""
    assert_same(formats.read(forge(*parts, len)), small())


@pytest.mark.parametrize("version", [0, 2, 99, "1", None, 1.5, [1]])
def test_another_format_version_is_incompatible(parts, version):
    with pytest.raises(IncompatibleError, match="format"):
        formats.read(forge(*parts, lambda body: body.update(format=version)))


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
    "history is a number": lambda b: b.update(history=1),
    "history holds a number": lambda b: b.update(history=[1]),
    "history holds an empty object": lambda b: b.update(history=[{}]),
}


@pytest.mark.parametrize("change", FORGED)
def test_a_header_without_meaning_is_refused_whatever_its_digest(parts, change):
    with pytest.raises(InvalidInputError):
        formats.read(forge(*parts, FORGED[change]))


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


# Hostile HDF5


def edit(tmp_path: Path, change) -> str:
    """A good HDF5 bundle after `change(file, name of another file with the same arrays)`."""
    name, other = str(tmp_path / "x.h5"), str(tmp_path / "other.h5")
    formats.write(name, small())
    formats.write(other, small())
    with h5py.File(name, "r+", libver="v110") as file:
        change(file, other)
    return name


def to_external_storage(file, other):
    raw = Path(other).with_suffix(".raw")
    raw.write_bytes(small().soft.values.tobytes())
    del file["soft_labels"]
    file.create_dataset("soft_labels", (2, 2), "<f4", external=[(str(raw), 0, 16)])


def to_virtual(file, other):
    layout = h5py.VirtualLayout((2, 2), "<f4")
    layout[:] = h5py.VirtualSource(other, "soft_labels", (2, 2))
    del file["soft_labels"]
    file.create_virtual_dataset("soft_labels", layout)


def to_virtual_of_itself(file, other):
    layout = h5py.VirtualLayout((2, 2), "<f4")
    layout[:] = h5py.VirtualSource(".", "hard_labels", (2, 2))
    del file["soft_labels"]
    file.create_virtual_dataset("soft_labels", layout)


def relink(make):
    def change(file, other):
        del file["soft_labels"]
        file["soft_labels"] = make(other)

    return change


UNSAFE = {
    "external link": relink(lambda other: h5py.ExternalLink(other, "/soft_labels")),
    "external link to nothing": relink(lambda _: h5py.ExternalLink("/nowhere.h5", "/x")),
    "soft link to a dataset": relink(lambda _: h5py.SoftLink("/hard_labels")),
    "soft link to itself": relink(lambda _: h5py.SoftLink("/soft_labels")),
    "soft link to nothing": relink(lambda _: h5py.SoftLink("/nothing")),
    "external storage": to_external_storage,
    "virtual dataset": to_virtual,
    "virtual dataset of the same file": to_virtual_of_itself,
}


@pytest.mark.parametrize("change", UNSAFE)
def test_hdf5_that_reaches_elsewhere_is_unsafe(tmp_path, change):
    name = edit(tmp_path, UNSAFE[change])
    for read in (formats.read_header, formats.read):
        with pytest.raises(UnsafeInputError):
            read(name)


def remake(**how):
    def change(file, _):
        data = file["soft_labels"][()]
        del file["soft_labels"]
        file.create_dataset("soft_labels", data=data, **how)

    return change


def replace_by(make):
    def change(file, other):
        del file["soft_labels"]
        make(file)

    return change


def compact(file):
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_layout(h5py.h5d.COMPACT)
    space = h5py.h5s.create_simple((2, 2))
    h5py.h5d.create(file.id, b"soft_labels", h5py.h5t.IEEE_F32LE, space, properties)


def hard_link_cycle(file):
    group = file.create_group("soft_labels")
    group["again"] = group


def header_attribute(value):
    def change(file, other):
        del file.attrs["ddlabel"]
        if value is not None:
            file.attrs["ddlabel"] = value

    return change


INVALID = {
    "chunked": remake(chunks=(1, 2)),
    "gzip": remake(compression="gzip"),
    "shuffled": remake(chunks=(1, 2), shuffle=True),
    "checksummed": remake(fletcher32=True),
    "resizable": remake(maxshape=(None, 2)),
    "big-endian": remake(dtype=">f4"),
    "double": remake(dtype="<f8"),
    "never allocated": replace_by(
        lambda file: file.create_dataset("soft_labels", (2, 2), "<f4", fillvalue=0.5)
    ),
    "compact": replace_by(compact),
    "another shape": replace_by(
        lambda file: file.create_dataset("soft_labels", data=np.ones((2, 3), np.float32))
    ),
    "text": replace_by(lambda file: file.create_dataset("soft_labels", data=["a", "b"])),
    "references": replace_by(
        lambda file: file.create_dataset("soft_labels", (2, 2), h5py.ref_dtype)
    ),
    "group": replace_by(lambda file: file.create_group("soft_labels")),
    "group that holds itself": replace_by(hard_link_cycle),
    "named type": replace_by(lambda file: file.__setitem__("soft_labels", np.dtype("<f4"))),
    "array missing": replace_by(len),
    "array too many": lambda file, _: file.create_dataset("extra", data=[1]),
    "another array under the name": lambda file, _: file.move("source_index", "extra"),
    "no header": header_attribute(None),
    "header is a number": header_attribute(1),
    "header is variable-length text": header_attribute("{}"),
    "header is empty": header_attribute(h5py.Empty("S1")),
    "header is an array": header_attribute(np.array([b"{}", b"{}"])),
    "header is not utf-8": header_attribute(np.bytes_(b"\xff\xfe")),
    "header is no JSON": header_attribute(np.bytes_(b"{")),
    "header of more than a mebibyte": header_attribute(np.bytes_(b"x" * (2**20 + 1))),
}


@pytest.mark.parametrize("change", INVALID)
def test_hdf5_of_another_structure_is_refused(tmp_path, change):
    name = edit(tmp_path, INVALID[change])
    for read in (formats.read_header, formats.read):
        with pytest.raises(InvalidInputError):
            read(name)


def test_an_unchanged_hdf5_file_is_accepted_after_it_was_opened_for_writing(tmp_path):
    assert_same(formats.read(edit(tmp_path, lambda *_: None)), small())


def test_hdf5_that_declares_a_huge_array_is_refused_at_once(tmp_path):
    name = str(tmp_path / "x.h5")
    shape = (2**20, 3, 224, 224)
    with h5py.File(name, "w") as file:
        file.create_dataset("images", shape, "u1")
    assert Path(name).stat().st_size < 4096
    begin = time.monotonic()
    with pytest.raises(InvalidInputError):
        formats.read(name)
    assert time.monotonic() - begin < 2


def test_plugins_of_hdf5_are_switched_off(tmp_path):
    """In a process of its own: the library reads the variable once."""
    program = "import sys, os; from ddlabel.data import formats; formats.read(sys.argv[1]); import h5py.h5pl as p;"
    program += "print(os.environ['HDF5_PLUGIN_PRELOAD'])"
    formats.write(str(tmp_path / "x.h5"), small())
    words = [sys.executable, "-c", program, str(tmp_path / "x.h5")]
    environment = os.environ | {
        "HDF5_PLUGIN_PRELOAD": "/somewhere",
        "HDF5_PLUGIN_PATH": str(tmp_path),
    }
    done = subprocess.run(words, check=True, capture_output=True, text=True, env=environment)
    assert done.stdout == "::\n"


# Meaning

NAN, INF = float("nan"), float("inf")
UNIT = Pixels(space="unit", mean=(0.5,), std=(0.25,))


def soft(values, dtype=np.float32, **space):
    return {"soft_labels": np.array(values, dtype), "soft": LabelMeta(**{"space": "probs"} | space)}


def unit(value):
    images = np.full((2, 1, 2, 2), 0.5, np.float32)
    images[1, 0, 1, 1] = value
    return {"images": images, "pixels": UNIT}


def boxes(*values):
    return {"dense_boxes": np.array([values], np.float32)}


MEANINGLESS = {
    "hard label -1": {"hard_labels": np.array([0, -1])},
    "hard label K": {"hard_labels": np.array([2, 0])},
    "NaN in unit images": unit(NAN),
    "infinity in unit images": unit(-INF),
    "NaN in probs": soft([[NAN, 1], [0, 1]]),
    "NaN in logits": soft([[1, 0], [NAN, 1]], space="logits"),
    "infinity in logits": soft([[1, INF], [0, 1]], space="logits"),
    "negative probs": soft([[1.5, -0.5], [0, 1]]),
    "rows that sum to 0.9": soft([[0.4, 0.5], [0, 1]]),
    "rows that sum to 1.001 in float32": soft([[0.5, 0.501], [0, 1]]),
    "rows that sum to 1.05 in float16": soft([[0.5, 0.55], [0, 1]], np.float16),
    "logits as probs": soft([[3.2, -1], [0.5, 7]]),
    "a direction of length 0": soft([[1, 2], [0, 0]], space="direction"),
    "NaN in dense labels": {"dense_labels": np.array([[[1, NAN]], [[0, 1]]], np.float32)},
    "dense rows that sum to 2": {
        "dense_labels": np.ones((2, 1, 2), np.float32),
        "dense": LabelMeta(space="probs"),
    },
    "a box of no height": boxes(0.5, 0, 0.5, 1),
    "a box upside down": boxes(0.5, 0, 0.25, 1),
    "a box that leaves the image": boxes(0, 0, 1, 1.25),
    "a box that begins outside": boxes(-0.25, 0, 1, 1),
    "a box of NaN": boxes(0, NAN, 1, 1),
}


@pytest.mark.parametrize("change", MEANINGLESS)
def test_numbers_without_meaning_are_refused_by_check_values_and_never_written(
    tmp_path, suffix, change
):
    bundle = small(**MEANINGLESS[change])
    with pytest.raises(InvalidInputError):
        bundle.check_values()
    with pytest.raises(InvalidInputError):
        formats.write(str(tmp_path / f"x{suffix}"), bundle)
    assert list(tmp_path.iterdir()) == []


def test_meaning_is_checked_when_a_foreign_writer_made_the_digests(parts):
    file, entries, data = parts
    bad = replace(small(), hard_labels=np.array([0, 2]))
    # The header of the bad bundle is consistent; only `write` would have refused it.
    entries["__metadata__"]["ddlabel"] = bad.header().to_json()
    begin, end = entries["hard_labels"]["data_offsets"]
    content = container(
        json.dumps(entries).encode(), data[:begin] + bad.hard_labels.tobytes() + data[end:]
    )
    file.write_bytes(content)
    with pytest.raises(InvalidInputError, match="hard_labels, row 1"):
        formats.read(str(file))


def test_the_first_wrong_row_is_named_across_blocks_of_rows():
    labels = np.full((10_000, 2), 0.5, np.float32)
    labels[[9000, 9999]] = 0.7
    count = len(labels)
    bundle = bundle_of(
        classes=("a", "b"),
        pixels=Pixels(space="uint8", mean=(0.5,), std=(0.5,)),
        images=np.zeros((count, 1, 1, 1), np.uint8),
        hard_labels=np.zeros(count, np.int64),
        soft_labels=labels,
        soft=LabelMeta(space="probs"),
    )
    with pytest.raises(InvalidInputError, match="soft_labels, row 9000"):
        bundle.check_values()


ALLOWED = {
    "float16 probs within their precision": soft([[0.3333, 0.6665], [0, 1]], np.float16),
    "unit images outside of 0 … 1": unit(-3.5),
    "negative zero": soft([[-0.0, 1], [0, 1]]),
    "logits of any size": soft([[-300, 4e30], [0, 0]], space="logits"),
    "boxes that touch every edge": boxes(0, 0, 1, 1),
}


@pytest.mark.parametrize("change", ALLOWED)
def test_numbers_at_the_edge_of_their_meaning_are_kept(tmp_path, suffix, change):
    bundle = small(**ALLOWED[change])
    formats.write(str(tmp_path / f"x{suffix}"), bundle)
    assert_same(formats.read(str(tmp_path / f"x{suffix}")), bundle)


IMAGES = small().images
MALFORMED = {
    "zero images": {
        name: getattr(small(), name)[:0] for name in ("images", "hard_labels", "source_index")
    },
    "images of no height": {"images": np.zeros((2, 1, 0, 2), np.uint8)},
    "float64 images": {"images": IMAGES / 255, "pixels": UNIT},
    "int16 images": {"images": IMAGES.astype(np.int16)},
    "object images": {"images": IMAGES.astype(object)},
    "float images called uint8": {"images": IMAGES.astype(np.float32)},
    "uint8 images called unit": {"pixels": UNIT},
    "images [N, H, W]": {"images": IMAGES[:, 0]},
    "images [N, H, W, C] with C values of mean": {"images": IMAGES.transpose(0, 2, 3, 1)},
    "int32 hard labels": {"hard_labels": np.array([0, 1], np.int32)},
    "hard labels [N, 1]": {"hard_labels": np.array([[0], [1]])},
    "a hard label too few": {"hard_labels": np.array([0])},
    "a source index too many": {"source_index": np.arange(3)},
    "float64 soft labels": soft([[0.5, 0.5], [0, 1]], np.float64),
    "soft labels of another K": soft([[1, 0, 0], [0, 1, 0]]),
    "a soft label too many": soft([[1, 0], [0, 1], [0, 1]]),
    "dense labels without boxes": {"dense_boxes": None},
    "boxes without dense labels": {"dense_labels": None, "dense": None},
    "a box too many": {"dense_boxes": np.tile(small().views.boxes, (2, 1))},
    "boxes of three numbers": {"dense_boxes": small().views.boxes[:, :3]},
    "no classes": {"classes": ()},
    "a class twice": {"classes": ("cat", "cat")},
    "two means for one channel": {"pixels": Pixels(space="uint8", mean=(0.5, 0.5), std=(0.5, 0.5))},
    "std 0": {"pixels": Pixels(space="uint8", mean=(0.5,), std=(0.0,))},
    "mean NaN": {"pixels": Pixels(space="uint8", mean=(NAN,), std=(0.5,))},
    "std NaN": {"pixels": Pixels(space="uint8", mean=(0.5,), std=(NAN,))},
    "std infinite": {"pixels": Pixels(space="uint8", mean=(0.5,), std=(INF,))},
    "temperature 0": {"soft": LabelMeta(space="probs", temperature=0.0)},
    "temperature NaN": {"soft": LabelMeta(space="probs", temperature=NAN)},
    "temperature infinite": {"soft": LabelMeta(space="probs", temperature=INF)},
    "unknown label space": {"soft": LabelMeta(space="odds")},
    "unknown pixel space": {
        "images": IMAGES.astype(np.float32),
        "pixels": replace(UNIT, space="lab"),
    },
    "a class name that is not text": {"classes": ("cat", "\udcff")},
    "a class that is a number": {"classes": ("cat", 1)},
    "a label source that is not text": {"soft": LabelMeta(space="probs", source="\udcff")},
    "a file name in the history that is not text": {
        "history": (
            Entry(
                command="import",
                version="1",
                inputs=(Input(role="source", name="\udcff", sha256=""),),
            ),
        )
    },
    "an option in the history that is not finite": {
        "history": (Entry(command="import", version="1", options={"r": NAN}),)
    },
}


@pytest.mark.parametrize("change", MALFORMED)
def test_a_bundle_that_does_not_hold_together_is_refused_before_it_is_written(tmp_path, change):
    """What could be written could not be read again."""
    with pytest.raises(InvalidInputError):
        formats.write(str(tmp_path / "x.safetensors"), small(**MALFORMED[change]))
    assert list(tmp_path.iterdir()) == []


# The writer


@pytest.fixture
def umask():
    before = os.umask(0o022)
    yield os.umask
    os.umask(before)


def put(path: Path | str, content: bytes) -> None:
    atomic.write(str(path), [content[:3], memoryview(content)[3:]], size=len(content))


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize(
    ("mask", "expected"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664), (0, 0o666)]
)
def test_a_new_file_gets_the_mode_that_the_umask_allows(tmp_path, umask, mask, expected):
    umask(mask)
    put(tmp_path / "new", b"content")
    assert (mode(tmp_path / "new"), (tmp_path / "new").read_bytes()) == (expected, b"content")


@pytest.mark.parametrize("kept", [0o640, 0o600, 0o666, 0o755])
def test_a_replaced_file_keeps_its_mode(tmp_path, umask, kept):
    (tmp_path / "old").write_bytes(b"a longer old content")
    (tmp_path / "old").chmod(kept)
    put(tmp_path / "old", b"content")
    assert (mode(tmp_path / "old"), (tmp_path / "old").read_bytes()) == (kept, b"content")


def test_a_reader_of_the_old_file_keeps_what_it_opened(path):
    old = formats.read(path)
    formats.write(path, small(images=np.full((2, 1, 2, 2), 9, np.uint8)))
    assert old.images.tolist() == small().images.tolist()
    assert (formats.read(path).images == 9).all()


@pytest.mark.parametrize("exists", [True, False])
def test_a_symbolic_link_is_followed(tmp_path, exists):
    (tmp_path / "elsewhere").mkdir()
    target, link = tmp_path / "elsewhere" / "target", tmp_path / "link"
    if exists:
        target.write_bytes(b"old")
    link.symlink_to(target)
    put(link, b"content")
    assert link.is_symlink()
    assert target.read_bytes() == b"content"
    assert [p.name for p in target.parent.iterdir()] == ["target"]


@pytest.fixture
def no_rename(monkeypatch):
    """A writer that renamed over a device would leave the machine without it."""

    def refuse(*paths):
        raise AssertionError(f"renamed {paths}")

    for name in ("replace", "rename", "link"):
        monkeypatch.setattr(os, name, refuse)


def test_a_device_is_written_to_and_not_replaced(no_rename):
    formats.write("/dev/null", small())
    assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)


def test_a_full_device_is_a_storage_error(no_rename):
    with pytest.raises(StorageError, match=os.strerror(errno.ENOSPC)) as caught:
        put("/dev/full", b"x" * 100_000)
    assert "nothing was changed" not in str(caught.value)


def test_a_named_pipe_is_streamed_to(tmp_path, no_rename):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    got = []
    reader = threading.Thread(target=lambda: got.append(pipe.read_bytes()), daemon=True)
    reader.start()
    put(pipe, b"content" * 20_000)
    reader.join(30)
    assert got == [b"content" * 20_000]
    assert pipe.is_fifo()


def test_standard_output_gets_the_bytes_of_a_safetensors_file(tmp_path, monkeypatch):
    sink = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(sink))
    formats.write("-", small())
    sys.stdout.flush()
    formats.write(str(tmp_path / "x.safetensors"), small())
    assert sink.getvalue() == (tmp_path / "x.safetensors").read_bytes()


@pytest.fixture
def old(tmp_path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    return path


def assert_untouched(old: Path) -> None:
    assert [p.name for p in old.parent.iterdir()] == [old.name]
    assert old.read_bytes() == b"old"


@pytest.mark.parametrize("after", [0, 1, 5])
@pytest.mark.parametrize(
    "error", [ValueError, MemoryError, KeyboardInterrupt, GeneratorExit, UnsafeInputError]
)
def test_an_exception_while_the_content_is_made_leaves_the_old_file_alone(old, error, after):
    def chunks():
        yield from [b"new" * 10_000] * after
        raise error("halfway")

    with pytest.raises(error, match="halfway"):
        atomic.write(str(old), chunks(), size=150_000)
    assert_untouched(old)


@pytest.mark.parametrize("call", ["open", "fdopen", "fchmod", "fsync", "replace"])
def test_a_system_call_that_fails_leaves_the_old_file_alone(old, monkeypatch, call):
    def fail(*args, **kwargs):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(StorageError, match=os.strerror(errno.EIO)):
        put(old, b"content")
    monkeypatch.undo()
    assert_untouched(old)


def test_a_folder_that_cannot_be_synced_leaves_the_new_file_and_says_so(old, monkeypatch):
    fsync = os.fsync

    def fail(descriptor):
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(StorageError, match="was written") as caught:
        put(old, b"content")
    monkeypatch.undo()
    assert "nothing was changed" not in str(caught.value)
    assert (old.read_bytes(), [p.name for p in old.parent.iterdir()]) == (b"content", [old.name])


def test_more_than_the_disk_has_free_is_refused_before_it_is_written(old):
    def chunks():
        raise AssertionError("nothing should be asked for")
        yield b""

    with pytest.raises(StorageError, match="free"):
        atomic.write(str(old), chunks(), size=1 << 60)
    assert_untouched(old)


def test_the_content_is_on_the_disk_before_its_name_is(old, monkeypatch):
    calls = []
    fsync, rename = os.fsync, os.replace
    monkeypatch.setattr(
        os, "fsync", lambda fd: (calls.append(stat.S_IFMT(os.fstat(fd).st_mode)), fsync(fd))[1]
    )
    monkeypatch.setattr(os, "replace", lambda *paths: (calls.append("replace"), rename(*paths))[1])
    put(old, b"content")
    assert calls == [stat.S_IFREG, "replace", stat.S_IFDIR]


def test_a_missing_folder_is_a_storage_error(tmp_path, suffix):
    with pytest.raises(StorageError):
        formats.write(str(tmp_path / "nowhere" / f"x{suffix}"), small())
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def dead_process() -> int:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    return process.pid


@pytest.mark.parametrize("name", ["file.h5", "file[1].h5", "a*b.h5", "déjà vu.h5"])
def test_what_a_killed_writer_left_is_removed_by_the_next(tmp_path, dead_process, name):
    (tmp_path / f".{name}.{dead_process}.part").write_bytes(b"half")
    put(tmp_path / name, b"content")
    assert [p.name for p in tmp_path.iterdir()] == [name]


def test_what_a_killed_writer_of_our_own_number_left_is_no_obstacle(tmp_path):
    """In a container every run may have the same process id."""
    (tmp_path / f".file.{os.getpid()}.part").write_bytes(b"half")
    put(tmp_path / "file", b"content")
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_bytes() == b"content"


def test_two_writers_with_one_process_id_never_take_each_others_half(tmp_path):
    """Two containers that share a folder: the second one's start costs the first its file, and not the reader."""

    def chunks():
        yield b"first "
        put(tmp_path / "file", b"second")
        yield b"half"

    with pytest.raises(StorageError, match="nothing was changed"):
        atomic.write(str(tmp_path / "file"), chunks(), size=10)
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_bytes() == b"second"


def test_the_temporary_file_of_a_living_writer_is_left_alone(tmp_path):
    living = tmp_path / f".file.{os.getppid()}.part"
    living.write_bytes(b"half")
    put(tmp_path / "file", b"content")
    assert living.read_bytes() == b"half"
