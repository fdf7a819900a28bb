"""The bundle: images and their labels."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from ddlabel.core.errors import IncompatibleError, InvalidInputError
from ddlabel.data import codecs
from ddlabel.data.provenance import Entry, sha256_of_array
from ddlabel.data.schema import ARRAYS, ArrayInfo, Header, LabelMeta, Pixels, require
from ddlabel.data.scratch import scratch_array

Array = NDArray[Any]
CHUNK = 512  # images; a power of two, as batches of labelling are
_ROWS_AT_ONCE = 4096
_BLOCK = 512  # of decoded labels, which can have many views
_MAKERS = {"soft": "relabel", "dense": "densify"}
_IN_HEADER = ("classes", "pixels", "soft", "dense", "history")


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
    soft_index: Array | None = None
    soft: LabelMeta | None = None
    dense_labels: Array | None = None
    dense_index: Array | None = None
    dense_boxes: Array | None = None
    dense: LabelMeta | None = None
    dense_flip: Array | None = None
    dense_mix: Array | None = None
    dense_mix_weight: Array | None = None
    dense_mix_box: Array | None = None
    history: tuple[Entry, ...] = ()

    def __post_init__(self) -> None:
        self.header(digests=False).check()

    def __len__(self) -> int:
        return len(self.images)

    @property
    def side(self) -> int:
        """The images' pixels along each side; an InvalidInputError if those are not the same."""
        height, width = self.images.shape[2:]
        require(
            height == width,
            f"images are {height} × {width} px: networks need squares; import with --size",
        )
        return int(height)

    @property
    def arrays(self) -> dict[str, Array]:
        """The arrays that are there, by name, in the order of the specification."""
        values = {name: getattr(self, name) for name in ARRAYS}
        return {name: array for name, array in values.items() if array is not None}

    def header(self, *, digests: bool = True) -> Header:
        """The header; the sha256 of every array in it reads them all, and is zeros without `digests`."""
        infos = {}
        for name, x in self.arrays.items():
            # Arrays are written as they lie: one of the other byte order gets a name such as >f4, which is refused.
            dtype = x.dtype.name if x.dtype.isnative else x.dtype.str
            infos[name] = ArrayInfo(
                dtype=dtype, shape=x.shape, sha256=sha256_of_array(x) if digests else "0" * 64
            )
        return Header(arrays=infos, **{name: getattr(self, name) for name in _IN_HEADER})

    @classmethod
    def from_header(cls, header: Header, arrays: dict[str, Array]) -> Self:
        """The bundle of a header and the arrays it declares."""
        return cls(**{name: getattr(header, name) for name in _IN_HEADER} | arrays)

    def labels(
        self, field: str, rows: slice | Array = slice(None), *, as_if: LabelMeta | None = None
    ) -> Array:
        """The `soft` [n, K] or `dense` [n, V, K] labels of some images, decoded to float32 (`as_if` of this space)."""
        label, index = as_if or self.label(field), getattr(self, f"{field}_index")
        stored = self.arrays[f"{field}_labels"][rows]
        return codecs.decode(
            stored, None if index is None else index[rows], label, len(self.classes)
        )

    def label(self, field: str) -> LabelMeta:
        """What the soft or dense labels are; an IncompatibleError if there are none."""
        label: LabelMeta | None = getattr(self, field)
        if label is None:
            raise IncompatibleError(
                f"the bundle has no {field} labels: make them with 'ddlabel {_MAKERS[field]}'"
            )
        return label

    def with_labels(self, field: str, stored: codecs.Stored) -> Self:
        """The same with other soft or dense labels."""
        arrays = {
            f"{field}_labels": stored.values,
            f"{field}_index": stored.index,
            field: stored.label,
        }
        return replace(self, **arrays)  # type: ignore[arg-type]

    def take(self, rows: Array) -> Self:
        """The images of these rows with all their labels; `source_index` keeps pointing at the first data set.

        IncompatibleError if a view is blended with an image that is left out.
        """
        source = rows if self.source_index is None else self.source_index[rows]
        shared = (
            {"dense_boxes"}
            if self.dense_boxes is not None and self.dense_boxes.ndim == 2
            else set()
        )
        changes: dict[str, Any] = {
            name: _rows(x, rows) for name, x in self.arrays.items() if name not in shared
        }
        if self.dense_mix is not None:
            new_row = np.full(len(self), -1)
            new_row[rows] = np.arange(len(rows))
            changes["dense_mix"] = new_row[changes["dense_mix"]]
            if (changes["dense_mix"] < 0).any():
                raise IncompatibleError(
                    "views are blended with images that would be left out: take all images"
                )
        return replace(self, **changes | {"source_index": source.astype(np.int64)})

    def without_views(self) -> Self:
        """The same without dense labels and all that belongs to them."""
        gone: dict[str, Any] = {name: None for name in ARRAYS if name.startswith("dense")}
        return replace(self, dense=None, **gone)

    def of_classes(self, numbers: Sequence[int]) -> Self:
        """The images of some classes, in this order, with labels over them alone: distributions sum to 1 again.

        A distribution without mass on these classes becomes uniform.

        IncompatibleError for labels that are directions.
        """
        columns = np.asarray(numbers)
        taken = self.take(np.flatnonzero(np.isin(self.hard_labels, columns)))
        new_number = np.empty(len(self.classes), np.int64)
        new_number[columns] = np.arange(len(columns))
        changes: dict[str, Any] = {"hard_labels": new_number[taken.hard_labels]}
        for field, label in (("soft", self.soft), ("dense", self.dense)):
            if label is None:
                continue
            if label.space == "direction":
                raise IncompatibleError(
                    f"{field} labels are directions: they cannot be narrowed to some classes"
                )
            values = taken.labels(field)[..., columns]
            if label.space == "probs":
                mass = values.sum(-1, keepdims=True)
                values = np.where(
                    mass > 0, values / np.maximum(mass, 1e-38), np.float32(1 / len(columns))
                )
            changes |= {f"{field}_labels": values, f"{field}_index": None}
        return replace(taken, classes=tuple(self.classes[i] for i in numbers), **changes)

    def check_values(self) -> None:
        """Raise InvalidInputError for the first row that has no meaning: reads every number.

        Pixels are finite, labels in range, distributions sum to 1, and boxes lie inside the image.
        """
        classes = len(self.classes)
        check_rows(
            "hard_labels",
            self.hard_labels,
            f"0 … {classes - 1}",
            lambda x: (x >= 0) & (x < classes),
        )
        if self.images.dtype != np.uint8:
            check_rows("images", self.images, "finite pixels", np.isfinite)
        for field in ("soft", "dense"):
            if getattr(self, field) is not None:
                self._check_labels(field)
        if self.dense_boxes is not None:
            low, high = self.dense_boxes[..., :2], self.dense_boxes[..., 2:]
            inside = (low >= 0).all() and (high <= 1).all() and (low < high).all()
            require(
                inside, "dense_boxes must be fractions with 0 ≤ y0 < y1 ≤ 1 and 0 ≤ x0 < x1 ≤ 1"
            )
        for name in {
            "dense_flip",
            "dense_mix",
            "dense_mix_weight",
            "dense_mix_box",
        } & self.arrays.keys():
            top = len(self) - 1 if name == "dense_mix" else 1
            check_rows(
                name, self.arrays[name], f"numbers from 0 to {top}", partial(_within, top=top)
            )

    def _check_labels(self, field: str) -> None:
        """The same for soft or dense labels, decoded, in blocks of images."""
        name, label, index = f"{field}_labels", self.label(field), getattr(self, f"{field}_index")
        dtype = self.arrays[name].dtype
        # Decoded as probabilities, rounded ones would sum to 1 whatever they are.
        as_stored = label if dtype == np.uint8 else replace(label, space="direction")
        if index is not None:
            check_rows(
                f"{field}_index", index, "classes", partial(_within, top=len(self.classes) - 1)
            )
            check_rows(
                f"{field}_index",
                index,
                "different classes",
                lambda x: (np.diff(np.sort(x)) != 0).all(-1),
            )
        tolerance = 1e-4 if dtype == np.float32 else 1e-2
        positive = ("probabilities of at least 0", lambda x: x >= 0)
        whole = (
            "probabilities that sum to 1 (are these logits?)",
            partial(sum_to_one, tolerance=tolerance),
        )
        part = ("probabilities that sum to at most 1", lambda x: x.sum(-1) <= 1 + tolerance)
        some = ("directions that are not all 0", lambda x: (x != 0).any(-1))
        rules: dict[str, list[Any]] = {
            "probs": [positive, whole],
            "mass": [positive, part],
            "direction": [some],
        }
        for start in range(0, len(self), _BLOCK):
            values = self.labels(field, slice(start, start + _BLOCK), as_if=as_stored)
            for expected, good in [("finite labels", np.isfinite), *rules.get(label.space, [])]:
                check_rows(name, values, expected, good, first=start)


