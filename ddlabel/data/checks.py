"""Checks that read every number of a bundle."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np

from ddlabel.core.errors import InvalidInputError
from ddlabel.data.labels import Array, Labels, Views
from ddlabel.data.schema import require

_ROWS_AT_ONCE = 4096
# A check makes an array of as many numbers as it is given.
_BLOCK_BYTES = 1 << 24
# Images whose labels are decoded together: each can have many views.
_LABELS_AT_ONCE = 512


def check_labels(field: str, labels: Labels) -> None:
    """Check the numbers of labels against their space, decoded in blocks of images.

    Raises:
        InvalidInputError: A label has no meaning; the message names the first such row.
    """
    name = f"{field}_labels"
    dtype = labels.values.dtype
    if labels.index is not None:
        _check_index(f"{field}_index", labels.index, labels.num_classes)
    # Decoded as probabilities, rounded ones would sum to 1 whatever was stored.
    as_stored = labels
    if dtype != np.uint8:
        as_stored = replace(labels, meta=replace(labels.meta, space="direction"))
    rules = _label_rules(labels.meta.space, tolerance=1e-4 if dtype == np.float32 else 1e-2)
    for start in range(0, len(labels), _LABELS_AT_ONCE):
        values = as_stored.decode(slice(start, start + _LABELS_AT_ONCE))
        for expected, is_good in rules:
            check_rows(name, values, expected, is_good, first=start)


def _check_index(name: str, index: Array, num_classes: int) -> None:
    """Check that an index names classes, and none of them twice in one label."""
    check_rows(name, index, "classes", partial(within, top=num_classes - 1))
    check_rows(name, index, "different classes", _all_different)


def _label_rules(space: str, tolerance: float) -> list[tuple[str, Callable[[Array], Array]]]:
    """Return what labels [..., K] of a space must fulfil, and how to say it."""
    rules: list[tuple[str, Callable[[Array], Array]]] = [("finite labels", np.isfinite)]
    if space in ("probs", "mass"):
        rules.append(("probabilities of at least 0", lambda values: values >= 0))
    if space == "probs":
        expected = "probabilities that sum to 1 (are these logits?)"
        rules.append((expected, partial(sum_to_one, tolerance=tolerance)))
    if space == "direction":
        rules.append(("directions that are not all 0", lambda values: (values != 0).any(-1)))
    return rules


def check_views(views: Views, num_images: int) -> None:
    """Check that boxes lie inside the image and that all other numbers are in their range.

    Raises:
        InvalidInputError: A number is out of its range.
    """
    low, high = views.boxes[..., :2], views.boxes[..., 2:]
    inside = (low >= 0).all() and (high <= 1).all() and (low < high).all()
    require(
        inside,
        "dense_boxes must be fractions with 0 ≤ y0 < y1 ≤ 1 and 0 ≤ x0 < x1 ≤ 1",
    )
    for name, array in views.arrays():
        if name != "boxes":
            top = num_images - 1 if name == "mix" else 1
            in_range = partial(within, top=top)
            check_rows(f"dense_{name}", array, f"numbers from 0 to {top}", in_range)


def within(values: Array, top: int) -> Array:
    """Return which numbers are from 0 to `top`."""
    return np.asarray((values >= 0) & (values <= top))


def _all_different(index: Array) -> Array:
    """Return which rows [...] of class numbers [..., S] name no class twice."""
    return np.asarray((np.diff(np.sort(index)) != 0).all(-1))


def sum_to_one(labels: Array, *, tolerance: float = 1e-4) -> Array:
    """Return which rows [...] of labels [..., K] sum to 1.

    Rounded labels need a wider tolerance: 1e-2 for float16.
    """
    return np.asarray(np.abs(labels.sum(-1, dtype=np.float64) - 1) <= tolerance)


def check_rows(
    name: str,
    array: Array,
    expected: str,
    is_good: Callable[[Array], Array],
    *,
    first: int = 0,
) -> None:
    """Check every row of an array [N, ...] in blocks.

    `is_good` returns for a block which of its numbers or rows are good; `first` is the number of
    the array's first row.

    Raises:
        InvalidInputError: A row is not as expected; the message names the first such row.
    """
    row_bytes = max(1, array[:1].nbytes)
    num_rows = min(_ROWS_AT_ONCE, max(1, _BLOCK_BYTES // row_bytes))
    for start in range(0, len(array), num_rows):
        good = is_good(array[start : start + num_rows])
        if not good.all():
            good_rows = good.reshape(len(good), -1).all(1)
            row = first + start + int(np.argmin(good_rows))
            raise InvalidInputError(f"{name}, row {row}: expected {expected}")
