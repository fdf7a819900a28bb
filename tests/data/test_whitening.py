"""ZCA whitening against scipy and closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from foreign_sources import correlated, whiten

from ddlabel.core.errors import (
    ResourceError,
)
from ddlabel.data import whitening


def test_whitening_matrix_is_the_inverse_root_of_the_covariance_plus_a_tenth():
    images = correlated()
    mean, matrix = whitening.fit(images)
    flat = (images - mean).reshape(len(images), -1).astype(np.float64)
    np.testing.assert_allclose(flat @ matrix, whiten(images, images).reshape(flat.shape), atol=1e-4)
    np.testing.assert_allclose(matrix, matrix.T, atol=1e-5)


def test_whitened_pixels_have_the_variances_that_theory_says():
    """Of a variance s along an axis s/(s + ε) is left, nearly 1 where s is large."""
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


def test_every_image_counts_in_whatever_blocks_they_come():
    """Of 41,000 images every third alone has a variance: (1/9 + …) by numpy's own covariance."""
    generator = np.random.default_rng(0)
    images = np.full((41_000, 1, 1, 2), 0.5, np.float32)
    images[1::3] += generator.normal(size=(13_667, 1, 1, 2), scale=(3, 1)).astype(np.float32)
    flat = images.reshape(-1, 2).astype(np.float64)
    eigenvalues, axes = np.linalg.eigh(np.cov(flat.T))
    expected = (axes / np.sqrt(eigenvalues + 0.1)) @ axes.T
    for blocks in (np.array_split(images, 7), [images]):
        mean, matrix = whitening.fit_blocks(blocks)
        np.testing.assert_allclose(mean.ravel(), flat.mean(0), rtol=1e-5)
        np.testing.assert_allclose(matrix, expected, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(whitening.fit(images)[1], expected, rtol=1e-4, atol=1e-6)


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
