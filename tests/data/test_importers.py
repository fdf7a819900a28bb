"""Every importer against pixels and labels known by hand, damaged and hostile sources, and ZCA against scipy."""

from __future__ import annotations

import gzip
import io
import os
import pickle
import struct
import tarfile
import warnings
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
import scipy.linalg
import torch
from PIL import Image

from ddlabel.core.config import ImportOptions
from ddlabel.core.errors import (
    DDLabelError,
    InvalidInputError,
    ResourceError,
    UnsafeInputError,
    UsageError,
)
from ddlabel.data import formats, importers, whitening
from ddlabel.data.bundle import Bundle
from ddlabel.data.schema import Pixels


def load(*paths: Path, **options) -> Bundle:
    """What `ddlabel import` does before it writes."""
    bundle = importers.load(list(paths), ImportOptions(**options))
    bundle.check_values()
    return bundle


def save_png(path: Path, pixels) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(pixels, np.uint8)).save(path)


def pack(folder: Path, name: str = "packed.zip") -> Path:
    path = folder.parent / name
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in folder.rglob("*"):
            if file.is_file():
                archive.write(file, file.relative_to(folder.parent))
    return path


class Hostile:
    """What leaves a file behind when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch '{self.marker}'",)


@pytest.fixture
def marker(tmp_path) -> Path:
    """The file that must not come into being; the code that would make it is shown to work."""
    path = tmp_path / "marker"
    pickle.loads(pickle.dumps(Hostile(path)))
    assert path.exists()
    path.unlink()
    return path


# Class folders


@pytest.fixture
def animals(tmp_path) -> Path:
    """Class folders with grey images of one number each; `ant` sorts after `Zebra` in the order of characters."""
    folder = tmp_path / "animals"
    for name, value in {
        "ant/b": 12,
        "ant/a": 11,
        "Zebra/x": 20,
        "bee/1": 31,
        "bee/10": 32,
        "bee/2": 33,
    }.items():
        save_png(folder / f"{name}.png", np.full((2, 3), value))
    return folder


@pytest.mark.parametrize("packed", [False, True])
def test_class_folders_are_read_in_the_order_of_their_characters(animals, packed):
    bundle = load(pack(animals) if packed else animals)
    assert bundle.classes == ("Zebra", "ant", "bee")
    assert bundle.images.shape == (6, 1, 2, 3)
    assert bundle.images.dtype == np.uint8
    assert bundle.images[:, 0, 1, 2].tolist() == [20, 11, 12, 31, 32, 33]
    assert bundle.hard_labels.tolist() == [0, 1, 1, 2, 2, 2]
    assert (bundle.soft, bundle.pixels.space) == (None, "uint8")


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("prefix", ["new", "class", ""])
def test_numbered_folders_are_read_in_the_order_of_their_numbers(tmp_path, prefix, packed):
    folder = tmp_path / "numbered"
    for number in (10, 0, 2, 9, 100):
        save_png(folder / f"{prefix}{number}" / "x.png", np.full((2, 2), number))
    bundle = load(pack(folder) if packed else folder)
    assert bundle.classes == tuple(f"{prefix}{number}" for number in (0, 2, 9, 10, 100))
    assert bundle.images[:, 0, 0, 0].tolist() == [0, 2, 9, 10, 100]
    assert bundle.hard_labels.tolist() == [0, 1, 2, 3, 4]


def test_names_with_other_letters_are_not_numbers(tmp_path):
    for name in ("n10", "n2", "new1x", "3"):
        save_png(tmp_path / "x" / name / "x.png", np.zeros((2, 2)))
    assert load(tmp_path / "x").classes == ("3", "n10", "n2", "new1x")


def test_colours_come_out_channel_by_channel_row_by_row(tmp_path):
    pixels = [[[1, 2, 3], [4, 5, 6]], [[7, 8, 9], [10, 11, 12]]]  # [H, W, C]
    save_png(tmp_path / "x" / "a" / "x.png", pixels)
    assert load(tmp_path / "x").images.tolist() == [
        [[[1, 4], [7, 10]], [[2, 5], [8, 11]], [[3, 6], [9, 12]]]
    ]


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(("split", "value"), [("train", 1), ("val", 2), ("test", 3)])
def test_split_picks_one_part(tmp_path, split, value, packed):
    for number, part in enumerate(("train", "val", "test"), start=1):
        save_png(tmp_path / "x" / part / "cat" / "x.png", np.full((2, 2), number))
    bundle = load(pack(tmp_path / "x") if packed else tmp_path / "x", split=split)
    assert bundle.images.tolist() == np.full((1, 1, 2, 2), value).tolist()
    assert bundle.classes == ("cat",)


def test_a_part_that_is_not_there_is_refused_with_those_that_are(tmp_path):
    save_png(tmp_path / "train" / "cat" / "x.png", np.zeros((2, 2)))
    save_png(tmp_path / "val" / "cat" / "x.png", np.zeros((2, 2)))
    with pytest.raises(InvalidInputError, match="train or val"):
        load(tmp_path, split="test")


def test_classes_that_are_called_like_parts_are_classes(tmp_path):
    for name in ("train", "test"):
        save_png(tmp_path / "x" / name / "x.png", np.zeros((2, 2)))
    assert load(tmp_path / "x").classes == ("test", "train")


def test_grey_images_stay_grey_or_become_three_equal_channels(animals):
    grey, colour = load(animals), load(animals, rgb=True)
    assert colour.images.tolist() == np.concatenate([grey.images] * 3, axis=1).tolist()
    assert len(colour.pixels.mean) == 3


def test_grey_and_coloured_images_mix_with_rgb_only(tmp_path):
    save_png(tmp_path / "x" / "a" / "1.png", np.full((2, 2), 5))
    save_png(tmp_path / "x" / "a" / "2.png", np.full((2, 2, 3), 6))
    with pytest.raises(InvalidInputError, match="--rgb"):
        load(tmp_path / "x")
    assert load(tmp_path / "x", rgb=True).images[:, :, 0, 0].tolist() == [[5, 5, 5], [6, 6, 6]]


@pytest.mark.parametrize(("form", "expected"), [("1", 255), ("LA", 77), ("L", 77)])
def test_grey_modes_of_png_have_one_channel(tmp_path, form, expected):
    (tmp_path / "x" / "a").mkdir(parents=True)
    pixel = {"1": 1, "LA": (77, 255), "L": 77}[form]
    Image.new(form, (2, 2), pixel).save(tmp_path / "x" / "a" / "x.png")
    assert load(tmp_path / "x").images.tolist() == np.full((1, 1, 2, 2), expected).tolist()


@pytest.mark.parametrize("rgb", [False, True])
def test_sixteen_bits_are_scaled_to_eight_and_not_cut_off(tmp_path, rgb):
    (tmp_path / "x" / "a").mkdir(parents=True)
    Image.fromarray(np.array([[0, 0x4040, 0x8080, 0xFFFF]], np.uint16)).save(
        tmp_path / "x" / "a" / "x.png"
    )
    assert load(tmp_path / "x", rgb=rgb).images[0, 0].tolist() == [[0, 0x40, 0x80, 0xFF]]


def test_images_of_several_sizes_are_refused_without_size(tmp_path):
    save_png(tmp_path / "x" / "a" / "1.png", np.zeros((2, 3)))
    save_png(tmp_path / "x" / "a" / "2.png", np.zeros((3, 2)))
    with pytest.raises(InvalidInputError, match="--size"):
        load(tmp_path / "x")
    assert load(tmp_path / "x", size=2).images.shape == (2, 1, 2, 2)


RAMP = np.array([[10, 20, 30, 40], [50, 60, 70, 80]])


@pytest.mark.parametrize(
    ("pixels", "expected"),
    [
        (RAMP, [[20, 30], [60, 70]]),  # room 2: one column off each side
        (RAMP.T, [[20, 60], [30, 70]]),
        (RAMP[:, :3], [[10, 20], [50, 60]]),  # room 1: off the right side
        (RAMP[:, :2], [[10, 20], [50, 60]]),
        (np.full((8, 4), 99), [[99, 99], [99, 99]]),  # halved, then cropped
        (np.full((1, 1), 99), [[99, 99], [99, 99]]),  # enlarged
        (np.full((300, 2), 99), [[99, 99], [99, 99]]),
    ],
)
def test_size_crops_the_centre(tmp_path, pixels, expected):
    save_png(tmp_path / "x" / "a" / "x.png", pixels)
    assert load(tmp_path / "x", size=2).images.tolist() == [[expected]]


def test_size_keeps_what_lies_in_the_centre_and_averages_before_it_shrinks(tmp_path):
    # Wide image: grey thirds 0, checkerboard of 0 and 200, 0. Without antialiasing pixels would be 0 or 200.
    board = 200 * (np.indices((16, 16)).sum(0) % 2)
    save_png(
        tmp_path / "x" / "a" / "x.png",
        np.hstack([np.full((16, 16), 255), board, np.full((16, 16), 255)]),
    )
    inside = load(tmp_path / "x", size=4).images[0, 0, :, 1:3].astype(int)
    assert abs(inside - 100).max() <= 10


def test_statistics_are_those_of_the_pixels_in_unit_space(tmp_path):
    save_png(tmp_path / "x" / "a" / "1.png", np.full((2, 2, 3), [0, 255, 51]))
    save_png(tmp_path / "x" / "a" / "2.png", np.full((2, 2, 3), [255, 255, 153]))
    pixels = load(tmp_path / "x").pixels
    assert pixels.mean == pytest.approx((0.5, 1.0, 0.4), abs=1e-6)
    assert (pixels.std[0], pixels.std[2]) == pytest.approx((0.5, 0.2), abs=1e-6)
    assert 0 < pixels.std[1] < 0.01


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
    ],
)
def test_statistics_that_do_not_fit_are_refused(animals, mean, std):
    with pytest.raises((UsageError, InvalidInputError)):
        load(animals, mean=mean, std=std)


def test_class_names_replace_those_of_the_source(animals):
    assert load(animals, class_names="x, y ,z").classes == ("x", "y", "z")


@pytest.mark.parametrize("given", ["x,y", "x,x,y", ""])
def test_class_names_that_are_too_few_or_not_different_are_refused(animals, given):
    with pytest.raises((UsageError, InvalidInputError)):
        load(animals, class_names=given)


@pytest.mark.parametrize("options", [{}, {"format": "folder"}])
def test_folders_without_class_folders_of_images_are_refused(tmp_path, options):
    with pytest.raises(InvalidInputError):
        load(tmp_path, **options)
    (tmp_path / "cat").mkdir()
    with pytest.raises(InvalidInputError):
        load(tmp_path, **options)
    (tmp_path / "cat" / "x.txt").write_text("x")
    with pytest.raises(InvalidInputError):
        load(tmp_path, **options)
    save_png(tmp_path / "x.png", np.zeros((2, 2)))
    with pytest.raises(InvalidInputError):
        load(tmp_path, **options)


def test_an_image_beside_the_class_folders_is_refused(animals):
    save_png(animals / "stray.png", np.zeros((2, 3)))
    with pytest.raises(InvalidInputError, match="one folder for each class"):
        load(animals)


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_a_truncated_image_is_refused_by_name(tmp_path, suffix):
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    path = tmp_path / "x" / "a" / f"broken.{suffix}"
    save_png(path, pixels)
    assert load(tmp_path / "x").images.shape == (1, 3, 32, 32)
    path.write_bytes(path.read_bytes()[:-400])
    with pytest.raises(InvalidInputError, match="broken"):
        load(tmp_path / "x")


def test_formats_that_could_start_a_program_are_not_even_tried(tmp_path):
    """Pillow hands PostScript to an interpreter, whatever the suffix."""
    (tmp_path / "x" / "a").mkdir(parents=True)
    Image.new("L", (2, 2)).save(tmp_path / "x" / "a" / "x.png", "EPS")
    with pytest.raises(InvalidInputError, match="identify"):
        load(tmp_path / "x")


@pytest.mark.parametrize("content", [b"", b"not an image", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"])
def test_a_file_that_is_no_image_is_refused(tmp_path, content):
    (tmp_path / "x" / "a").mkdir(parents=True)
    (tmp_path / "x" / "a" / "x.png").write_bytes(content)
    with pytest.raises(InvalidInputError, match=r"x\.png"):
        load(tmp_path / "x")


def png_that_declares(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(bytes(999)))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("side", [9_000, 12_000, 40_000])
def test_an_image_of_absurd_size_is_unsafe(tmp_path, side):
    # Pillow is silent about the first, warns of the second and refuses the third.
    (tmp_path / "x" / "a").mkdir(parents=True)
    (tmp_path / "x" / "a" / "x.png").write_bytes(png_that_declares(side, side))
    with pytest.raises(UnsafeInputError):
        load(tmp_path / "x")


@pytest.mark.parametrize(
    "name", ["../cat/x.png", "cat/../../x.png", "/cat/x.png", "a/b/../../../x.jpg"]
)
@pytest.mark.parametrize("options", [{}, {"format": "folder"}])
def test_a_member_outside_its_archive_is_unsafe(animals, name, options):
    path = pack(animals)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(name, (animals / "ant" / "a.png").read_bytes())
    with pytest.raises(UnsafeInputError, match="outside"):
        load(path, **options)


def test_a_member_that_declares_too_much_is_unsafe(animals, monkeypatch):
    path = pack(animals)
    monkeypatch.setattr("ddlabel.data.importers.folder._MAX_FILE_BYTES", 20)
    with pytest.raises(UnsafeInputError, match="declares"):
        load(path)


def test_a_name_that_stands_twice_in_an_archive_is_refused_or_read(animals):
    path = pack(animals)
    with warnings.catch_warnings(), zipfile.ZipFile(path, "a") as archive:
        warnings.simplefilter("ignore")
        archive.write(animals / "ant" / "a.png", "animals/ant/a.png")
    try:
        bundle = load(path)
    except InvalidInputError:
        return
    assert bundle.images[:, 0, 0, 0].tolist() in (
        [20, 11, 12, 31, 32, 33],
        [20, 11, 11, 12, 31, 32, 33],
    )


def test_what_macos_adds_to_an_archive_is_left_out(animals):
    path = pack(animals)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("__MACOSX/animals/ant/._a.png", b"not an image")
    assert load(path).hard_labels.tolist() == [0, 1, 1, 2, 2, 2]


def test_a_class_folder_whose_name_is_no_text_cannot_end_in_a_traceback(tmp_path):
    save_png(tmp_path / "x" / "a" / "x.png", np.zeros((2, 2)))
    (tmp_path / "x" / "a").rename(os.fsdecode(os.fsencode(tmp_path / "x") + b"/\xff"))
    out = tmp_path / "x.safetensors"
    try:
        formats.write(str(out), load(tmp_path / "x"))
    except InvalidInputError:
        assert not out.exists()
    else:
        assert len(formats.read(str(out)).classes) == 1


# CIFAR


def row(red: int, green: int, blue: int) -> np.ndarray:
    """One image as CIFAR stores it: the red plane, the green one, the blue one; marked at row 0, column 1."""
    data = np.repeat(np.array([red, green, blue], np.uint8), 1024)
    data[1] = 255
    return data


def batch(labels, *, key=b"labels") -> bytes:
    data = np.stack([row(label, 100 + label, 200 + label) for label in labels])
    return pickle.dumps({b"data": data, key: list(labels), b"batch_label": b"x"}, protocol=2)


def cifar10(names=(b"zebra", b"ant", b"bee")) -> dict[str, bytes]:
    """The order of classes in the files is not that of their characters."""
    return {
        "batches.meta": pickle.dumps({b"label_names": list(names)}, protocol=2),
        "data_batch_1": batch([0, 1]),
        "data_batch_2": batch([2]),
        "data_batch_5": batch([1]),
        "test_batch": batch([2, 0]),
        "readme.html": b"<p>",
    }


def cifar100() -> dict[str, bytes]:
    test = {
        b"data": np.stack([row(1, 1, 1), row(0, 0, 0)]),
        b"fine_labels": [1, 0],
        b"coarse_labels": [0, 1],
    }
    names = {b"fine_label_names": [b"b", b"a"], b"coarse_label_names": [b"y", b"x"]}
    return {
        "meta": pickle.dumps(names, protocol=2),
        "train": batch([0, 1], key=b"fine_labels"),
        "test": pickle.dumps(test, protocol=2),
    }


def store(tmp_path: Path, members: dict[str, bytes], how: str) -> Path:
    """The members as a folder or an archive, in another order than theirs."""
    if how == "folder":
        path = tmp_path / "cifar"
        path.mkdir()
        for name, content in members.items():
            (path / name).write_bytes(content)
        return path
    path = tmp_path / f"cifar.{how}"
    with tarfile.open(path, "w:gz" if how == "tar.gz" else "w") as archive:
        for name, content in reversed(members.items()):
            info = tarfile.TarInfo(f"cifar-py/{name}")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


@pytest.mark.parametrize("how", ["folder", "tar", "tar.gz"])
def test_cifar10_is_read_in_the_order_of_its_files_with_classes_in_that_of_their_names(
    tmp_path, how
):
    path = store(tmp_path, cifar10(), how)
    train, test = load(path), load(path, split="test")
    assert train.classes == test.classes == ("ant", "bee", "zebra")
    # Stored labels 0 (zebra), 1 (ant), 2 (bee), 1 (ant).
    assert train.hard_labels.tolist() == [2, 0, 1, 0]
    assert train.images[:, :, 5, 5].tolist() == [
        [0, 100, 200],
        [1, 101, 201],
        [2, 102, 202],
        [1, 101, 201],
    ]
    assert train.images[0, 0, :2, :2].tolist() == [[0, 255], [0, 0]]
    assert train.images.shape == (4, 3, 32, 32)
    assert test.hard_labels.tolist() == [1, 2]


@pytest.mark.parametrize("how", ["folder", "tar"])
def test_cifar100_is_read_with_its_fine_labels(tmp_path, how):
    path = store(tmp_path, cifar100(), how)
    assert load(path).classes == ("a", "b")
    assert load(path).hard_labels.tolist() == [1, 0]
    assert load(path, split="test").hard_labels.tolist() == [0, 1]


def python2_batch(data: np.ndarray, labels: list[int]) -> bytes:
    """The opcodes that Python 2 and numpy 1 wrote into the archive that everyone downloads."""
    array = (
        b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\0\x85U\x01b\x87R(K\x01"
        + (
            b"J"
            + struct.pack("<i", data.shape[0])
            + b"J"
            + struct.pack("<i", data.shape[1])
            + b"\x86"
        )
        + b"cnumpy\ndtype\n(U\x02u1K\0K\x01tR(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\0tb\x89"
        + (b"T" + struct.pack("<i", data.nbytes) + data.tobytes())
        + b"tb"
    )
    numbers = b"".join(b"K" + bytes([label]) for label in labels)
    return b"\x80\x02}(U\x04data" + array + b"U\x06labels](" + numbers + b"eu."


def test_pickles_of_python_2_are_read(tmp_path):
    members = cifar10() | {"data_batch_1": python2_batch(np.stack([row(9, 8, 7)]), [1])}
    bundle = load(store(tmp_path, members, "tar.gz"))
    assert bundle.images[0, :, 5, 5].tolist() == [9, 8, 7]
    assert bundle.hard_labels.tolist() == [0, 1, 0]


@pytest.mark.parametrize("how", ["folder", "tar.gz"])
@pytest.mark.parametrize("member", ["data_batch_2", "batches.meta"])
@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_a_pickle_with_code_in_a_cifar_archive_is_unsafe_and_does_not_run(
    tmp_path, marker, how, member, protocol
):
    hostile = pickle.dumps({b"data": Hostile(marker)}, protocol=protocol)
    path = store(tmp_path, cifar10() | {member: hostile}, how)
    with pytest.raises(UnsafeInputError, match="system"):
        load(path)
    assert not marker.exists()


def test_builtins_and_other_parts_of_numpy_are_not_allowed_either(tmp_path):
    for word in (
        b"cbuiltins\neval\n.",
        b"cnumpy\nload\n.",
        b"cnumpy\nndarray.dump\n.",
        b"\x80\x04\x8c\x02os\x8c\x06system\x93.",
    ):
        folder = tmp_path / str(len(word)) / word[1:3].hex()
        folder.mkdir(parents=True)
        with pytest.raises(UnsafeInputError):
            load(store(folder, cifar10() | {"data_batch_1": word}, "folder"))


BAD_CIFAR = {
    "no meta": lambda m: m.pop("batches.meta"),
    "no batch": lambda m: [m.pop(name) for name in list(m) if name.startswith("data_batch")],
    "cut off": lambda m: m.update(data_batch_1=m["data_batch_1"][:-500]),
    "empty": lambda m: m.update(data_batch_1=b""),
    "not a pickle": lambda m: m.update(data_batch_1=b"hello"),
    "not a dictionary": lambda m: m.update(data_batch_1=pickle.dumps([1, 2])),
    "no labels": lambda m: m.update(
        data_batch_1=pickle.dumps({b"data": np.zeros((1, 3072), np.uint8)})
    ),
    "no data": lambda m: m.update(data_batch_1=pickle.dumps({b"labels": [0]})),
    "rows of another length": lambda m: m.update(data_batch_1=odd_rows()),
    "a label too many": lambda m: m.update(data_batch_1=batch_of([0, 1], [0, 1, 2])),
    "a label too few": lambda m: m.update(data_batch_1=batch_of([0, 1], [0])),
    "label K": lambda m: m.update(data_batch_1=batch_of([0, 1], [0, 3])),
    "label -1": lambda m: m.update(data_batch_1=batch_of([0, 1], [0, -1])),
    "labels of half": lambda m: m.update(data_batch_1=batch_of([0, 1], [0, 0.5])),
    "labels of text": lambda m: m.update(data_batch_1=batch_of([0, 1], [b"a", b"b"])),
    "pixels of double": lambda m: m.update(
        data_batch_1=pickle.dumps({b"data": np.zeros((1, 3072)), b"labels": [0]})
    ),
    "pixels of objects": lambda m: m.update(
        data_batch_1=pickle.dumps({b"data": np.full((1, 3072), None), b"labels": [0]})
    ),
    "names of numbers": lambda m: m.update(
        {"batches.meta": pickle.dumps({b"label_names": [1, 2, 3]})}
    ),
    "a name twice": lambda m: m.update(
        {"batches.meta": pickle.dumps({b"label_names": [b"a", b"a", b"b"]})}
    ),
}


def odd_rows() -> bytes:
    return pickle.dumps({b"data": np.zeros((1, 3071), np.uint8), b"labels": [0]})


def batch_of(rows, labels) -> bytes:
    return pickle.dumps(
        {b"data": np.stack([row(value, 0, 0) for value in rows]), b"labels": labels}, protocol=2
    )


@pytest.mark.parametrize("change", BAD_CIFAR)
def test_a_cifar_archive_without_meaning_is_refused(tmp_path, change):
    members = cifar10()
    BAD_CIFAR[change](members)
    path = store(tmp_path, members, "tar")
    with pytest.raises(InvalidInputError):
        load(path, format="cifar")


def test_cifar_has_no_validation_part(tmp_path):
    with pytest.raises(InvalidInputError, match="--split train or test"):
        load(store(tmp_path, cifar10(), "folder"), split="val")


# IDX


def idx(array) -> bytes:
    array = np.asarray(array, np.uint8)
    return (
        bytes([0, 0, 8, array.ndim])
        + b"".join(n.to_bytes(4, "big") for n in array.shape)
        + array.tobytes()
    )


PIXELS = np.arange(12).reshape(2, 2, 3)


def mnist(folder: Path, packed: bool) -> Path:
    folder.mkdir(exist_ok=True)
    for prefix, shift in (("train", 0), ("t10k", 100)):
        for name, array in (
            (f"{prefix}-images-idx3-ubyte", PIXELS + shift),
            (f"{prefix}-labels-idx1-ubyte", [2, 0]),
        ):
            if packed:
                (folder / f"{name}.gz").write_bytes(gzip.compress(idx(array)))
            else:
                (folder / name).write_bytes(idx(array))
    return folder


@pytest.mark.parametrize("packed", [False, True])
def test_idx_folders_hold_both_parts(tmp_path, packed):
    folder = mnist(tmp_path / "mnist", packed)
    train, test = load(folder), load(folder, split="test")
    assert train.images.tolist() == PIXELS[:, None].tolist()
    assert train.hard_labels.tolist() == [2, 0]
    assert train.classes == ("0", "1", "2")
    assert test.images.tolist() == (PIXELS[:, None] + 100).tolist()
    with pytest.raises(InvalidInputError, match="val"):
        load(folder, split="val")


def test_of_a_packed_and_an_unpacked_idx_file_the_unpacked_one_is_read(tmp_path):
    folder = mnist(tmp_path / "mnist", packed=False)
    (folder / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(PIXELS + 50)))
    assert load(folder).images.tolist() == PIXELS[:, None].tolist()
    (folder / "train-images-idx3-ubyte").unlink()
    assert load(folder).images.tolist() == (PIXELS[:, None] + 50).tolist()


def test_idx_pairs_come_in_either_order(tmp_path):
    folder = mnist(tmp_path / "mnist", packed=False)
    pair = sorted(folder.glob("t10k*"))
    assert (
        load(*pair).images.tolist()
        == load(*pair[::-1]).images.tolist()
        == (PIXELS[:, None] + 100).tolist()
    )


@pytest.mark.parametrize("channels_last", [False, True])
def test_idx_of_four_axes_is_in_colour(tmp_path, channels_last):
    images = np.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5)
    (tmp_path / "a-idx4-ubyte").write_bytes(
        idx(images.transpose(0, 2, 3, 1) if channels_last else images)
    )
    (tmp_path / "b-idx1-ubyte").write_bytes(idx([0, 1]))
    assert (
        load(tmp_path / "a-idx4-ubyte", tmp_path / "b-idx1-ubyte").images.tolist()
        == images.tolist()
    )


GOOD_IDX = idx(PIXELS)
BAD_IDX = {
    "cut off": GOOD_IDX[:-1],
    "too long": GOOD_IDX + b"\0",
    "cut off in its head": GOOD_IDX[:9],
    "only a magic": GOOD_IDX[:4],
    "three bytes": GOOD_IDX[:3],
    "empty": b"",
    "of signed bytes": GOOD_IDX[:2] + b"\x09" + GOOD_IDX[3:],
    "of no axes": b"\0\0\x08\0",
    "of five axes": idx(np.zeros((2, 1, 1, 1, 1))),
    "no images": idx(np.zeros((0, 2, 3))),
    "another number of images": idx(np.zeros((3, 2, 3))),
    "labels": idx([0, 1]),
}


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("bad", BAD_IDX)
def test_idx_that_is_damaged_is_refused(tmp_path, bad, packed):
    folder = mnist(tmp_path / "mnist", packed)
    path = next(folder.glob("train-images*"))
    path.write_bytes(gzip.compress(BAD_IDX[bad]) if packed else BAD_IDX[bad])
    with pytest.raises(InvalidInputError):
        load(folder)


def test_idx_that_declares_too_much_is_unsafe(tmp_path):
    folder = mnist(tmp_path / "mnist", packed=False)
    (folder / "train-images-idx3-ubyte").write_bytes(b"\0\0\x08\x03" + b"\xff" * 12)
    with pytest.raises(UnsafeInputError, match="declares"):
        load(folder)


# Bare arrays


def save_npz(path: Path, **arrays) -> Path:
    np.savez(path, **arrays)
    return path


def save_pt(path: Path, value, **how) -> Path:
    torch.save(value, path, **how)
    return path


UINT8 = np.arange(2 * 3 * 2 * 2, dtype=np.uint8).reshape(2, 3, 2, 2)
UNIT = UINT8.astype(np.float32) / 32  # exact in float16 too


@pytest.mark.parametrize(
    ("images", "labels"),
    [("images", "labels"), ("x", "y"), ("data", "label"), ("x_test", "y_test"), ("images", "y")],
)
def test_npz_is_read_under_the_usual_names(tmp_path, images, labels):
    path = save_npz(tmp_path / "x.npz", **{images: UINT8, labels: np.array([3, 1])})
    bundle = load(path, split="test" if "test" in images else None)
    assert bundle.images.tolist() == UINT8.tolist()
    assert bundle.hard_labels.tolist() == [3, 1]
    assert bundle.classes == ("0", "1", "2", "3")


@pytest.mark.parametrize(
    "labels",
    [
        np.array([[3], [1]]),
        np.array([3, 1], np.uint8),
        np.array([3.0, 1.0]),
        np.array([3, 1], ">i4"),
    ],
    ids=["[N, 1]", "uint8", "float", "big-endian"],
)
def test_integer_labels_may_have_any_type(tmp_path, labels):
    assert load(save_npz(tmp_path / "x.npz", x=UINT8, y=labels)).hard_labels.tolist() == [3, 1]


@pytest.mark.parametrize("form", ["NCHW", "NHWC", "NHW"])
def test_axes_are_put_in_order(tmp_path, form):
    images = {"NCHW": UINT8, "NHWC": UINT8.transpose(0, 2, 3, 1), "NHW": UINT8[:, 0]}[form]
    expected = UINT8[:, :1] if form == "NHW" else UINT8
    assert (
        load(save_npz(tmp_path / "x.npz", x=images, y=np.array([0, 1]))).images.tolist()
        == expected.tolist()
    )


BAD_ARRAYS = {
    "another N": (UINT8, np.array([0, 1, 2])),
    "no images": (UINT8[:0], np.zeros(0, int)),
    "two axes": (UINT8[:, 0, 0], np.array([0, 1])),
    "five axes": (UINT8[None], np.array([0])),
    "labels of three axes": (UINT8, np.zeros((2, 2, 2))),
    "a label of -1": (UINT8, np.array([0, -1])),
    "a label of one half": (UINT8, np.array([0, 0.5])),
    "a label of NaN": (UINT8, np.array([0, np.nan])),
    "labels of text": (UINT8, np.array(["cat", "dog"])),
    "labels of another kind of number": (UINT8, np.array([0, 1j])),
    "images of text": (np.full((2, 1, 2, 2), "x"), np.array([0, 1])),
    "images of dates": (np.zeros((2, 1, 2, 2), "M8[s]"), np.array([0, 1])),
    "images of records": (np.zeros((2, 1, 2, 2), [("a", "u1")]), np.array([0, 1])),
    "images of complex numbers": (UNIT.astype(complex), np.array([0, 1])),
}


@pytest.mark.parametrize("stated", [None, "uint8"])
@pytest.mark.parametrize("bad", BAD_ARRAYS)
def test_arrays_without_meaning_are_refused(tmp_path, bad, stated):
    images, labels = BAD_ARRAYS[bad]
    path = save_npz(tmp_path / "x.npz", x=images, y=labels)
    with pytest.raises((InvalidInputError, UsageError)):
        load(path, pixels=stated)


@pytest.mark.parametrize(
    "arrays", [{"x": UINT8}, {"y": np.array([0, 1])}, {"a": UINT8, "b": np.array([0, 1])}, {}]
)
def test_npz_without_images_or_labels_is_refused(tmp_path, arrays):
    with pytest.raises(InvalidInputError, match="expected"):
        load(save_npz(tmp_path / "x.npz", **arrays))


@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x05\x06" + bytes(18)])
def test_a_file_that_is_no_npz_is_refused(tmp_path, content):
    (tmp_path / "x.npz").write_bytes(content)
    with pytest.raises(InvalidInputError):
        load(tmp_path / "x.npz")


@pytest.mark.parametrize("name", ["x", "y"])
def test_pickled_objects_in_npz_are_refused_and_do_not_run(tmp_path, marker, name):
    arrays = {"x": UINT8, "y": np.array([0, 1])} | {
        name: np.array([Hostile(marker), None], dtype=object)
    }
    path = save_npz(tmp_path / "x.npz", **arrays)
    with pytest.raises(UnsafeInputError, match="pickle"):
        load(path)
    assert not marker.exists()


def test_npz_that_declares_too_much_is_unsafe(tmp_path, monkeypatch):
    path = save_npz(tmp_path / "x.npz", x=UINT8, y=np.array([0, 1]))
    monkeypatch.setattr("ddlabel.data.importers.npz._MAX_BYTES", 100)
    with pytest.raises(UnsafeInputError, match="declares"):
        load(path)


def pair(tmp_path: Path, images=UNIT, labels=(2, 0), **how) -> list[Path]:
    labels = labels if isinstance(labels, torch.Tensor) else torch.tensor(labels)
    return [
        save_pt(tmp_path / "images.pt", torch.as_tensor(images), **how),
        save_pt(tmp_path / "labels.pt", labels, **how),
    ]


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("flip", [1, -1])
def test_pt_pairs_are_read_in_either_order_and_both_containers(tmp_path, flip, zipped):
    paths = pair(tmp_path, _use_new_zipfile_serialization=zipped)
    bundle = load(*paths[::flip], pixels="unit")
    assert bundle.images.tolist() == UNIT.tolist()
    assert bundle.pixels.space == "unit"
    assert bundle.hard_labels.tolist() == [2, 0]
    assert bundle.classes == ("0", "1", "2")


def test_pt_logits_that_require_gradients_are_soft_labels(tmp_path):
    logits = torch.tensor([[0.5, -1.0, 2.0], [4.0, 3.0, -2.0]], requires_grad=True)
    images = torch.nn.Parameter(torch.tensor(UNIT))
    bundle = load(*pair(tmp_path, images, logits), pixels="unit")
    assert bundle.soft.values.tolist() == [[0.5, -1.0, 2.0], [4.0, 3.0, -2.0]]
    assert (bundle.soft.meta.space, bundle.soft.meta.temperature) == ("logits", 1.0)
    assert bundle.hard_labels.tolist() == [2, 0]
    assert bundle.images.tolist() == UNIT.tolist()


@pytest.mark.parametrize("scalar", [np.float64(0.01), np.float32(0.5), 0.01])
def test_pt_with_numpy_scalars_inside_is_read(tmp_path, scalar):
    images = torch.tensor(UNIT)
    images.learning_rate = scalar
    bundle = load(*pair(tmp_path, images), pixels="unit")
    assert bundle.images.tolist() == UNIT.tolist()


def test_numpy_1_wrote_the_same_scalars_under_another_name(tmp_path):
    images = torch.tensor(UNIT)
    images.learning_rate = np.float64(0.01)
    paths = pair(tmp_path, images)
    with zipfile.ZipFile(paths[0]) as archive:
        members = {info.filename: archive.read(info) for info in archive.infolist()}
    name = next(name for name in members if name.endswith("data.pkl"))
    assert b"numpy._core.multiarray\nscalar" in members[name]
    members[name] = members[name].replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n")
    with zipfile.ZipFile(paths[0], "w") as archive:
        for member, content in members.items():
            archive.writestr(member, content)
    assert load(*paths, pixels="unit").images.tolist() == UNIT.tolist()


def test_a_pt_tensor_that_is_not_contiguous_is_read_by_value(tmp_path):
    images = torch.tensor(UNIT).permute(0, 1, 3, 2)
    bundle = load(*pair(tmp_path, images), pixels="unit")
    assert bundle.images.tolist() == UNIT.transpose(0, 1, 3, 2).tolist()


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("which", ["images.pt", "labels.pt"])
@pytest.mark.parametrize(
    "wrap", [lambda x: x, lambda x: {"images": x}, lambda x: [torch.zeros(1), x]]
)
def test_a_pt_file_with_code_is_unsafe_and_does_not_run(tmp_path, marker, which, zipped, wrap):
    paths = pair(tmp_path)
    save_pt(tmp_path / which, wrap(Hostile(marker)), _use_new_zipfile_serialization=zipped)
    with pytest.raises(UnsafeInputError, match=which):
        load(*paths, pixels="unit")
    assert not marker.exists()


def test_a_whole_module_in_a_pt_file_is_unsafe(tmp_path):
    paths = pair(tmp_path)
    save_pt(paths[0], torch.nn.Linear(2, 2))
    with pytest.raises(UnsafeInputError):
        load(*paths, pixels="unit")


def test_a_compressed_pt_archive_is_unsafe(tmp_path):
    paths = pair(tmp_path, np.zeros((2, 3, 100, 100), np.float32))
    with zipfile.ZipFile(paths[0]) as archive:
        members = {info.filename: archive.read(info) for info in archive.infolist()}
    with zipfile.ZipFile(paths[0], "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    with pytest.raises(UnsafeInputError, match="compressed"):
        load(*paths, pixels="unit")


@pytest.mark.parametrize(
    "tensor",
    [
        torch.zeros(1).expand(1000, 3, 1000, 1000),
        torch.zeros(2, 1, 2, 1).expand(2, 3, 2, 2),
        torch.zeros(9).unfold(0, 4, 1),
    ],
    ids=["bomb", "broadcast", "overlapping"],
)
def test_a_pt_tensor_larger_than_its_bytes_is_unsafe(tmp_path, tensor):
    paths = pair(tmp_path, tensor)
    assert paths[0].stat().st_size < 4096
    with pytest.raises(UnsafeInputError, match="do not fill"):
        load(*paths, pixels="unit")


def test_a_pt_archive_that_declares_too_much_is_unsafe(tmp_path, monkeypatch):
    monkeypatch.setattr("ddlabel.data.importers.pt._MAX_BYTES", 100)
    for zipped in (True, False):
        paths = pair(tmp_path, _use_new_zipfile_serialization=zipped)
        with pytest.raises(UnsafeInputError, match="100"):
            load(*paths, pixels="unit")


ODD_TENSORS = {
    "sparse": lambda: torch.eye(4).to_sparse(),
    "sparse rows": lambda: torch.eye(4).to_sparse_csr(),
    "without numbers": lambda: torch.empty(2, 3, 2, 2, device="meta"),
    "complex": lambda: torch.ones(2, 3, 2, 2, dtype=torch.complex64),
    "conjugate": lambda: torch.ones(2, 3, 2, 2, dtype=torch.complex64).conj(),
    "a number": lambda: torch.tensor(1.0),
    "a string": lambda: "hello",
    "a dictionary": lambda: {"images": torch.zeros(2, 3, 2, 2)},
    "a list": lambda: [torch.zeros(3, 2, 2)] * 2,
    "None": lambda: None,
    "another tensor of labels": lambda: torch.tensor([0, 1]),
}


@pytest.mark.filterwarnings("ignore:.*[Ss]parse.*", "ignore:.*ComplexWarning.*")
@pytest.mark.parametrize("odd", ODD_TENSORS)
def test_a_pt_file_without_plain_images_is_refused(tmp_path, odd):
    paths = pair(tmp_path)
    save_pt(paths[0], ODD_TENSORS[odd]())
    with pytest.raises((InvalidInputError, UnsafeInputError)):
        load(*paths, pixels="unit")


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_floating_point_of_any_width_is_read(tmp_path, dtype):
    bundle = load(*pair(tmp_path, torch.tensor(UNIT).to(dtype)), pixels="unit")
    assert bundle.images.tolist() == UNIT.tolist()


@pytest.mark.parametrize("numbers", [[0], [0, 0], [1, 1], [0, 1, 1], [0, 1, 0]])
def test_pt_needs_one_file_of_images_and_one_of_labels(tmp_path, numbers):
    paths = pair(tmp_path)
    with pytest.raises(InvalidInputError, match="one of labels"):
        load(*(paths[number] for number in numbers), pixels="unit")


@pytest.mark.parametrize(
    "content", [b"", b"hello", b"PK\x05\x06" + bytes(18), b"PK\x03\x04", b"\x80\x02."]
)
def test_a_file_that_is_no_pt_is_invalid_and_not_unsafe(tmp_path, content):
    paths = pair(tmp_path)
    paths[0].write_bytes(content)
    with pytest.raises(InvalidInputError):
        load(*paths, pixels="unit")


# The old container cut off within a name seems to ask for that half of a name.
@pytest.mark.parametrize(("zipped", "expected"), [(True, InvalidInputError), (False, DDLabelError)])
def test_a_truncated_pt_file_is_refused(tmp_path, zipped, expected):
    paths = pair(tmp_path, _use_new_zipfile_serialization=zipped)
    content = paths[0].read_bytes()
    for length in range(1, len(content), len(content) // 15):
        paths[0].write_bytes(content[:length])
        with pytest.raises(expected):
            load(*paths, pixels="unit")


# Which numbers are which


def test_floating_point_pixels_have_to_be_stated(tmp_path):
    paths = pair(tmp_path)
    with pytest.raises(UsageError, match=r"0 … 0\.719.*--pixels uint8\|unit\|normalised\|zca"):
        load(*paths)


def test_uint8_pixels_are_beyond_doubt(tmp_path):
    bundle = load(*pair(tmp_path, UINT8))
    assert (bundle.pixels.space, bundle.images.tolist()) == ("uint8", UINT8.tolist())


def test_whole_numbers_stated_as_uint8_become_uint8(tmp_path):
    bundle = load(*pair(tmp_path, UINT8.astype(np.float32)), pixels="uint8")
    assert (bundle.images.dtype, bundle.images.tolist()) == (np.uint8, UINT8.tolist())


@pytest.mark.parametrize("value", [-1.0, 256.0, np.nan, np.inf, -np.inf])
@pytest.mark.filterwarnings("ignore:invalid value")
def test_numbers_that_no_byte_holds_are_not_uint8(tmp_path, value):
    images = UINT8.astype(np.float32)
    images[1, 2, 1, 0] = value
    with pytest.raises(InvalidInputError):
        load(*pair(tmp_path, images), pixels="uint8")


def test_normalised_pixels_are_put_back_in_unit_space(tmp_path):
    mean, std = np.array([0.5, 0.25, 0.0]), np.array([0.25, 0.5, 1.0])
    normalised = (UNIT - mean.reshape(3, 1, 1)) / std.reshape(3, 1, 1)
    bundle = load(
        *pair(tmp_path, normalised), pixels="normalised", mean="0.5,0.25,0", std="0.25,0.5,1"
    )
    np.testing.assert_allclose(bundle.images, UNIT, atol=1e-6)
    assert (bundle.images.dtype, bundle.pixels.space) == (np.float32, "unit")
    assert (bundle.pixels.mean, bundle.pixels.std) == ((0.5, 0.25, 0.0), (0.25, 0.5, 1.0))


@pytest.mark.parametrize(
    ("mean", "std"),
    [
        (None, None),
        ("0.5,0.5,0.5", None),
        (None, "1,1,1"),
        ("a,b,c", "1,1,1"),
        ("0,0,0", "1,1"),
        ("0,0,0", "1,1,0"),
    ],
)
def test_normalised_pixels_need_the_numbers_of_each_channel(tmp_path, mean, std):
    with pytest.raises(UsageError):
        load(*pair(tmp_path), pixels="normalised", mean=mean, std=std)


def test_one_mean_and_std_stand_for_every_channel(tmp_path):
    normalised = (UNIT - 0.25) / 0.5
    bundle = load(*pair(tmp_path, normalised), pixels="normalised", mean="0.25", std="0.5")
    np.testing.assert_allclose(bundle.images, UNIT, atol=1e-6)
    assert (bundle.pixels.mean, bundle.pixels.std) == ((0.25,) * 3, (0.5,) * 3)


def test_normalised_grey_images_become_three_channels_with_the_statistics_of_the_one(tmp_path):
    paths = pair(tmp_path, (UNIT[:, :1] - 0.25) / 0.5)
    bundle = load(*paths, pixels="normalised", rgb=True, mean="0.25", std="0.5")
    np.testing.assert_allclose(bundle.images, np.repeat(UNIT[:, :1], 3, axis=1), atol=1e-6)
    assert (bundle.pixels.mean, bundle.pixels.std) == ((0.25,) * 3, (0.5,) * 3)
    with pytest.raises(UsageError, match="expected 1 "):
        load(*paths, pixels="normalised", rgb=True, mean="0,0,0", std="1,1,1")


@pytest.mark.parametrize("space", ["unit", "normalised", "zca"])
def test_bytes_are_in_no_other_space(tmp_path, space, real):
    statistics = {"mean": "0", "std": "1"} if space == "normalised" else {}
    reference = {"zca_from": str(real)} if space == "zca" else {}
    with pytest.raises(UsageError, match="--pixels uint8"):
        load(*pair(tmp_path, UINT8), pixels=space, **statistics, **reference)


def test_normalised_pixels_are_not_taken_for_unit_ones(tmp_path):
    with pytest.raises(InvalidInputError, match="hardly --pixels unit"):
        load(*pair(tmp_path, UNIT * 6 - 2), pixels="unit")
    with pytest.raises(UsageError, match="divide those of 0 … 255"):
        load(*pair(tmp_path), pixels="normalised", mean="128", std="50")


def test_a_split_is_refused_where_there_are_no_parts(tmp_path):
    with pytest.raises(InvalidInputError, match="x_test"):
        load(save_npz(tmp_path / "x.npz", x=UINT8, y=np.array([0, 1])), split="test")
    for name in ("cat", "dog"):
        (tmp_path / "pets" / name).mkdir(parents=True)
        Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(tmp_path / "pets" / name / "1.png")
    assert len(load(tmp_path / "pets").images) == 2
    with pytest.raises(UsageError, match="has no parts"):
        load(tmp_path / "pets", split="test")
    (tmp_path / "pets" / "bird").mkdir()
    with pytest.raises(InvalidInputError, match="bird is empty"):
        load(tmp_path / "pets")


def test_a_bundle_to_unwhiten_with_belongs_to_whitened_pixels(tmp_path):
    with pytest.raises(UsageError, match="--zca-from"):
        load(*pair(tmp_path), pixels="unit", zca_from="real.h5")


def test_numbers_beyond_single_precision_are_refused_and_not_made_infinite(tmp_path):
    images = UNIT.astype(np.float64)
    images[0, 0, 0, 0] = 1e300
    with pytest.raises(InvalidInputError):
        load(
            save_npz(tmp_path / "x.npz", x=images, y=np.array([0, 1])),
            pixels="unit",
            mean="0",
            std="1",
        )


def test_a_label_that_would_need_a_thousand_million_classes_is_refused_at_once(tmp_path):
    with pytest.raises(InvalidInputError, match="999999999"):
        load(save_npz(tmp_path / "x.npz", x=UINT8, y=np.array([0, 999_999_999])))


def test_labels_with_negative_numbers_are_logits_and_distributions_are_probs(tmp_path):
    for values, space in (
        ([[1.0, -1.0], [0.0, 2.0]], "logits"),
        ([[0.25, 0.75], [1.0, 0.0]], "probs"),
    ):
        bundle = load(*pair(tmp_path, labels=values), pixels="unit")
        assert bundle.soft.meta.space == space
        assert bundle.soft.values.tolist() == values


def test_labels_that_could_be_either_have_to_be_stated(tmp_path):
    paths = pair(tmp_path, labels=[[1.0, 2.0], [0.5, 3.0]])
    with pytest.raises(UsageError, match="--label-space"):
        load(*paths, pixels="unit")
    assert load(*paths, pixels="unit", label_space="logits").soft.meta.space == "logits"
    with pytest.raises(InvalidInputError, match="sum to 1"):
        load(*paths, pixels="unit", label_space="probs")


def test_a_stated_label_space_outranks_what_the_numbers_look_like(tmp_path):
    paths = pair(tmp_path, labels=[[0.25, 0.75], [1.0, 0.0]])
    assert load(*paths, pixels="unit", label_space="logits").soft.meta.space == "logits"


def test_distributions_in_half_precision_can_be_used(tmp_path):
    """Their rows miss 1 by up to 10⁻³, which half precision allows and single precision does not."""
    values = np.array([[0.3333, 0.3333, 0.3329], [0.1001, 0.2, 0.7]], np.float16)
    miss = abs(values.sum(1, dtype=np.float64) - 1)
    assert 1e-4 < miss.max() < 1e-3
    bundle = load(save_npz(tmp_path / "x.npz", x=UINT8, y=values))
    assert bundle.soft.meta.space == "probs"
    assert (bundle.soft.values.dtype, bundle.soft.values.tolist()) == (np.float16, values.tolist())
    bundle = load(*pair(tmp_path, UINT8, torch.tensor(values)))
    assert (bundle.soft.values.dtype, bundle.soft.values.tolist()) == (np.float16, values.tolist())


def test_rows_that_nearly_sum_to_1_are_no_distributions_in_single_precision(tmp_path):
    """What would be taken for probabilities can be written as probabilities."""
    values = np.array([[0.3333, 0.3333, 0.3329], [0.1001, 0.2, 0.7]], np.float32)
    with pytest.raises(UsageError, match="--label-space"):
        load(save_npz(tmp_path / "x.npz", x=UINT8, y=values))


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("where", ["images", "labels"])
def test_numbers_that_are_not_finite_do_not_come_in(tmp_path, where, value):
    images, labels = UNIT.copy(), np.array([[0.5, -0.5], [0.0, 1.0]], np.float32)
    {"images": images, "labels": labels}[where].flat[3] = value
    options = {"pixels": "unit", "label_space": "logits", "mean": "0,0,0", "std": "1,1,1"}
    with pytest.raises(InvalidInputError, match="finite"):
        load(save_npz(tmp_path / "x.npz", x=images, y=labels), **options)


# ZCA


def correlated(count=200, shape=(3, 3, 3), seed=0) -> np.ndarray:
    """Images [N, C, H, W] in unit space whose pixels depend on one another."""
    generator = np.random.default_rng(seed)
    size = int(np.prod(shape))
    mix = generator.normal(size=(size, size)) / size**0.5
    return (
        (0.5 + 0.3 * generator.normal(size=(count, size)) @ mix)
        .reshape(count, *shape)
        .astype(np.float32)
    )


def whiten(images: np.ndarray, real: np.ndarray) -> np.ndarray:
    """(x − μ) (Σ + 0.1·1)^(−1/2), by scipy's matrix square root and numpy's covariance."""
    flat = real.reshape(len(real), -1).astype(np.float64)
    covariance = np.cov(flat.T)
    matrix = np.linalg.inv(scipy.linalg.sqrtm(covariance + 0.1 * np.eye(len(covariance))))
    return ((images.reshape(len(images), -1) - flat.mean(0)) @ matrix).reshape(images.shape)


def test_whitening_matrix_is_the_inverse_root_of_the_covariance_plus_a_tenth():
    images = correlated()
    mean, matrix = whitening.fit(images)
    flat = (images - mean).reshape(len(images), -1).astype(np.float64)
    np.testing.assert_allclose(flat @ matrix, whiten(images, images).reshape(flat.shape), atol=1e-4)
    np.testing.assert_allclose(matrix, matrix.T, atol=1e-5)


def test_whitened_pixels_have_the_variances_that_theory_says():
    """Of variance s along an axis, s/(s + ε) is left: nearly 1 where s is large, and nothing is correlated."""
    images = 100 * correlated()
    mean, matrix = whitening.fit(images)
    white = (images - mean).reshape(len(images), -1).astype(np.float64) @ matrix
    before = np.linalg.eigvalsh(np.cov(images.reshape(len(images), -1).T.astype(np.float64)))
    after = np.linalg.eigvalsh(np.cov(white.T))
    np.testing.assert_allclose(after, before / (before + 0.1), atol=1e-3)
    large = before > 10
    assert large.sum() > len(before) / 2
    assert abs(after[large] - 1).max() < 0.02


def test_bytes_are_whitened_as_units():
    images = np.random.default_rng(0).integers(0, 256, (50, 1, 3, 3), np.uint8)
    for ours, expected in zip(
        whitening.fit(images), whitening.fit(images.astype(np.float32) / 255), strict=True
    ):
        np.testing.assert_allclose(ours, expected, atol=1e-6)


def test_undo_is_the_inverse():
    images = correlated()
    mean, matrix = whitening.fit(images)
    white = ((images - mean).reshape(len(images), -1) @ matrix).reshape(images.shape)
    np.testing.assert_allclose(whitening.undo(white, mean, matrix), images, atol=1e-4)


def test_images_of_one_kind_only_can_be_whitened():
    """The covariance is 0: what is left is division by √0.1."""
    images = np.full((5, 1, 2, 2), 0.25, np.float32)
    mean, matrix = whitening.fit(images)
    np.testing.assert_allclose(mean, images[:1])
    np.testing.assert_allclose(matrix, np.eye(4) / 0.1**0.5, atol=1e-5)


def test_images_too_large_to_whiten_are_refused():
    with pytest.raises(ResourceError, match="64"):
        whitening.fit(np.zeros((1, 3, 65, 64), np.uint8))


@pytest.fixture
def real(tmp_path) -> Path:
    images = correlated()
    bundle = Bundle(
        classes=("a",),
        pixels=Pixels(space="unit", mean=(0.5,) * 3, std=(0.3,) * 3),
        images=images,
        hard_labels=np.zeros(len(images), np.int64),
    )
    formats.write(str(tmp_path / "real.safetensors"), bundle)
    return tmp_path / "real.safetensors"


def test_whitened_images_are_imported_in_unit_space(tmp_path, real):
    images = correlated(4, seed=1)
    paths = pair(tmp_path, whiten(images, correlated()).astype(np.float32), labels=[0, 1, 2, 0])
    bundle = load(*paths, pixels="zca", zca_from=str(real))
    np.testing.assert_allclose(bundle.images, images, atol=1e-4)
    assert (bundle.pixels.space, bundle.images.dtype) == ("unit", np.float32)


def test_whitened_images_need_the_real_ones_of_the_same_shape(tmp_path, real):
    with pytest.raises(UsageError, match="--zca-from"):
        load(*pair(tmp_path), pixels="zca")
    with pytest.raises(InvalidInputError, match="differ"):
        load(*pair(tmp_path), pixels="zca", zca_from=str(real))
    with pytest.raises(InvalidInputError, match="no such file"):
        load(*pair(tmp_path), pixels="zca", zca_from=str(tmp_path / "none.h5"))


# All importers


@pytest.mark.parametrize("kind", ["auto", *importers.IMPORTERS])
def test_a_missing_source_is_refused_by_name(tmp_path, kind):
    with pytest.raises(InvalidInputError, match="nothing-here"):
        load(tmp_path / "nothing-here", format=kind)


@pytest.mark.parametrize("kind", importers.IMPORTERS)
@pytest.mark.parametrize("content", [b"", b"hello world", bytes(2048)])
def test_a_file_of_another_kind_is_refused(tmp_path, kind, content):
    (tmp_path / "x.bin").write_bytes(content)
    with pytest.raises((InvalidInputError, UnsafeInputError)):
        load(tmp_path / "x.bin", format=kind)


@pytest.mark.parametrize("kind", importers.IMPORTERS)
def test_an_empty_folder_is_refused(tmp_path, kind):
    (tmp_path / "x").mkdir()
    with pytest.raises(InvalidInputError):
        load(tmp_path / "x", format=kind)


def test_a_source_of_no_known_kind_asks_for_the_format(tmp_path):
    (tmp_path / "x.bin").write_bytes(b"hello")
    with pytest.raises(InvalidInputError, match="--format folder"):
        load(tmp_path / "x.bin")


def test_a_source_of_two_kinds_asks_for_the_format(animals):
    for name, content in cifar10().items():
        (animals / name).write_bytes(content)
    with pytest.raises(InvalidInputError, match="folder or cifar"):
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
    path = pack(source_folder(tmp_path))
    return [path], path


def source_cifar(tmp_path):
    path = store(tmp_path, cifar10(), "tar.gz")
    return [path], path


def source_cifar_tar(tmp_path):
    path = store(tmp_path, {n: cifar10()[n] for n in ("batches.meta", "data_batch_2")}, "tar")
    return [path], path


def source_idx(tmp_path):
    folder = mnist(tmp_path / "mnist", packed=False)
    return [folder], folder / "train-images-idx3-ubyte"


def source_idx_gz(tmp_path):
    folder = mnist(tmp_path / "mnist", packed=True)
    path = folder / "train-images-idx3-ubyte.gz"
    images = np.random.default_rng(0).integers(0, 9, (2, 20, 20))
    path.write_bytes(gzip.compress(idx(images)))
    return [folder], path


def source_npz(tmp_path):
    path = save_npz(tmp_path / "x.npz", x=UINT8, y=np.array([0, 1]))
    return [path], path


def source_npz_deflated(tmp_path):
    images = np.random.default_rng(0).integers(0, 9, (2, 3, 8, 8)).astype(np.uint8)
    np.savez_compressed(tmp_path / "x.npz", x=images, y=np.array([0, 1]))
    return [tmp_path / "x.npz"], tmp_path / "x.npz"


def source_pt(tmp_path):
    paths = pair(tmp_path)
    return paths, paths[0]


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
    )
}


# Pillow and numpy warn of what they find odd in damaged files.
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("source", SOURCES)
def test_a_damaged_source_is_one_error_of_ours_or_is_read(tmp_path, source):
    make, kind = SOURCES[source]
    paths, victim = make(tmp_path)
    assert len(load(*paths, format=kind, pixels="unit" if kind == "pt" else None)) > 0
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
            bundle = load(
                *paths,
                format="auto" if number % 3 else kind,
                pixels="unit" if kind == "pt" else None,
            )
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
    with pytest.raises(UsageError, match="one by one"):
        load(*paths, *paths, format=kind)


IDLE = {
    "size": (4, ["cifar", "idx", "npz", "pt"]),
    "split": ("test", ["pt"]),
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
    with pytest.raises(UsageError, match=f"--{option.replace('_', '-')} .*: leave it out"):
        load(*paths, **{option: IDLE[option][0]})
