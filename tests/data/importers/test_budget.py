"""Files that ask for more memory than they are worth, and the memory that good ones need."""

from __future__ import annotations

import gzip
import io
import os
import pickle
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from foreign_sources import (
    UINT8,
    deflate,
    idx_bytes,
    load,
    save_cifar,
    save_npz,
    save_png,
    zip_folder,
    zip_with_sizes,
)
from PIL import Image

from ddlabel.core.errors import InvalidInputError, UnsafeInputError, UsageError
from ddlabel.data.importers import budget
from ddlabel.data.statistics import statistics


def test_a_member_that_fills_its_declared_size_is_read(tmp_path):
    """The archives of `hostile_sources` are refused for their sizes alone."""
    file = io.BytesIO()
    Image.new("L", (4, 4), 7).save(file, "PNG")
    content = file.getvalue()
    path = zip_with_sizes(tmp_path / "x.zip", "cat/1.png", content, len(content), deflate(content))
    assert load(path).images.max() == 7


@pytest.mark.parametrize("packed", [False, True])
def test_images_out_of_proportion_to_their_files_are_refused(tmp_path, monkeypatch, packed):
    """Black pixels are packed a hundredfold and more; a few of them are good images."""
    for number in range(4):
        save_png(tmp_path / "black" / "cat" / f"{number}.png", np.zeros((200, 200)))
    path = zip_folder(tmp_path / "black") if packed else tmp_path / "black"
    assert load(path).images.shape == (4, 1, 200, 200)
    monkeypatch.setattr(budget, "MAX_INFLATED_BYTES", 2 * 200 * 200)
    with pytest.raises(UnsafeInputError, match="120000"):
        load(path)
    # Two of them may be, and so may any that are made small.
    assert load(path, size=8).images.shape == (4, 1, 8, 8)


def test_a_device_is_refused_at_once():
    with pytest.raises(UnsafeInputError, match="/dev/zero"):
        load(Path("/dev/zero"))


def test_a_pipe_that_nobody_writes_to_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "x.npz")
    with pytest.raises(UnsafeInputError, match=r"x\.npz"):
        load(tmp_path / "x.npz")


@pytest.mark.parametrize("kind", ["folder", "cifar", "idx"])
def test_a_pipe_in_a_folder_is_not_opened(tmp_path, kind):
    for name in ("1.png", "batches.meta", "train-images-idx3-ubyte"):
        (tmp_path / "cat").mkdir(exist_ok=True)
        os.mkfifo(tmp_path / "cat" / name)
    with pytest.raises(InvalidInputError):
        load(tmp_path / "cat", format=kind)


def test_the_size_has_an_upper_bound(animals):
    with pytest.raises(UsageError, match="--size"):
        load(animals, size=100_000)


def test_the_environment_raises_every_limit(animals, monkeypatch):
    monkeypatch.setattr(budget, "MAX_IMAGE_PIXELS", 5)
    with pytest.raises(UnsafeInputError, match=budget.VARIABLE):
        load(animals)
    monkeypatch.setenv(budget.VARIABLE, "1.5")
    assert len(load(animals)) == 6


@pytest.mark.parametrize("factor", ["", "0.5", "-1", "nan", "inf", "many"])
def test_a_factor_that_is_no_number_from_1_is_refused(animals, monkeypatch, factor):
    monkeypatch.setattr(budget, "MAX_IMAGE_PIXELS", 5)
    monkeypatch.setenv(budget.VARIABLE, factor)
    with pytest.raises(UsageError, match=budget.VARIABLE):
        load(animals)


def peak_of(work) -> int:
    """The most bytes that Python and numpy held at once."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


N_BYTES = 24 << 20
CONSTANT = 24 << 20
LABELS = np.arange(512) % 4


def good_npz(folder: Path):
    images = np.random.default_rng(0).integers(0, 256, (512, 128, 128, 3), np.uint8)
    return [save_npz(folder / "x.npz", x=images, y=LABELS)], {}


def good_npz_of_floats(folder: Path):
    images = np.random.default_rng(0).random((512, 64, 64, 3), np.float32)
    path = save_npz(folder / "x.npz", x=images, y=LABELS)
    return [path], {"pixels": "normalised", "mean": "0.5", "std": "0.5"}


def good_idx(folder: Path):
    images = np.random.default_rng(0).integers(0, 256, (512, 128, 384), np.uint8)
    files = {"a-idx3.gz": images, "b-idx1.gz": LABELS}
    for name, array in files.items():
        (folder / name).write_bytes(gzip.compress(idx_bytes(array), 1))
    return [folder / name for name in files], {}


def good_cifar(folder: Path):
    members = {"batches.meta": pickle.dumps({b"label_names": [b"a", b"b"]}, 2)}
    for number in range(1, 5):
        data = np.full((2048, 3072), number, np.uint8)
        batch = {b"data": data, b"labels": [0, 1] * 1024}
        members[f"data_batch_{number}"] = pickle.dumps(batch, 2)
    return [save_cifar(folder, members, "tar")], {}


GOOD = {
    "npz": good_npz,
    "npz of floats": good_npz_of_floats,
    "idx.gz": good_idx,
    "cifar": good_cifar,
}


@pytest.mark.parametrize("source", GOOD)
def test_an_import_needs_three_times_its_pixels_at_most(tmp_path, source):
    paths, options = GOOD[source](tmp_path)
    bundles = []
    peak = peak_of(lambda: bundles.append(load(*paths, **options)))
    assert bundles[0].images.nbytes == N_BYTES
    assert peak < 3 * N_BYTES + CONSTANT


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("shape", [(4096, 3, 32, 64), (1, 3, 4096, 2048)], ids=["many", "one"])
def test_statistics_take_a_part_of_the_memory_of_the_images(shape, dtype):
    images = np.zeros(shape, dtype)
    assert peak_of(lambda: statistics(images)) < images.nbytes * (2 if dtype == np.uint8 else 1)


def test_a_small_npz_is_read_within_any_proportion(tmp_path):
    """Zeros are packed a thousandfold, and small files may be."""
    np.savez_compressed(tmp_path / "x.npz", x=np.zeros((64, 3, 64, 64), np.uint8), y=LABELS[:64])
    assert (tmp_path / "x.npz").stat().st_size * budget.MAX_INFLATION < 64 * 3 * 64 * 64
    assert len(load(tmp_path / "x.npz")) == 64
    assert len(UINT8) == 2
