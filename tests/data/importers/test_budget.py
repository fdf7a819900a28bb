"""Files that ask for more memory than they are worth, and the memory that good ones need."""

from __future__ import annotations

import gzip
import io
import os
import pickle
import struct
import subprocess
import sys
import tarfile
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from foreign_sources import (
    UINT8,
    cifar10,
    deflate,
    idx_bytes,
    load,
    png_that_declares,
    save_cifar,
    save_mnist,
    save_npz,
    save_png,
    zip_with_sizes,
)
from PIL import Image

from ddlabel.core.errors import InvalidInputError, UnsafeInputError, UsageError
from ddlabel.data.importers import budget
from ddlabel.data.statistics import statistics

GIB = 1 << 30
# Prints the error of an import that may take 1 GiB more than the empty process.
PROGRAM = """
import resource, sys
from pathlib import Path
from ddlabel.core.config import ImportOptions
from ddlabel.data import importers
pages = int(Path("/proc/self/statm").read_text().split()[0])
limit = pages * resource.getpagesize() + (1 << 30)
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
size = int(sys.argv[2]) or None
try:
    importers.load([Path(sys.argv[1])], ImportOptions(size=size))
except Exception as error:
    print(type(error).__name__, error)
"""


def header_of(shape) -> bytes:
    file = io.BytesIO()
    fields = {"descr": "|u1", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, fields)
    return file.getvalue()


def npz_that_inflates(folder: Path) -> Path:
    """2 GiB of zeros in 2 MB: one mebibyte, flushed, again and again."""
    header = header_of((2048, 1, 1024, 1024))
    packer = zlib_packer()
    start = packer.compress(header) + packer.flush(3)
    mebibyte = packer.compress(bytes(1 << 20)) + packer.flush(3)
    packed = start + 2048 * mebibyte + packer.flush()
    size = len(header) + 2 * GIB
    return zip_with_sizes(folder / "x.npz", "images.npy", b"", size, packed)


def zlib_packer():
    import zlib

    return zlib.compressobj(1, zlib.DEFLATED, -15)


def npz_that_declares(folder: Path) -> Path:
    """A header of 10 GB and a member of 200 bytes."""
    content = header_of((10_000, 1, 1000, 1000))
    return zip_with_sizes(folder / "x.npz", "x.npy", content, len(content), deflate(content))


def member_beyond_its_size(folder: Path) -> Path:
    """A good image with 300 MB of zeros behind it, which the directory does not declare."""
    file = io.BytesIO()
    Image.new("L", (4, 4)).save(file, "PNG")
    image = file.getvalue()
    packed = deflate(image + bytes(300_000_000))
    return zip_with_sizes(folder / "x.zip", "cat/1.png", image, len(image), packed)


def cifar_with(folder: Path, content: bytes) -> Path:
    return save_cifar(folder, cifar10() | {"data_batch_1": content}, "folder")


def memo_index(folder: Path) -> Path:
    """Python's reader makes a table of 4 GB for it."""
    pickled = b"\x80\x02}r" + struct.pack("<I", 1 << 28) + b"."
    return cifar_with(folder, pickled + bytes(200))


def length_of_bytes(folder: Path) -> Path:
    return cifar_with(folder, b"\x80\x03B" + struct.pack("<I", 0xFFFF_FFF0) + bytes(200))


def length_of_a_long_string(folder: Path) -> Path:
    return cifar_with(folder, b"\x80\x04\x8d" + struct.pack("<Q", 1 << 40) + bytes(200))


def tar_header_that_inflates(folder: Path) -> Path:
    """A header of the archive that is 1 GiB long; tarfile reads it whole."""
    info = tarfile.TarInfo("x")
    info.type = tarfile.XHDTYPE
    info.size = GIB
    path = folder / "x.tar.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(info.tobuf())
        for _ in range(16):
            file.write(bytes(1 << 20))
    return path


def tar_of_many_members(folder: Path) -> Path:
    path = folder / "x.tar.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(tarfile.TarInfo("meta").tobuf() * 20_000)
    return path


def packed_idx(folder: Path) -> Path:
    save_mnist(folder, packed=True)
    header = bytes([0, 0, 8, 3]) + struct.pack(">3I", 2048, 1024, 1024)
    (folder / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(header))
    return folder


def png(folder: Path, width: int, height: int) -> Path:
    (folder / "cat").mkdir()
    (folder / "cat" / "1.png").write_bytes(png_that_declares(width, height))
    return folder


def thin_png(folder: Path) -> Path:
    """One pixel wide: resized, its long side would have 64 million pixels."""
    save_png(folder / "cat" / "1.png", np.zeros((1_000_000, 1)))
    return folder


HOSTILE = {
    "npz that inflates": (npz_that_inflates, "UnsafeInputError", 0),
    "npz that declares": (npz_that_declares, "InvalidInputError", 0),
    "zip member larger than declared": (member_beyond_its_size, "UnsafeInputError", 0),
    "pickle with a memo index": (memo_index, "UnsafeInputError", 0),
    "pickle with a length": (length_of_bytes, "UnsafeInputError", 0),
    "pickle with a length of 8 bytes": (length_of_a_long_string, "UnsafeInputError", 0),
    "tar header that inflates": (tar_header_that_inflates, "UnsafeInputError", 0),
    "tar of many members": (tar_of_many_members, "UnsafeInputError", 0),
    "idx that inflates": (packed_idx, "UnsafeInputError", 0),
    "png of 8192 px": (lambda folder: png(folder, 8192, 8192), "UnsafeInputError", 0),
    "png that is thin": (thin_png, "UnsafeInputError", 64),
}


@pytest.mark.parametrize("hostile", HOSTILE)
def test_a_hostile_file_is_refused_before_it_takes_a_gibibyte(tmp_path, hostile):
    make, expected, size = HOSTILE[hostile]
    folder = tmp_path / "source"
    folder.mkdir()
    path = make(folder)
    assert sum(file.stat().st_size for file in folder.rglob("*")) < 12_000_000
    words = [sys.executable, "-c", PROGRAM, str(path), str(size)]
    done = subprocess.run(words, check=True, capture_output=True, text=True, timeout=60)
    assert done.stdout.split(" ")[0] == expected, done.stdout
    assert done.stdout.count("\n") == 1


def test_a_member_that_fills_its_declared_size_is_read(tmp_path):
    """The archive of the tests above is refused for its size alone."""
    file = io.BytesIO()
    Image.new("L", (4, 4), 7).save(file, "PNG")
    content = file.getvalue()
    path = zip_with_sizes(tmp_path / "x.zip", "cat/1.png", content, len(content), deflate(content))
    assert load(path).images.max() == 7


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
