"""The bundle: images and their labels."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ddlabel.errors import IncompatibleError, InvalidInputError
from ddlabel.header import ARRAYS, ArrayInfo, Header, LabelSpace, Pixels, Space, require
from ddlabel.provenance import Entry, sha256_of_array

Array = NDArray[Any]
_ROWS_AT_ONCE = 4096


@dataclass(frozen=True, kw_only=True, eq=False)
class Bundle:
    """Images and their labels as numpy arrays, memory-mapped where they were read from a file.

    The structure is checked when a bundle is made; `check_values` reads every number.
    """

    classes: tuple[str, ...]
    pixels: Pixels
    images: Array
    hard_labels: Array
    source_index: Array | None = None
    soft_labels: Array | None = None
    soft: LabelSpace | None = None
    dense_labels: Array | None = None
    dense_boxes: Array | None = None
    dense: LabelSpace | None = None
    history: tuple[Entry, ...] = ()

    def __post_init__(self) -> None:
        self._header_without_digests().check()

    def __len__(self) -> int:
        return len(self.images)

    @property
    def arrays(self) -> dict[str, Array]:
        """The arrays that are there, by name, in the order of the specification."""
        values = {name: getattr(self, name) for name in ARRAYS}
        return {name: array for name, array in values.items() if array is not None}

    def header(self) -> Header:
        """The header, with a sha256 of every array: reads them all."""
        return self._make_header({name: sha256_of_array(array) for name, array in self.arrays.items()})

    def _header_without_digests(self) -> Header:
        return self._make_header(dict.fromkeys(self.arrays, ""))

    def _make_header(self, digests: dict[str, str]) -> Header:
        # Arrays are written as they lie: one of the other byte order gets a name such as >f4, which is refused.
        dtypes = {key: x.dtype.name if x.dtype.isnative else x.dtype.str for key, x in self.arrays.items()}
        return Header(
            classes=self.classes,
            pixels=self.pixels,
            soft=self.soft,
            dense=self.dense,
            arrays={
                name: ArrayInfo(dtype=dtypes[name], shape=array.shape, sha256=digests[name])
                for name, array in self.arrays.items()
            },
            history=self.history,
        )

    @classmethod
    def from_header(cls, header: Header, arrays: dict[str, Array]) -> Bundle:
        """The bundle of a header and the arrays it declares."""
        return cls(
            classes=header.classes,
            pixels=header.pixels,
            soft=header.soft,
            dense=header.dense,
            history=header.history,
            **arrays,
        )

    def with_entry(self, entry: Entry) -> Bundle:
        """The same bundle with one more command in its history."""
        return replace(self, history=(*self.history, entry))

    def take(self, rows: Array) -> Bundle:
        """The images of these rows with all their labels; `source_index` keeps pointing at the first data set."""
        source = rows if self.source_index is None else self.source_index[rows]
        per_image: dict[str, Any] = {
            name: array[rows] for name, array in self.arrays.items() if ARRAYS[name][0].startswith("N")
        }
        return replace(self, **per_image | {"source_index": source.astype(np.int64)})

    def check_values(self) -> None:
        """Read every number: finite pixels, labels in range, distributions that sum to 1, boxes inside the image.

        Raises:
            InvalidInputError: naming the array and the first row that is wrong.
        """
        classes = len(self.classes)
        check_rows("hard_labels", self.hard_labels, f"0 … {classes - 1}", lambda x: (x >= 0) & (x < classes))
        if self.images.dtype != np.uint8:
            check_rows("images", self.images, "finite pixels", np.isfinite)
        if self.soft_labels is not None and self.soft is not None:
            check_labels("soft_labels", self.soft_labels, self.soft.space)
        if self.dense_labels is not None and self.dense is not None and self.dense_boxes is not None:
            check_labels("dense_labels", self.dense_labels, self.dense.space)
            low, high = self.dense_boxes[:, :2], self.dense_boxes[:, 2:]
            inside = (low >= 0).all() and (high <= 1).all() and (low < high).all()
            require(bool(inside), "dense_boxes must be fractions with 0 ≤ y0 < y1 ≤ 1 and 0 ≤ x0 < x1 ≤ 1")


def check_labels(name: str, labels: Array, space: Space) -> None:
    """Check that labels [..., K] are what their space says.

    Raises:
        InvalidInputError: naming the first row that is wrong.
    """
    check_rows(name, labels, "finite labels", np.isfinite)
    if space == "probs":
        check_rows(name, labels, "probabilities of at least 0", lambda x: x >= 0)
        check_rows(name, labels, "probabilities that sum to 1 (are these logits?)", sum_to_one)
    if space == "direction":
        check_rows(name, labels, "directions that are not all 0", lambda x: (x != 0).any(-1))


def sum_to_one(labels: Array) -> Array:
    """Which rows [...] of labels [..., K] sum to 1, as nearly as their precision allows."""
    tolerance = 1e-2 if labels.dtype == np.float16 else 1e-4
    close: Array = np.abs(labels.sum(-1, dtype=np.float64) - 1) <= tolerance
    return close


def check_rows(name: str, array: Array, expected: str, good: Callable[[Array], Array]) -> None:
    """Check an array [N, ...] in blocks of rows; `good` says of each number or row whether it is as expected.

    Raises:
        InvalidInputError: naming the first row that is wrong.
    """
    for start in range(0, len(array), _ROWS_AT_ONCE):
        fine = good(array[start : start + _ROWS_AT_ONCE])
        if not fine.all():
            row = start + int(np.argmin(fine.reshape(len(fine), -1).all(1)))
            raise InvalidInputError(f"{name}, row {row}: expected {expected}")


def check_same_task(what: str, first: Bundle, second: Bundle) -> None:
    """Check that two bundles have the same classes in the same order and images of the same shape.

    Raises:
        IncompatibleError: naming the first difference.
    """
    if first.classes != second.classes:
        raise IncompatibleError(f"{what} has other classes: {class_difference(first.classes, second.classes)}")
    shape, expected = second.images.shape[1:], first.images.shape[1:]
    if shape != expected:
        raise IncompatibleError(f"{what} has images {list(shape)} (C, H, W): expected {list(expected)}")


def class_difference(first: Sequence[str], second: Sequence[str]) -> str:
    """Where two lists of class names part, in a few words."""
    if len(first) != len(second):
        return f"{len(second)} of them, expected {len(first)}"
    number = next(i for i, (a, b) in enumerate(zip(first, second, strict=True)) if a != b)
    return f"number {number} is {second[number]!r}, expected {first[number]!r} (see --class-names of import)"


def image_chunks(bundle: Bundle, size: int) -> Iterator[slice]:
    """Consecutive slices of at most `size` images."""
    return (slice(start, min(start + size, len(bundle))) for start in range(0, len(bundle), size))
