"""WebDataset shards, made with tarfile as the webdataset package lays them out."""

from __future__ import annotations

import gzip
import tarfile

import numpy as np
import pytest
from foreign_sources import load, save_tar
from foreign_sources import png_bytes as png

from ddlabel.core.config import ImportOptions
from ddlabel.core.errors import InvalidInputError, UnsafeInputError, UsageError
from ddlabel.data import importers

SAMPLES = {
    "a/0001.png": png(10),
    "a/0001.cls": b"2",
    "a/0001.json": b"{}",
    "0002.cls": b"0\n",
    "0002.png": png(20),
}


def link(name, target, kind=tarfile.SYMTYPE):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


@pytest.mark.parametrize("packed", [False, True])
def test_samples_keep_their_order_and_their_classes(tmp_path, packed):
    path = save_tar(tmp_path / "x.tar", SAMPLES)
    if packed:
        path = tmp_path / "x.tar.gz"
        path.write_bytes(gzip.compress((tmp_path / "x.tar").read_bytes()))
    notes = []
    bundle = importers.load([path], ImportOptions(), notes.append).bundle
    assert bundle.images[:, 0, 0, 0].tolist() == [10, 20]
    assert bundle.hard_labels.tolist() == [2, 0]
    assert bundle.classes == ("0", "1", "2")
    assert "WebDataset" in notes[0]
    assert ".json" in "\n".join(notes)


def test_shards_are_read_one_after_another(tmp_path):
    first = save_tar(tmp_path / "000.tar", SAMPLES)
    second = save_tar(tmp_path / "001.tar", {"1.png": png(30), "1.cls": b"1"})
    bundle = load(first, second, class_names="ape,bee,cat")
    assert bundle.images[:, 0, 0, 0].tolist() == [10, 20, 30]
    assert bundle.hard_labels.tolist() == [2, 0, 1]


@pytest.mark.parametrize(
    "info",
    [
        link("3.png", "/etc/passwd"),
        link("3.png", "a/0001.png", tarfile.LNKTYPE),
        link("3.png", "", tarfile.FIFOTYPE),
    ],
    ids=["symbolic", "hard", "fifo"],
)
def test_links_and_devices_are_unsafe(tmp_path, info):
    path = save_tar(tmp_path / "x.tar", SAMPLES, info)
    with pytest.raises(UnsafeInputError, match=r"x\.tar.*link"):
        load(path)


@pytest.mark.parametrize("name", ["../3.png", "/3.png", "a/../../3.cls"])
def test_members_outside_of_the_archive_are_unsafe(tmp_path, name):
    with pytest.raises(UnsafeInputError, match="outside"):
        load(save_tar(tmp_path / "x.tar", SAMPLES | {name: png(1)}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"3.png": png(1)}, "'3' has no .cls"),
        ({"3.cls": b"1"}, "'3' has no image"),
        ({"0002.jpg": png(1)}, "two images"),
        ({"0002.cls": b"cat"}, "'cat': expected a class number"),
        ({"0002.cls": b"-1"}, "'-1': expected a class number"),
        ({"0002.cls": b"1" * 99}, "99 bytes"),
        ({"0002.cls": b"999999"}, "999999"),
        ({"0002.png": png(1, size=3)}, "--size"),
    ],
)
def test_samples_without_meaning_are_refused(tmp_path, changes, message):
    with pytest.raises(InvalidInputError, match=message):
        load(save_tar(tmp_path / "x.tar", SAMPLES | changes))


def test_a_tar_without_classes_says_what_it_lacks(tmp_path):
    path = save_tar(tmp_path / "x.tar", {"1.png": png(1)})
    with pytest.raises(InvalidInputError, match=r"tar archive of images without \.cls"):
        load(path)


def test_damaged_images_are_counted_and_named(tmp_path):
    damaged = png(1)[:44]
    broken = {"b0.png": damaged, "b0.cls": b"1", "b1.png": damaged, "b1.cls": b"1"}
    path = save_tar(tmp_path / "x.tar", SAMPLES | broken)
    with pytest.raises(InvalidInputError, match=r"2 of 4 images .*b0\.png, b1\.png.*--skip-bad"):
        load(path)
    bundle, facts = importers.load([path], ImportOptions(skip_bad=True))
    assert bundle.hard_labels.tolist() == [2, 0]
    assert facts["images_left_out"] == 2


def test_a_tar_that_is_cut_off_is_refused(tmp_path):
    path = save_tar(tmp_path / "x.tar", SAMPLES)
    path.write_bytes(path.read_bytes()[:1100])
    with pytest.raises((InvalidInputError, UsageError)):
        load(path, format="webdataset")


def test_a_member_of_absurd_size_is_unsafe(tmp_path):
    info = tarfile.TarInfo("3.png")
    info.size = 1 << 40
    path = save_tar(tmp_path / "x.tar", SAMPLES)
    content = path.read_bytes()
    end = content.rstrip(b"\0")
    room = -len(end) % 512
    path.write_bytes(end + bytes(room) + info.tobuf() + np.zeros(512, np.uint8).tobytes())
    with pytest.raises(UnsafeInputError):
        load(path)
