"""Bundles there and back in every format, and read by the libraries that others use."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import h5py
import numpy as np
import pytest
import safetensors
import safetensors.numpy
from format_samples import SUFFIXES, assert_same, small
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from samples import bundle_of

from ddlabel.core.errors import (
    InvalidInputError,
    UsageError,
)
from ddlabel.data import formats
from ddlabel.data.bundle import Bundle
from ddlabel.data.provenance import Entry, Input
from ddlabel.data.schema import LabelMeta, Pixels


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("formats")


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
        header = formats.write(one, bundle, force=True)
        again, read = formats.load(one)
        assert_same(bundle, again)
        assert read == header == formats.read_header(one)
        assert read.digest == bundle.header().digest
        formats.write(two, again, force=True)
        assert Path(one).read_bytes() == Path(two).read_bytes()


@settings(deadline=None, max_examples=20)
@given(bundle=bundles())
def test_files_are_read_by_the_libraries_that_others_use(folder, bundle):
    formats.write(str(folder / "x.safetensors"), bundle, force=True)
    formats.write(str(folder / "x.h5"), bundle, force=True)
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
    program = (
        "import sys; from ddlabel.data import formats; "
        "formats.write(sys.argv[2], formats.read(sys.argv[1]))"
    )
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
    with pytest.raises(InvalidInputError, match=name):
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
    with pytest.raises(InvalidInputError, match=r"x\.safetensors"):
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
    with pytest.raises(InvalidInputError, match="header"):
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
