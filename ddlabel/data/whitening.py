"""ZCA whitening: fitting it, and undoing it on import."""

import math

import numpy as np

from ddlabel.core.errors import ResourceError
from ddlabel.data.labels import Array

EPSILON = 0.1
_MAX_PIXELS = 3 * 64 * 64
_ENOUGH_IMAGES = 20_000


def fit(images: Array) -> tuple[Array, Array]:
    """Mean [1, C, H, W] and matrix [D, D], D = C·H·W, of images [N, C, H, W] in uint8 or unit space.

    U (S + ε)^(−1/2) Uᵀ of the covariance U S Uᵀ (with N − 1) of un-normalised unit pixels, ε = 0.1: the convention
    of kornia, which the field uses. Of more than 20,000 images an even sample is taken. ResourceError for images of
    more than 64 px, whose matrix would not fit.
    """
    pixels = math.prod(images.shape[1:])
    if pixels > _MAX_PIXELS:
        raise ResourceError(
            f"ZCA needs a {pixels} × {pixels} matrix: at most 64 px RGB images can be whitened"
        )
    sample = images[:: -(-len(images) // _ENOUGH_IMAGES)].astype(np.float32)
    if images.dtype == np.uint8:
        sample /= 255
    mean = sample.mean(0, keepdims=True, dtype=np.float64).astype(np.float32)
    flat = (sample - mean).reshape(len(sample), -1)
    covariance = flat.T @ flat / max(1, len(flat) - 1)
    values, vectors = np.linalg.eigh(covariance.astype(np.float64))
    matrix = (vectors / np.sqrt(np.maximum(values, 0) + EPSILON)) @ vectors.T
    return mean, matrix.astype(np.float32)


def undo(images: Array, mean: Array, matrix: Array) -> Array:
    """Whitened images [N, C, H, W] back in unit space."""
    flat = np.linalg.solve(
        matrix.astype(np.float64), images.reshape(len(images), -1).T.astype(np.float64)
    ).T
    return (flat.reshape(images.shape) + mean).astype(np.float32)
