"""Channel means and deviations against hand-worked numbers and numpy."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from ddlabel.data.statistics import statistics


def test_bytes_are_counted_in_unit_space():
    images = np.empty((2, 3, 2, 2), np.uint8)
    images[0] = np.array([0, 255, 51])[:, None, None]
    images[1] = np.array([255, 255, 153])[:, None, None]
    mean, std = statistics(images)
    assert mean == pytest.approx((0.5, 1.0, 0.4), abs=1e-6)
    assert std == pytest.approx((0.5, 0.001, 0.2), abs=1e-6)


def test_a_constant_channel_has_a_deviation_that_can_be_divided_by():
    assert statistics(np.full((3, 1, 2, 2), 0.25, np.float32)) == ((0.25,), (0.001,))


@pytest.mark.parametrize("num_images", [1, 4096, 5000])
def test_statistics_are_numpys_whatever_the_number_of_blocks(num_images):
    images = np.random.default_rng(0).normal(3, 2, (num_images, 2, 2, 3)).astype(np.float32)
    mean, std = statistics(images)
    exact = images.astype(np.float64)
    assert mean == pytest.approx(exact.mean((0, 2, 3)), abs=1e-6)
    assert std == pytest.approx(exact.std((0, 2, 3)), abs=1e-6)
    assert all(round(value, 6) == value for value in mean + std)


@pytest.mark.parametrize("shape", [(1, 1, 3000, 2000), (700, 3, 64, 64), (5, 3, 1, 1)])
def test_statistics_of_bytes_are_exact_whatever_the_blocks(shape):
    """Integers without a bound give the sums; the blocks split images, and images into lines."""
    images = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    mean, std = statistics(images)
    for channel in range(shape[1]):
        values = images[:, channel].ravel().astype(np.int64)
        total, squares, count = int(values.sum()), int((values * values).sum()), len(values)
        exact_mean = Fraction(total, 255 * count)
        exact_variance = Fraction(squares, 255**2 * count) - exact_mean**2
        assert mean[channel] == round(float(exact_mean), 6)
        assert std[channel] == round(float(exact_variance) ** 0.5, 6)