def _rows(array: Array, rows: Array) -> Array:
    """Some rows of an array, copied in blocks: the copy may be as large as what is mapped."""
    copy = scratch_array((len(rows), *array.shape[1:]), array.dtype)
    for start in range(0, len(rows), _ROWS_AT_ONCE):
        copy[start : start + _ROWS_AT_ONCE] = array[rows[start : start + _ROWS_AT_ONCE]]
    return copy


def _within(values: Array, top: int) -> Array:
    return np.asarray((values >= 0) & (values <= top))


def sum_to_one(labels: Array, *, tolerance: float = 1e-4) -> Array:
    """Which rows [...] of labels [..., K] sum to 1; rounded ones need a wider tolerance, 1e-2 for float16."""
    return np.asarray(np.abs(labels.sum(-1, dtype=np.float64) - 1) <= tolerance)


def check_rows(
    name: str, array: Array, expected: str, good: Callable[[Array], Array], *, first: int = 0
) -> None:
    """Raise InvalidInputError for the first row of an array [N, ...] that is not as expected.

    `good` says of a block of rows which numbers or which rows are; `first` is the number of the array's first row.
    """
    for start in range(0, len(array), _ROWS_AT_ONCE):
        fine = good(array[start : start + _ROWS_AT_ONCE])
        if not fine.all():
            row = first + start + int(np.argmin(fine.reshape(len(fine), -1).all(1)))
            raise InvalidInputError(f"{name}, row {row}: expected {expected}")


def check_same_task(what: str, first: Bundle, second: Bundle) -> None:
    """Raise IncompatibleError unless two bundles have the same classes in one order and images of one shape."""
    if first.classes != second.classes:
        raise IncompatibleError(
            f"{what} has other classes: {class_difference(first.classes, second.classes)}"
        )
    shape, expected = second.images.shape[1:], first.images.shape[1:]
    if shape != expected:
        raise IncompatibleError(
            f"{what} has images {list(shape)} (C, H, W): expected {list(expected)}"
        )


def class_difference(first: Sequence[str], second: Sequence[str]) -> str:
    """Where two lists of class names part, in a few words."""
    if len(first) != len(second):
        return f"{len(second)} of them, expected {len(first)}"
    number = next(i for i, (a, b) in enumerate(zip(first, second, strict=True)) if a != b)
    return f"number {number} is {second[number]!r}, expected {first[number]!r} (see --class-names of import)"


def image_chunks(bundle: Bundle, size: int = CHUNK) -> Iterator[slice]:
    """Consecutive slices of at most `size` images."""
    return (slice(start, start + size) for start in range(0, len(bundle), size))
