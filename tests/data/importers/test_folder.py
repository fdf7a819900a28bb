"""Class folders and zips of them: order, parts, colours, sizes, names."""

from __future__ import annotations

import numpy as np
import pytest
from foreign_sources import load, save_png, zip_folder
from PIL import Image

from ddlabel.core.config import ImportOptions
from ddlabel.core.errors import InvalidInputError
from ddlabel.data import importers


@pytest.mark.parametrize("packed", [False, True])
def test_class_folders_are_read_in_the_order_of_their_characters(animals, packed):
    bundle = load(zip_folder(animals) if packed else animals)
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
    bundle = load(zip_folder(folder) if packed else folder)
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
    bundle = load(zip_folder(tmp_path / "x") if packed else tmp_path / "x", split=split)
    assert bundle.images.tolist() == np.full((1, 1, 2, 2), value).tolist()
    assert bundle.classes == ("cat",)


def test_a_part_that_is_not_there_is_refused_with_those_that_are(tmp_path):
    save_png(tmp_path / "train" / "cat" / "x.png", np.zeros((2, 2)))
    save_png(tmp_path / "val" / "cat" / "x.png", np.zeros((2, 2)))
    with pytest.raises(InvalidInputError, match="train"):
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
    # Three squares: white, a checkerboard of 0 and 200, white. Without antialiasing pixels would
    # be 0 or 200.
    board = 200 * (np.indices((16, 16)).sum(0) % 2)
    save_png(
        tmp_path / "x" / "a" / "x.png",
        np.hstack([np.full((16, 16), 255), board, np.full((16, 16), 255)]),
    )
    inside = load(tmp_path / "x", size=4).images[0, 0, :, 1:3].astype(int)
    assert abs(inside - 100).max() <= 10


def notes_of(path, **options) -> list[str]:
    notes = []
    importers.load([path], ImportOptions(format="folder", **options), notes.append)
    return notes


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparency_that_is_left_out_is_said(tmp_path, mode):
    opaque = Image.new(mode, (4, 4), (7,) * (len(mode) - 1) + (255,))
    half = Image.new(mode, (4, 4), (7,) * (len(mode) - 1) + (128,))
    (tmp_path / "cat").mkdir()
    opaque.save(tmp_path / "cat" / "1.png")
    assert notes_of(tmp_path) == []
    half.save(tmp_path / "cat" / "2.png")
    half.save(tmp_path / "cat" / "3.png")
    (note,) = notes_of(tmp_path)
    assert "2 images" in note
    assert "2.png" in note
    assert load(tmp_path).images.max() == 7


def test_a_colour_that_stands_for_transparency_is_said_too(tmp_path):
    (tmp_path / "cat").mkdir()
    Image.new("RGB", (4, 4)).save(tmp_path / "cat" / "1.png", transparency=(0, 0, 0))
    (note,) = notes_of(tmp_path)
    assert "1.png" in note


@pytest.mark.parametrize("packed", [False, True])
def test_class_folders_of_several_data_sets_are_not_merged(tmp_path, packed):
    folder = tmp_path / "sets"
    for subset in ("first", "second", "third"):
        save_png(folder / subset / "cat" / "1.png", np.zeros((2, 2)))
    with pytest.raises(InvalidInputError, match="first"):
        load(zip_folder(folder) if packed else folder)
    assert len(load(folder / "second")) == 1


def test_parts_of_several_data_sets_are_not_merged(tmp_path):
    for subset in ("first", "second"):
        save_png(tmp_path / subset / "train" / "cat" / "1.png", np.zeros((2, 2)))
    with pytest.raises(InvalidInputError, match="first"):
        load(tmp_path)


def test_class_folders_of_different_depth_are_not_merged(tmp_path):
    save_png(tmp_path / "cat" / "1.png", np.zeros((2, 2)))
    save_png(tmp_path / "more" / "dog" / "1.png", np.zeros((2, 2)))
    with pytest.raises(InvalidInputError, match="more"):
        load(tmp_path)


def test_images_beside_the_parts_are_named(tmp_path):
    save_png(tmp_path / "train" / "cat" / "1.png", np.zeros((2, 2)))
    assert notes_of(tmp_path) == []
    save_png(tmp_path / "extra" / "cat" / "2.png", np.zeros((2, 2)))
    (note,) = notes_of(tmp_path)
    assert "1 image" in note
    assert "2.png" in note


def test_a_class_folder_that_is_a_symbolic_link_is_refused(animals):
    (animals / "linked").symlink_to(animals / "ant")
    with pytest.raises(InvalidInputError, match="linked"):
        load(animals)


@pytest.mark.parametrize("target", ["x.png", "nothing"], ids=["itself", "nothing"])
def test_an_image_that_is_a_symbolic_link_to_nowhere_is_refused(animals, target):
    (animals / "ant" / "x.png").symlink_to(target)
    with pytest.raises(InvalidInputError, match=r"x\.png"):
        load(animals)


def test_an_image_that_is_a_symbolic_link_is_read(animals):
    (animals / "ant" / "x.png").symlink_to(animals / "bee" / "1.png")
    assert load(animals).images[:, 0, 0, 0].tolist() == [20, 11, 12, 31, 31, 32, 33]


@pytest.mark.parametrize("packed", [False, True])
def test_files_that_are_no_images_by_their_suffix_are_counted(animals, packed):
    for name in ("ant/x.webp", "table.csv", ".hidden"):
        (animals / name).write_bytes(b"x")
    notes = []
    path = zip_folder(animals) if packed else animals
    importers.load([path], ImportOptions(format="folder"), notes.append)
    (note,) = notes
    assert "2 files are left out, not PNG or JPEG by suffix (the first is " in note
    assert ".hidden" not in note
