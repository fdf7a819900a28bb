"""Mean and deviation of the channels of images."""

import numpy as np

from ddlabel.data.labels import Array

_ROWS_AT_ONCE = 4096
_SMALLEST_STD = 1e-3


def statistics(images: Array) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean [C] and standard deviation [C] of images [N, C, H, W], in unit space.

    Both are rounded to six decimals. A deviation is at least 0.001, because it is divided by.
    """
    num_channels = images.shape[1]
    total = np.zeros(num_channels)
    total_of_squares = np.zeros(num_channels)
    scale = 255.0 if images.dtype == np.uint8 else 1.0
    for start in range(0, len(images), _ROWS_AT_ONCE):
        block = images[start : start + _ROWS_AT_ONCE].astype(np.float64) / scale
        total += block.sum((0, 2, 3))
        total_of_squares += (block**2).sum((0, 2, 3))
    pixels_per_channel = max(1, images[:, 0].size)
    mean = total / pixels_per_channel
    variance = total_of_squares / pixels_per_channel - mean**2
    std = np.maximum(np.sqrt(np.maximum(variance, 0)), _SMALLEST_STD)
    return tuple(map(float, mean.round(6))), tuple(map(float, std.round(6)))
