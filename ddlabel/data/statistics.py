"""Mean and deviation of the channels of images."""

from collections.abc import Iterator

import numpy as np

from ddlabel.data.labels import Array

# Images that are summed together: their float64 copies take eight times as much.
_BLOCK_BYTES = 1 << 22
_SMALLEST_STD = 1e-3


def statistics(images: Array) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean [C] and standard deviation [C] of images [N, C, H, W], in unit space.

    Both are rounded to six decimals. A deviation is at least 0.001, because it is divided by. The
    sums over uint8 images are exact, whatever the size of the blocks.
    """
    is_bytes = images.dtype == np.uint8
    scale = 255.0 if is_bytes else 1.0
    block_sums = _byte_sums if is_bytes else _float_sums
    total = np.zeros(images.shape[1], np.uint64 if is_bytes else np.float64)
    total_of_squares = total.copy()
    for block in _blocks(images):
        sums, sums_of_squares = block_sums(block)
        total += sums
        total_of_squares += sums_of_squares
    pixels_per_channel = max(1, images[:, 0].size)
    mean = total / (pixels_per_channel * scale)
    variance = total_of_squares / (pixels_per_channel * scale**2) - mean**2
    std = np.maximum(np.sqrt(np.maximum(variance, 0)), _SMALLEST_STD)
    return tuple(map(float, mean.round(6))), tuple(map(float, std.round(6)))


def _blocks(images: Array) -> Iterator[Array]:
    """Yield parts of images [N, C, H, W]: several images, or some rows of one large image."""
    line_bytes = max(1, images[:1, :, :1].nbytes)
    num_lines = max(1, _BLOCK_BYTES // line_bytes)
    height = max(1, images.shape[2])
    num_images = max(1, num_lines // height)
    for start in range(0, len(images), num_images):
        for top in range(0, height, num_lines):
            yield images[start : start + num_images, :, top : top + num_lines]


def _byte_sums(block: Array) -> tuple[Array, Array]:
    """Return the sums [C] of uint8 images [n, C, H, W] and of their squares."""
    squares = np.square(block, dtype=np.uint16)
    return _channel_sums(block, np.uint64), _channel_sums(squares, np.uint64)


def _float_sums(block: Array) -> tuple[Array, Array]:
    """Return the sums [C] of floating-point images [n, C, H, W] and of their squares."""
    exact = block.astype(np.float64)
    return _channel_sums(exact, np.float64), _channel_sums(exact**2, np.float64)


def _channel_sums(block: Array, dtype: type) -> Array:
    return np.asarray(block.sum((0, 2, 3), dtype=dtype))
