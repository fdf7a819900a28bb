"""Grids of images in one picture, made by torchvision's own `save_image`."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from foreign_sources import load, png_that_declares
from torchvision.utils import save_image

from ddlabel.core.config import ImportOptions
from ddlabel.core.errors import InvalidInputError, UnsafeInputError, UsageError
from ddlabel.data import importers

GRID = "rows=3,cols=2,pad=2"


def images(count=6, channels=3):
    generator = np.random.default_rng(0)
    return generator.integers(0, 256, (count, channels, 4, 4), np.uint8)


def save_grid(path, pixels, **how):
    # save_image rounds value·255 + 0.5 down: a byte comes back.
    save_image(torch.from_numpy(pixels) / 255, path, **how)
    return path


@pytest.mark.parametrize("pad", [0, 1, 2, 5])
def test_the_images_come_back_in_their_order(tmp_path, pad):
    path = save_grid(tmp_path / "x.png", images(), nrow=2, padding=pad)
    bundle = load(path, grid=f"rows=3,cols=2,pad={pad}")
    assert bundle.images.tolist() == images().tolist()
    assert bundle.hard_labels.tolist() == [0, 0, 1, 1, 2, 2]  # a row for each class
    assert bundle.classes == ("0", "1", "2")


def test_classes_can_have_more_or_fewer_images_than_a_row(tmp_path):
    path = save_grid(tmp_path / "x.png", images(), nrow=2)
    assert load(path, grid=f"{GRID},ipc=1").hard_labels.tolist() == [*range(6)]
    assert load(path, grid=f"{GRID},ipc=3").hard_labels.tolist() == [0, 0, 0, 1, 1, 1]
    with pytest.raises(UsageError, match="whole classes"):
        load(path, grid=f"{GRID},ipc=4")


def test_cells_that_hold_no_image_have_to_be_left_out(tmp_path):
    path = save_grid(tmp_path / "x.png", images(5), nrow=2)
    with pytest.raises(UsageError, match="images=5"):
        load(path, grid=f"{GRID},ipc=1")
    bundle = load(path, grid=f"{GRID},ipc=1,images=5")
    assert bundle.images.tolist() == images(5).tolist()


def test_grey_images_that_were_saved_in_colour_have_one_channel(tmp_path):
    path = save_grid(tmp_path / "x.png", images(channels=1), nrow=2)
    assert load(path, grid=GRID).images.tolist() == images(channels=1).tolist()
    assert load(path, grid=GRID, rgb=True).images.shape == (6, 3, 4, 4)


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        (None, "--grid rows=10"),
        ("rows=3,cols=2,pad=1", "pad=2 for images of 4 px would fit"),
        ("rows=2,cols=5,pad=2", "cannot be rows=2, cols=5, pad=2: no pad fits"),
        ("rows=2,cols=3,pad=2", "not of one colour"),
        ("rows=3,cols=2,padding=2", "padding"),
        ("rows=3,cols=two", "whole number"),
        ("rows=0", "at least one row"),
        ("rows=3,cols=2,images=7", "at most as many"),
    ],
)
def test_a_grid_that_does_not_fit_is_refused(tmp_path, grid, message):
    path = save_grid(tmp_path / "x.png", images(), nrow=2)
    with pytest.raises(UsageError, match=message):
        load(path, grid=grid)


def test_lines_of_several_colours_are_no_lines(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (1, 3, 14, 14), np.uint8)
    path = save_grid(tmp_path / "x.png", pixels, padding=0)
    with pytest.raises(UsageError, match="not of one colour"):
        load(path, grid="rows=2,cols=2,pad=2")


def test_jpeg_grids_are_read_as_they_are(tmp_path):
    path = save_grid(tmp_path / "x.jpg", np.full((6, 3, 8, 8), 120, np.uint8), nrow=2)
    assert load(path, grid=f"{GRID},images=6").images.shape == (6, 1, 8, 8)


def test_a_picture_that_declares_too_much_is_unsafe(tmp_path):
    path = tmp_path / "x.png"
    path.write_bytes(png_that_declares(40_000, 40_000))
    with pytest.raises(UnsafeInputError):
        load(path, grid=GRID)
    path.write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(InvalidInputError):
        load(path, grid=GRID)


def test_the_kind_is_said(tmp_path):
    path = save_grid(tmp_path / "x.png", images(), nrow=2)
    notes = []
    importers.load([path], ImportOptions(grid=GRID), notes.append)
    assert "grid" in notes[0]
