"""ZCA whitening: fit it to images, and undo it on import."""

import math
from collections.abc import Iterable, Iterator

import numpy as np

from ddlabel.core.errors import ResourceError
from ddlabel.data.labels import Array

EPSILON = 0.1
_MAX_PIXELS = 3 * 64 * 64
_ROWS_AT_ONCE = 1024


def fit(images: Array) -> tuple[Array, Array]:
    """Return mean [1, C, H, W] and matrix [D, D] that whiten images [N, C, H, W]: `fit_blocks`.

    Raises:
        ResourceError: The images are larger than 64 px, so that the matrix would not fit.
    """
    return fit_blocks(_blocks(images))


def fit_blocks(blocks: Iterable[Array]) -> tuple[Array, Array]:
    """Return mean [1, C, H, W] and matrix [D, D], D = C·H·W, that whiten images.

    The matrix is U (S + ε)^(−1/2) Uᵀ for the covariance U S Uᵀ (with N − 1) of unit pixels that
    are not normalised, with ε = 0.1: the convention of kornia, which the field uses. All images
    count; they come in blocks [n, C, H, W], uint8 or in unit space, of which one at a time is in
    memory.

    Raises:
        ResourceError: The images are larger than 64 px, so that the matrix would not fit.
    """
    moments = _Moments()
    for block in blocks:
        moments.add(block)
    eigenvalues, eigenvectors = np.linalg.eigh(moments.covariance())
    # Rounding can make an eigenvalue of 0 slightly negative.
    deviations = np.sqrt(np.maximum(eigenvalues, 0) + EPSILON)
    matrix = (eigenvectors / deviations) @ eigenvectors.T
    return moments.mean(), matrix.astype(np.float32)


class _Moments:
    """The mean and the covariance of images that come in blocks.

    Deviations from the mean of the first block are added up. That mean is near the one of all, so
    that the correction at the end is small and loses no digits.
    """

    def __init__(self) -> None:
        self._num_images = 0

    def add(self, block: Array) -> None:
        """Add images [n, C, H, W].

        Raises:
            ResourceError: They are larger than 64 px.
        """
        pixels = block.astype(np.float32)
        if block.dtype == np.uint8:
            pixels /= 255
        if not self._num_images:
            self._begin(pixels)
        self._num_images += len(pixels)
        deviations = (pixels - self._centre).reshape(len(pixels), -1)
        self._sum += deviations.sum(0, dtype=np.float64)
        self._products += deviations.T @ deviations

    def _begin(self, pixels: Array) -> None:
        num_pixels = math.prod(pixels.shape[1:])
        if num_pixels > _MAX_PIXELS:
            raise ResourceError(
                f"ZCA needs a {num_pixels} × {num_pixels} matrix: at most 64 px RGB images can be "
                "whitened"
            )
        self._centre = pixels.mean(0, keepdims=True, dtype=np.float64).astype(np.float32)
        self._sum = np.zeros(num_pixels)
        self._products = np.zeros((num_pixels, num_pixels))

    def mean(self) -> Array:
        """Return the mean [1, C, H, W]."""
        correction = (self._sum / self._num_images).reshape(self._centre.shape)
        return np.asarray(self._centre + correction, np.float32)

    def covariance(self) -> Array:
        """Return the covariance [D, D], with N − 1."""
        centred = self._products - np.outer(self._sum, self._sum / self._num_images)
        return np.asarray(centred / max(1, self._num_images - 1))


def _blocks(images: Array) -> Iterator[Array]:
    for start in range(0, len(images), _ROWS_AT_ONCE):
        yield images[start : start + _ROWS_AT_ONCE]


def undo(images: Array, mean: Array, matrix: Array) -> Array:
    """Return whitened images [N, C, H, W] in unit space, with mean and matrix of `fit`."""
    whitened = images.reshape(len(images), -1).astype(np.float64)
    flat = np.linalg.solve(matrix.astype(np.float64), whitened.T).T
    return (flat.reshape(images.shape) + mean).astype(np.float32)
