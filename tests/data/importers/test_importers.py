"""Properties that every importer has."""

from __future__ import annotations

import gzip

import numpy as np
import pytest
from artefacts import save_dc, save_rat_bptt
from foreign_sources import (
    UINT8,
    UNIT,
    cifar10,
    idx_bytes,
    load,
    save_cifar,
    save_mnist,
    save_npz,
    save_pair,
    save_png,
    zip_folder,
)
from PIL import Image

from ddlabel.core.errors import (
    DDLabelError,
    InvalidInputError,
    UnsafeInputError,
    UsageError,
)
from ddlabel.data import importers


def test_given_statistics_are_kept(animals):
    pixels = load(animals, mean="0.25", std="0.125").pixels
    assert (pixels.mean, pixels.std) == ((0.25,), (0.125,))


@pytest.mark.parametrize(
    ("mean", "std"),
    [
        ("0.5", None),
        (None, "0.5"),
        ("0.5,0.5", "0.5,0.5"),
        ("x", "0.5"),
        ("", "0.5"),
        ("nan", "0.5"),
        ("0.5", "inf"),
        ("0.5", "0"),
        ("1.5", "0.5"),
    ],
)
def test_statistics_that_do_not_fit_are_refused(animals, mean, std):
    with pytest.raises(UsageError, match="--mean"):
        load(animals, mean=mean, std=std)


def test_a_split_is_refused_where_there_are_no_parts(tmp_path):
    with pytest.raises(InvalidInputError, match="x_test"):
        load(save_npz(tmp_path / "x.npz", x=UINT8, y=np.array([0, 1])), split="test")
    for name in ("cat", "dog"):
        (tmp_path / "pets" / name).mkdir(parents=True)
        Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(tmp_path / "pets" / name / "1.png")
    assert len(load(tmp_path / "pets").images) == 2
    with pytest.raises(UsageError, match="--split"):
        load(tmp_path / "pets", split="test")
    (tmp_path / "pets" / "bird").mkdir()
    with pytest.raises(InvalidInputError, match="bird"):
        load(tmp_path / "pets")


@pytest.mark.parametrize("kind", ["auto", *importers.importers])
def test_a_missing_source_is_refused_by_name(tmp_path, kind):
    with pytest.raises(InvalidInputError, match="nothing-here"):
        load(tmp_path / "nothing-here", format=kind)


@pytest.mark.parametrize("kind", importers.importers)
@pytest.mark.parametrize("content", [b"", b"hello world", bytes(2048)])
def test_a_file_of_another_kind_is_refused(tmp_path, kind, content):
    (tmp_path / "x.bin").write_bytes(content)
    with pytest.raises((InvalidInputError, UnsafeInputError)):
        load(tmp_path / "x.bin", format=kind)


@pytest.mark.parametrize("kind", importers.importers)
def test_an_empty_folder_is_refused(tmp_path, kind):
    (tmp_path / "x").mkdir()
    with pytest.raises(InvalidInputError):
        load(tmp_path / "x", format=kind)


def test_a_source_of_no_known_kind_asks_for_the_format(tmp_path):
    (tmp_path / "x.bin").write_bytes(b"hello")
    with pytest.raises(InvalidInputError, match="--format"):
        load(tmp_path / "x.bin")


def test_a_source_of_two_kinds_asks_for_the_format(animals):
    for name, content in cifar10().items():
        (animals / name).write_bytes(content)
    with pytest.raises(InvalidInputError, match="--format"):
        load(animals)
    assert load(animals, format="cifar").classes == ("ant", "bee", "zebra")
    assert load(animals, format="folder").classes == ("Zebra", "ant", "bee")


def source_folder(tmp_path):
    for number in range(2):
        pixels = np.random.default_rng(number).integers(0, 256, (8, 8, 3), np.uint8)
        save_png(tmp_path / "x" / "a" / f"{number}.jpg", pixels)
        save_png(tmp_path / "x" / "b" / f"{number}.png", pixels)
    return tmp_path / "x"


def source_jpg(tmp_path):
    folder = source_folder(tmp_path)
    return [folder], folder / "a" / "0.jpg"


def source_png(tmp_path):
    folder = source_folder(tmp_path)
    return [folder], folder / "b" / "0.png"


def source_zip(tmp_path):
    path = zip_folder(source_folder(tmp_path))
    return [path], path


def source_cifar(tmp_path):
    path = save_cifar(tmp_path, cifar10(), "tar.gz")
    return [path], path


def source_cifar_tar(tmp_path):
    path = save_cifar(tmp_path, {n: cifar10()[n] for n in ("batches.meta", "data_batch_2")}, "tar")
    return [path], path


