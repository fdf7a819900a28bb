"""The demo's contact sheet, and the helpers that all pictures share."""

from __future__ import annotations

import io

import numpy as np
import pytest
from label_samples import dense_bundle
from PIL import Image
from samples import bundle_of, with_arrays

from ddlabel.figures.pixels import box_in_pixels, drawn_pixels
from ddlabel.figures.sheet import sheet_png
from ddlabel.figures.texts import class_names, short_text

BLUE = (0, 114, 178)
ORANGE = (230, 159, 0)


def opened(png: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(png)) as picture:
        return np.array(picture)


def num_pixels(picture: np.ndarray, colour: tuple[int, int, int]) -> int:
    return int((picture == colour).all(2).sum())


def labelled(winner: int):
    """Two images of class 0, all of whose labels have one largest entry."""
    bundle = dense_bundle(images=2, classes=3)
    soft = np.zeros((2, 3), np.float32)
    dense = np.zeros((2, 4, 3), np.float32)
    soft[:, winner] = dense[:, :, winner] = 9
    hard = np.zeros(2, np.int64)
    return with_arrays(bundle, hard_labels=hard, soft_labels=soft, dense_labels=dense)


def test_frames_are_blue_where_the_label_agrees_and_orange_elsewhere():
    agreeing, differing = opened(sheet_png(labelled(0))), opened(sheet_png(labelled(2)))
    # Only the bars of the other classes, one pixel wide, have the other colour.
    assert num_pixels(agreeing, BLUE) > 10 * num_pixels(agreeing, ORANGE)
    assert num_pixels(differing, ORANGE) > 10 * num_pixels(differing, BLUE)


def test_the_same_bundle_gives_the_same_bytes():
    bundle = labelled(1)
    assert sheet_png(bundle) == sheet_png(bundle)


def test_hostile_class_names_are_drawn():
    names = ("a\nb\x1b[2J", "x" * 5000, "\u202e$\\frac$")
    bundle = labelled(0)
    hostile = bundle_of(
        **dict(bundle.arrays),
        classes=names,
        pixels=bundle.pixels,
        soft=bundle.soft.meta,
        dense=bundle.dense.meta,
    )
    plain = opened(sheet_png(bundle))
    assert opened(sheet_png(hostile)).shape == plain.shape


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("cat", "cat"),
        ("a\nb", "a?b"),
        ("\x1b[31m", "?[31m"),
        ("x" * 20, "x" * 13 + "…"),
        ("  two   words ", "two words"),
        ("", ""),
    ],
)
def test_a_text_is_one_short_line(text, shown):
    assert short_text(text) == shown


def test_names_that_would_look_alike_get_their_numbers():
    long = "a very long name of a "
    assert class_names([f"{long}cat", "dog", f"{long}cow"]) == [
        "0 a very lon…",
        "dog",
        "2 a very lon…",
    ]
    assert class_names([""]) == ["?"]


def test_pixels_are_bytes_with_channels_last():
    grey = np.array([[[0, 255], [7, 9]]], np.uint8)
    assert drawn_pixels(grey).tolist() == [[0, 255], [7, 9]]
    unit = np.zeros((3, 1, 2), np.float16)
    unit[:, 0, 1] = [1.0, 0.5, np.nan]
    assert drawn_pixels(unit).tolist() == [[[0, 0, 0], [255, 128, 0]]]
    assert drawn_pixels(np.zeros((2, 4, 4), np.uint8)).shape == (4, 4)


@pytest.mark.parametrize(
    ("box", "pixels"),
    [
        ((0, 0, 0.625, 0.625), (0, 0, 5, 5)),
        ((0.375, 0.375, 1, 1), (3, 3, 8, 8)),
        ((1, 1, 1, 1), (7, 7, 8, 8)),
        ((0.5, 0, 0.5, 1), (4, 0, 5, 8)),
    ],
)
def test_a_box_is_whole_pixels_and_never_empty(box, pixels):
    assert box_in_pixels(np.array(box), 8, 8) == pixels
