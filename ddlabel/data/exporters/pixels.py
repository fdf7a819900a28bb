"""Pixels as other programs hold them: PNG files, or tensors of floating point."""

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image

from ddlabel.core.config.export import HEADER
from ddlabel.core.errors import IncompatibleError
from ddlabel.core.normalisation import conventions
from ddlabel.data.bundle import Bundle
from ddlabel.data.labels import Array
from ddlabel.data.likeness import as_bytes, as_unit


def check_png(bundle: Bundle) -> None:
    """Check that the images are grey or of three colours.

    Raises:
        IncompatibleError: They have another number of channels.
    """
    num_channels = bundle.images.shape[1]
    if num_channels not in (1, 3):
        raise IncompatibleError(
            f"the images have {num_channels} channels and PNG files 1 or 3: choose --format npz"
        )


def png(image: Array) -> bytes:
    """Return an image [C, H, W], uint8 or in unit space, as the bytes of a PNG file."""
    pixels = as_bytes(image)
    pixels = pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0)
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(buffer, "PNG")
    return buffer.getvalue()


def as_floats(bundle: Bundle, normalise: str | None) -> Array:
    """Return the images [N, C, H, W] as float32, in unit space or normalised.

    Raises:
        UsageError: The convention is for another number of channels.
    """
    images = as_unit(bundle.images)
    if normalise is None:
        return images
    if normalise == HEADER:
        mean, std = bundle.pixels.mean, bundle.pixels.std
    else:
        mean, std = conventions[normalise].of_channels(images.shape[1])
    return np.asarray((images - _per_channel(mean)) / _per_channel(std))


def _per_channel(values: Sequence[float]) -> Array:
    return np.array(values, np.float32).reshape(1, -1, 1, 1)
