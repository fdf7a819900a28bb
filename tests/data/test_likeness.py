"""Images that are equal or nearly so: against planted ones and a search of all pairs."""

from __future__ import annotations

import numpy as np
import pytest

from ddlabel.data import likeness
from ddlabel.data.likeness import NEAR, as_unit, equal_images, like_images

GENERATOR = np.random.default_rng(0)


def noise(count: int, *shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, *shape), np.uint8)


def shaken(image: np.ndarray, levels: int) -> np.ndarray:
    """The image with every pixel changed by at most so many grey levels."""
    change = GENERATOR.integers(-levels, levels + 1, image.shape)
    return np.clip(image.astype(int) + change, 0, 255).astype(np.uint8)


@pytest.fixture
def pair():
    """Images and others, of which 7 is equal to 3, 9 nearly to 4, and 11 to the mirrored 5."""
    images, others = noise(20, 3, 11, 13), noise(30, 3, 11, 13, seed=1)
    others[7] = images[3]
    others[9] = shaken(images[4], 6)
    others[11] = images[5][..., ::-1]
    return images, others


def found_in(*arrays: np.ndarray) -> list[tuple[int, int, bool, bool]]:
    found = like_images(*arrays)
    return [(each.row, each.other, each.is_mirrored, each.distance == 0) for each in found]


@pytest.mark.parametrize("at_once", [4, 1024])
def test_planted_images_are_found_in_another_array(pair, monkeypatch, at_once):
    monkeypatch.setattr(likeness, "_ROWS_AT_ONCE", at_once)
    expected = [(3, 7, False, True), (4, 9, False, False), (5, 11, True, True)]
    assert found_in(*pair) == expected
    assert list(equal_images(*pair)) == [(3, 7)]


@pytest.mark.parametrize("at_once", [4, 1024])
def test_an_image_is_compared_with_those_before_it(pair, monkeypatch, at_once):
    monkeypatch.setattr(likeness, "_ROWS_AT_ONCE", at_once)
    expected = [(27, 3, False, True), (29, 4, False, False), (31, 5, True, True)]
    assert found_in(np.concatenate(pair)) == expected


def test_the_nearest_of_several_is_named():
    image = noise(1, 3, 8, 8)
    others = np.concatenate([shaken(image, 9), image, shaken(image, 5)])
    (found,) = like_images(image, others)
    assert (found.other, found.distance) == (1, 0)


def test_distance_is_the_root_mean_square_in_unit_space():
    image = np.full((1, 3, 8, 8), 100, np.uint8)
    image[:, :, :4] = 200
    (found,) = like_images(image, image + 5)
    assert found.distance == pytest.approx(5 / 255)
    assert like_images(image, image + 9) == []


def test_images_of_one_colour_are_left_out_and_dark_ones_are_not_all_alike():
    grey = np.full((3, 1, 8, 8), 7, np.uint8)
    assert like_images(grey) == []
    dark = GENERATOR.integers(0, 6, (5, 1, 8, 8)).astype(np.uint8)
    assert like_images(dark) == []


def test_thumbnails_are_never_farther_apart_than_their_images():
    images = as_unit(noise(12, 3, 11, 13, seed=2))
    small = likeness._thumbnails(images)
    for first in range(12):
        for second in range(12):
            apart = np.sqrt(((images[first] - images[second]) ** 2).mean())
            assert np.linalg.norm(small[first] - small[second]) <= apart + 1e-6


def test_bytes_and_unit_pixels_are_compared_as_the_same_images():
    images = noise(4, 3, 8, 8)
    in_unit_space = images.astype(np.float32) / 255
    assert list(equal_images(images, in_unit_space)) == [(row, row) for row in range(4)]
    assert [each.distance for each in like_images(images, in_unit_space)] == [0] * 4


def test_all_pairs_below_the_limit_are_found():
    images = noise(6, 1, 9, 9, seed=3)
    others = np.stack([shaken(images[row % 6], levels) for row, levels in enumerate(range(2, 20))])
    expected = set()
    for row, image in enumerate(as_unit(images)):
        apart = np.sqrt(((as_unit(others) - image) ** 2).mean((1, 2, 3)))
        if apart.min() <= NEAR:
            expected.add((row, int(apart.argmin())))
    assert {(each.row, each.other) for each in like_images(images, others)} == expected
