"""HDF5 that reaches elsewhere, declares too much or has another structure."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
from format_samples import assert_same, small

from ddlabel.core.errors import (
    InvalidInputError,
    UnsafeInputError,
)
from ddlabel.data import formats


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
    program = (
        "import os, sys; from ddlabel.data import formats; formats.read(sys.argv[1]); "
        "print(os.environ['HDF5_PLUGIN_PRELOAD'])"
    )
    formats.write(str(tmp_path / "x.h5"), small())
    words = [sys.executable, "-c", program, str(tmp_path / "x.h5")]
    environment = os.environ | {
        "HDF5_PLUGIN_PRELOAD": "/somewhere",
        "HDF5_PLUGIN_PATH": str(tmp_path),
    }
    done = subprocess.run(words, check=True, capture_output=True, text=True, env=environment)
    assert done.stdout == "::\n"


@pytest.mark.parametrize("libver", ["earliest", "v108", "v110", "latest"])
def test_bytes_behind_the_end_of_hdf5_are_refused(tmp_path, libver):
    """No digest covers them."""
    good, name = str(tmp_path / "good.h5"), str(tmp_path / "x.h5")
    formats.write(good, small())
    with h5py.File(good) as source, h5py.File(name, "w", libver=libver) as file:
        file.attrs["ddlabel"] = source.attrs["ddlabel"]
        for array in source:
            file.create_dataset(array, data=source[array][()])
    assert_same(formats.read(name), small())
    with Path(name).open("ab") as file:
        file.write(b"x")
    for read in (formats.read_header, formats.read):
        with pytest.raises(InvalidInputError):
            read(name)


def test_bytes_before_hdf5_are_refused(tmp_path):
    """HDF5 looks for its own beginning at byte 512 too."""
    name = tmp_path / "x.h5"
    formats.write(str(name), small())
    name.write_bytes(bytes(512) + name.read_bytes())
    with pytest.raises(InvalidInputError):
        formats.read(str(name))