def source_idx(tmp_path):
    folder = save_mnist(tmp_path / "mnist", packed=False)
    return [folder], folder / "train-images-idx3-ubyte"


def source_idx_gz(tmp_path):
    folder = save_mnist(tmp_path / "mnist", packed=True)
    path = folder / "train-images-idx3-ubyte.gz"
    images = np.random.default_rng(0).integers(0, 9, (2, 20, 20))
    path.write_bytes(gzip.compress(idx_bytes(images)))
    return [folder], path


def source_npz(tmp_path):
    path = save_npz(tmp_path / "x.npz", x=UINT8, y=np.array([0, 1]))
    return [path], path


def source_npz_deflated(tmp_path):
    images = np.random.default_rng(0).integers(0, 9, (2, 3, 8, 8)).astype(np.uint8)
    np.savez_compressed(tmp_path / "x.npz", x=images, y=np.array([0, 1]))
    return [tmp_path / "x.npz"], tmp_path / "x.npz"


def source_pt(tmp_path):
    paths = save_pair(tmp_path)
    return paths, paths[0]


def source_dc(tmp_path):
    path = save_dc(tmp_path, UNIT)
    return [path], path


def source_rat_bptt(tmp_path):
    path = save_rat_bptt(tmp_path, UNIT, np.ones((2, 3), np.float32))
    return [path], path


SOURCES = {
    function.__name__.removeprefix("source_"): (function, kind)
    for function, kind in (
        (source_jpg, "folder"),
        (source_png, "folder"),
        (source_zip, "folder"),
        (source_cifar, "cifar"),
        (source_cifar_tar, "cifar"),
        (source_idx, "idx"),
        (source_idx_gz, "idx"),
        (source_npz, "npz"),
        (source_npz_deflated, "npz"),
        (source_pt, "pt"),
        (source_dc, "dc"),
        (source_rat_bptt, "rat-bptt"),
    )
}


# Pillow and numpy warn of what they find odd in damaged files.
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("source", SOURCES)
def test_a_damaged_source_is_one_error_of_ours_or_is_read(tmp_path, source):
    make, kind = SOURCES[source]
    paths, victim = make(tmp_path)
    pixels = "unit" if kind in ("pt", "dc", "rat-bptt") else None
    assert len(load(*paths, format=kind, pixels=pixels)) > 0
    content = victim.read_bytes()
    generator = np.random.default_rng(1)
    errors = []
    for number in range(80):
        data = bytearray(content)
        start = int(generator.integers(0, len(data) if number % 4 else min(len(data), 200)))
        if number % 10 == 0:
            del data[start:]
        elif number % 10 == 1:
            data[start : start + 16] = generator.bytes(16)
        elif number % 10 == 2:
            data[start : start + 40] = bytes(40)
        else:
            data[start] ^= 1 << int(generator.integers(0, 8))
        victim.write_bytes(data)
        try:
            bundle = load(*paths, format="auto" if number % 3 else kind, pixels=pixels)
        except DDLabelError as error:
            errors.append(error)
        else:
            assert bundle.images.ndim == 4
    assert len(errors) >= 8
    assert {error.exit_code for error in errors} <= {3, 4}


@pytest.mark.parametrize("source", ["jpg", "zip", "cifar", "npz"])
def test_a_second_source_that_nothing_would_read_is_refused(tmp_path, source):
    """A path that is silently left out is a data set that is silently too small."""
    make, kind = SOURCES[source]
    paths, _ = make(tmp_path)
    with pytest.raises(UsageError, match=kind):
        load(*paths, *paths, format=kind)


IDLE = {
    "size": (4, ["cifar", "idx", "npz", "pt"]),
    "split": ("test", ["pt"]),
    "set": (0, ["jpg", "pt"]),
    "class_sorted": (True, ["zip", "idx"]),
    "pixels": ("uint8", ["jpg", "cifar", "idx"]),
    "label_space": ("probs", ["zip", "cifar", "idx"]),
    "zca_from": ("real.h5", ["jpg", "cifar", "idx"]),
}


@pytest.mark.parametrize(
    ("option", "source"), [(name, each) for name, (_, users) in IDLE.items() for each in users]
)
def test_an_option_that_a_source_has_no_use_for_is_refused(tmp_path, option, source):
    """It would stand in the history and have done nothing."""
    make, _ = SOURCES[source]
    paths, _ = make(tmp_path)
    with pytest.raises(UsageError, match=f"--{option.replace('_', '-')}"):
        load(*paths, **{option: IDLE[option][0]})
