"""Images of bundles as pixels to draw."""

import numpy as np

from ddlabel.data.labels import Array


def drawn_pixels(image: Array) -> Array:
    """Return an image [C, H, W], bytes or unit, as bytes [H, W] or [H, W, 3].

    Of another number of channels than 1 and 3 the first is drawn.
    """
    values = np.asarray(image)
    if values.dtype != np.uint8:
        unit = np.nan_to_num(values.astype(np.float32)).clip(0, 1)
        values = np.rint(255 * unit).astype(np.uint8)
    if len(values) != 3:
        return np.asarray(values[0])
    return np.ascontiguousarray(values.transpose(1, 2, 0))


def box_in_pixels(box: Array, height: int, width: int) -> tuple[int, int, int, int]:
    """Return the rows and columns y0 x0 y1 x1 of a box in fractions; it has at least one pixel."""
    top, left, bottom, right = (float(part) for part in box)
    first_row = min(round(top * height), height - 1)
    first_column = min(round(left * width), width - 1)
    last_row = max(first_row + 1, round(bottom * height))
    last_column = max(first_column + 1, round(right * width))
    return first_row, first_column, last_row, last_column
