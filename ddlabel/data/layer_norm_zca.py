"""The ZCA whitening of KIP and RaT-BPTT, which begins with each image's own mean and norm."""

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from ddlabel.core.errors import ResourceError
from ddlabel.data.labels import Array
from ddlabel.data.statistics import statistics

# Of the mean eigenvalue: the default of KIP's whitening as its users call it, and of RaT-BPTT.
REGULARISATION = 0.1
_MAX_PIXELS = 3 * 64 * 64
_CHUNK = 512


class Whitening(NamedTuple):
    """What undoes the whitening.

    `inverse` [D, D], D = C·H·W, gives images of mean 0 and norm 1. `brightness` and `norm` are the
    means over the real images of what was taken from each. `mean` and `std` [C, 1, 1] undo the
    normalisation of the channels.
    """

    inverse: Array
    brightness: float
    norm: float
    mean: Array
    std: Array


def fit(real: Array, *, standardise: bool) -> Whitening:
    """Return what undoes the whitening that was fitted on images [N, C, H, W].

    The images are uint8 or in unit space. With `standardise` their channels are normalised first,
    as KIP does it. Then each image loses its mean and is divided by its norm; the covariance S of
    what is left (divided by N, not centred) gives the whitening (S + 0.1·trace(S)/D)^(−1/2).

    Raises:
        ResourceError: The images are larger than 64 px, so that the matrix would not fit.
    """
    num_pixels = math.prod(real.shape[1:])
    if num_pixels > _MAX_PIXELS:
        raise ResourceError(
            f"ZCA needs a {num_pixels} × {num_pixels} matrix: at most 64 px RGB images can be "
            "whitened"
        )
    mean, std = statistics(real) if standardise else ((0.0,), (1.0,))
    means_of_channels = np.reshape(mean, (-1, 1, 1))
    deviations_of_channels = np.reshape(std, (-1, 1, 1))
    second_moment = np.zeros((num_pixels, num_pixels))
    brightness = 0.0
    norm = 0.0
    for block in _unit_blocks(real):
        channels = (block - means_of_channels) / deviations_of_channels
        flat = channels.reshape(len(block), -1)
        means = flat.mean(1, keepdims=True)
        flat = flat - means
        norms = np.linalg.norm(flat, axis=1, keepdims=True)
        # An image of one colour has the norm 0.
        flat = flat / np.maximum(norms, np.finfo(np.float64).tiny)
        single = flat.astype(np.float32)
        second_moment += single.T @ single
        brightness += float(means.sum())
        norm += float(norms.sum())
    second_moment /= len(real)
    regularised = REGULARISATION * np.trace(second_moment) / num_pixels
    eigenvalues, eigenvectors = np.linalg.eigh(second_moment)
    # Rounding can make an eigenvalue of 0 slightly negative.
    deviations = np.sqrt(np.maximum(eigenvalues, 0) + regularised)
    inverse = (eigenvectors * deviations) @ eigenvectors.T
    return Whitening(
        inverse=inverse,
        brightness=brightness / len(real),
        norm=norm / len(real),
        mean=means_of_channels,
        std=deviations_of_channels,
    )


def undo(images: Array, whitening: Whitening) -> Array:
    """Return whitened images [N, C, H, W] in unit space.

    What was taken from each image is not known: all get the mean brightness and the mean norm of
    the real images.
    """
    flat = images.reshape(len(images), -1).astype(np.float64) @ whitening.inverse
    normalised = (flat * whitening.norm + whitening.brightness).reshape(images.shape)
    return (normalised * whitening.std + whitening.mean).astype(np.float32)


def _unit_blocks(real: Array) -> Iterator[Array]:
    """Yield blocks of images in unit space as float64."""
    for start in range(0, len(real), _CHUNK):
        block = real[start : start + _CHUNK].astype(np.float64)
        yield block / 255 if real.dtype == np.uint8 else block
