"""Images that are equal or nearly equal: in one array, or in two."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from ddlabel.data.labels import Array
from ddlabel.data.scratch import scratch_array

# The root of the mean squared difference, in unit space, of images that are nearly equal: that of
# two JPEG files of one image is below 6/255.
NEAR = 8 / 255
# The same as a share of the image's own deviation, so that dark images are not all alike.
_NEAR_SHARE = 0.25
# An image that deviates less than this from its mean is of one colour.
_SMALLEST_DEVIATION = 1 / 255
# An image is compared by the means of so many × so many cells first.
_CELLS = 8
_PROBE_LENGTH = 64
_ROWS_AT_ONCE = 1024
# The rounding of squared distances, which are differences of numbers up to 1.
_ROUNDING = 1e-6


class Likeness(NamedTuple):
    """An image `row` that is like the image `other`.

    `distance` is the root of the mean squared difference in unit space, and 0 if the images are
    equal as bytes. `is_mirrored` is set if `other` is like the mirrored image.
    """

    row: int
    other: int
    distance: float
    is_mirrored: bool


def as_bytes(images: Array) -> Array:
    """Return images, uint8 or in unit space, as uint8."""
    if images.dtype == np.uint8:
        return images
    return np.rint(np.clip(images, 0, 1) * np.float32(255)).astype(np.uint8)


def as_unit(images: Array) -> Array:
    """Return images, uint8 or in unit space, as float32 in unit space."""
    if images.dtype == np.uint8:
        return images.astype(np.float32) / np.float32(255)
    return images.astype(np.float32)


def equal_images(images: Array, others: Array) -> Iterator[tuple[int, int]]:
    """Yield the rows (i, j) of images [N, C, H, W] and others [M, C, H, W] that are equal as bytes.

    A short part of each image is read, and the whole of those whose parts are equal.
    """
    rows_of: dict[bytes, list[int]] = {}
    for row, probe in _probes(images):
        rows_of.setdefault(probe, []).append(row)
    for other, probe in _probes(others):
        for row in rows_of.get(probe, ()):
            if np.array_equal(as_bytes(images[row]), as_bytes(others[other])):
                yield row, other


def _probes(images: Array) -> Iterator[tuple[int, bytes]]:
    """Yield each row with the bytes from the middle of its image."""
    middle = images.shape[2] // 2
    for start in range(0, len(images), _ROWS_AT_ONCE):
        line = images[start : start + _ROWS_AT_ONCE, 0, middle, :_PROBE_LENGTH]
        for number, probe in enumerate(as_bytes(line)):
            yield start + number, probe.tobytes()


def like_images(images: Array, others: Array | None = None) -> list[Likeness]:
    """Return for each image [N, C, H, W] that is like one of `others` [M, C, H, W] the nearest one.

    Without `others`, an image is compared with those before it. Images of one colour are left out.
    The images are compared by their thumbnails in blocks, and in full where those are near.
    """
    is_own = others is None
    others = images if others is None else others
    thumbnails = _all_thumbnails(others)
    nearest: dict[int, Likeness] = {}
    for start in range(0, len(images), _ROWS_AT_ONCE):
        block = as_unit(images[start : start + _ROWS_AT_ONCE])
        limits = _limits(block)
        for found in _near(block, others, thumbnails, limits, start if is_own else None):
            row = start + found.row
            known = nearest.get(row)
            if known is None or found.distance < known.distance:
                nearest[row] = found._replace(row=row)
    return [nearest[row] for row in sorted(nearest)]


def _limits(block: Array) -> Array:
    """Return the largest distance [n] to each image [n, C, H, W] that is near; −1 if none is."""
    deviations = block.std(axis=(1, 2, 3))
    limits = np.minimum(NEAR, _NEAR_SHARE * deviations)
    limits[deviations < _SMALLEST_DEVIATION] = -1
    return np.asarray(limits)


def _near(
    block: Array, others: Array, thumbnails: Array, limits: Array, own_start: int | None
) -> Iterator[Likeness]:
    """Yield the images of `others` that are near an image of the block.

    If the block is a part of `others` from row `own_start` on, those before the image alone.
    """
    for is_mirrored in (False, True):
        seen = block[..., ::-1] if is_mirrored else block
        small = _thumbnails(seen)
        last = len(others) if own_start is None else own_start + len(block)
        for start in range(0, last, _ROWS_AT_ONCE):
            squares = _squared_distances(small, thumbnails[start : start + _ROWS_AT_ONCE])
            # The distance of thumbnails is never above that of their images.
            near = (squares <= limits[:, None] ** 2 + _ROUNDING) & (limits[:, None] >= 0)
            for row, column in np.argwhere(near):
                other = start + int(column)
                if own_start is not None and other >= own_start + row:
                    continue
                difference = seen[row] - as_unit(others[other])
                distance = float(np.sqrt(np.mean(difference**2)))
                if distance <= limits[row]:
                    yield Likeness(int(row), other, distance, is_mirrored)


def _all_thumbnails(images: Array) -> Array:
    """Return the thumbnails [N, D] of images [N, C, H, W], made in blocks."""
    size = _thumbnails(as_unit(images[:1])).shape[1]
    thumbnails = scratch_array((len(images), size), np.float32)
    for start in range(0, len(images), _ROWS_AT_ONCE):
        block = images[start : start + _ROWS_AT_ONCE]
        thumbnails[start : start + len(block)] = _thumbnails(as_unit(block))
    return thumbnails


def _thumbnails(images: Array) -> Array:
    """Return means of cells [n, D], weighted so that squared distances bound those of images.

    By Jensen's inequality the squared difference of the means of a cell is at most the mean of the
    squared differences of its pixels.
    """
    sums = images
    weight = np.ones(1, np.float32)
    for axis in (2, 3):
        side = images.shape[axis]
        edges = np.linspace(0, side, min(_CELLS, side) + 1).astype(int)
        sums = np.add.reduceat(sums, edges[:-1], axis=axis)
        weight = np.multiply.outer(weight, np.diff(edges).astype(np.float32))
    means = sums / np.sqrt(weight * images[0].size)
    return np.asarray(means.reshape(len(images), -1), np.float32)


def _squared_distances(first: Array, second: Array) -> Array:
    """Return the squared distances [n, m] of vectors [n, D] and [m, D]."""
    squares = (first**2).sum(1)[:, None] + (second**2).sum(1)[None]
    return np.asarray(squares - 2 * first @ second.T)
