"""ZCA whitening: fit it to images, and undo it on import."""

import math

import numpy as np

from ddlabel.core.errors import ResourceError
from ddlabel.data.labels import Array

EPSILON = 0.1
_MAX_PIXELS = 3 * 64 * 64
_MAX_IMAGES = 20_000


def fit(images: Array) -> tuple[Array, Array]:
    """Return mean [1, C, H, W] and matrix [D, D], D = C·H·W, that whiten images [N, C, H, W].

    The matrix is U (S + ε)^(−1/2) Uᵀ for the covariance U S Uᵀ (with N − 1) of unit pixels that
    are not normalised, with ε = 0.1: the convention of kornia, which the field uses. The images are
    uint8 or in unit space. Of more than 20,000 images every second, third, … is used.

    Raises:
        ResourceError: The images are larger than 64 px, so that the matrix would not fit.
    """
    num_pixels = math.prod(images.shape[1:])
    if num_pixels > _MAX_PIXELS:
        raise ResourceError(
            f"ZCA needs a {num_pixels} × {num_pixels} matrix: at most 64 px RGB images can be "
            "whitened"
        )
    interval = math.ceil(len(images) / _MAX_IMAGES)
    sample = images[::interval].astype(np.float32)
    if images.dtype == np.uint8:
        sample /= 255
    mean = sample.mean(0, keepdims=True, dtype=np.float64).astype(np.float32)
    flat = (sample - mean).reshape(len(sample), -1)
    covariance = flat.T @ flat / max(1, len(flat) - 1)
    eigenvalues, eigenvectors = np.linalg.eigh(covariance.astype(np.float64))
    # Rounding can make an eigenvalue of 0 slightly negative.
    deviations = np.sqrt(np.maximum(eigenvalues, 0) + EPSILON)
    matrix = (eigenvectors / deviations) @ eigenvectors.T
    return mean, matrix.astype(np.float32)


def undo(images: Array, mean: Array, matrix: Array) -> Array:
    """Return whitened images [N, C, H, W] in unit space, with mean and matrix of `fit`."""
    whitened = images.reshape(len(images), -1).astype(np.float64)
    flat = np.linalg.solve(matrix.astype(np.float64), whitened.T).T
    return (flat.reshape(images.shape) + mean).astype(np.float32)
