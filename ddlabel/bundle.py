"""The bundle: images and their labels, and the header that says what each array means."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from ddlabel.errors import DDLabelError, IncompatibleError, InvalidInputError
from ddlabel.provenance import Entry, canonical_json, sha256_of_array, sha256_of_text

FORMAT = 1
Array = NDArray[Any]
PixelSpace = Literal["uint8", "unit"]
Space = Literal["logits", "probs", "direction"]

# Each array's axes and the dtypes it may have; the one table that reading, writing and checking go by.
ARRAYS: dict[str, tuple[str, tuple[str, ...]]] = {
    "images": ("NCHW", ("uint8", "float16", "float32")),
    "hard_labels": ("N", ("int64",)),
    "source_index": ("N", ("int64",)),
    "soft_labels": ("NK", ("float16", "float32")),
    "dense_labels": ("NVK", ("float16", "float32")),
    "dense_boxes": ("V4", ("float32",)),
}
_ROWS_AT_ONCE = 4096


@dataclass(frozen=True, kw_only=True)
class Pixels:
    """What the numbers in `images` are, and how a network should normalise them.

    `uint8` is 0 … 255, `unit` is floating point with 0 black and 1 white (distilled images may leave the range).
    `mean` and `std` [C], in unit space, are those of the *real* data: a distilled set is too small to estimate them.
    """

    space: PixelSpace
    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class LabelSpace:
    """What the numbers in a label array are.

    `logits`: the label is softmax(array / temperature). `probs`: the array is the label. `direction`: only the angle
    between array and prediction has meaning (a label refined in logits space).
    """

    space: Space
    temperature: float = 1.0
    source: str = ""


@dataclass(frozen=True, kw_only=True)
class ArrayInfo:
    """An array as the header declares it."""

    dtype: str
    shape: tuple[int, ...]
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Header:
    """All of a bundle but its arrays; the same text in every format."""

    classes: tuple[str, ...]
    pixels: Pixels
    soft: LabelSpace | None
    dense: LabelSpace | None
    arrays: dict[str, ArrayInfo]
    history: tuple[Entry, ...]

    def to_json(self) -> str:
        """Canonical JSON with the format's version and, last, the digest of all the rest."""
        body = asdict(self) | {"format": FORMAT, "history": [entry.to_json() for entry in self.history]}
        return canonical_json(body | {"digest": sha256_of_text(canonical_json(body))})

    @property
    def digest(self) -> str:
        """sha256 that stands for the whole bundle: the header holds a sha256 of each array."""
        digest: str = json.loads(self.to_json())["digest"]
        return digest

    @classmethod
    def from_json(cls, text: str) -> Header:
        """Read a header and verify its own digest.

        Raises:
            InvalidInputError: if it is not ours, is damaged, or declares arrays that do not belong together.
            IncompatibleError: if it is of a later format.
        """
        try:
            body = json.loads(text)
            digest, version = body.pop("digest"), body.pop("format")
            if version != FORMAT:
                raise IncompatibleError(f"bundle format {version} is not format {FORMAT}: it needs another ddlabel")
            if digest != sha256_of_text(canonical_json(body | {"format": version})):
                raise InvalidInputError("the header does not match its own digest: the file is damaged")
            header = cls(
                classes=tuple(map(str, body.pop("classes"))),
                pixels=_pixels(body.pop("pixels")),
                soft=_label_space(body.pop("soft")),
                dense=_label_space(body.pop("dense")),
                arrays={name: _array_info(info) for name, info in body.pop("arrays").items()},
                history=tuple(Entry.from_json(entry) for entry in body.pop("history")),
            )
            if body:
                raise InvalidInputError(f"the header has unknown parts: {', '.join(sorted(body))}")
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
            raise InvalidInputError(f"the header cannot be read as a bundle's ({type(error).__name__})") from error
        header.check()
        return header

    def check(self) -> None:
        """Check that the declared arrays follow from one N, C, H, W, K and V.

        Raises:
            InvalidInputError: naming the array, what it is and what was expected.
        """
        sizes = {"K": len(self.classes), "4": 4}
        _require(len(set(self.classes)) == len(self.classes) > 0, "class names must be there and all different")
        for name in ("images", "hard_labels"):
            _require(name in self.arrays, f"the array {name} is missing")
        for name, info in self.arrays.items():
            _require(name in ARRAYS, f"unknown array {name!r}: a bundle has {', '.join(ARRAYS)}")
            axes, dtypes = ARRAYS[name]
            _require(info.dtype in dtypes, f"{name} is {info.dtype}: expected {' or '.join(dtypes)}")
            _require(len(info.shape) == len(axes), f"{name} has shape {list(info.shape)}: expected [{', '.join(axes)}]")
            for axis, size in zip(axes, info.shape, strict=True):
                expected = sizes.setdefault(axis, size)
                _require(size == expected > 0, f"{name} has {axis} = {size}: expected {expected} (and at least 1)")
        _require(
            (self.arrays["images"].dtype == "uint8") == (self.pixels.space == "uint8"),
            f"images are {self.arrays['images'].dtype} and the pixel space is {self.pixels.space!r}",
        )
        channels = sizes["C"]
        fits = len(self.pixels.mean) == len(self.pixels.std) == channels and min(self.pixels.std) > 0
        _require(fits, f"pixel mean and std must have one value (std above 0) for each of {channels} channels")
        for space, names in ((self.soft, ["soft_labels"]), (self.dense, ["dense_labels", "dense_boxes"])):
            for name in names:
                _require((space is not None) == (name in self.arrays), f"{name} and its label space must come together")


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
        return Header(
            classes=self.classes,
            pixels=self.pixels,
            soft=self.soft,
            dense=self.dense,
            arrays={
                name: ArrayInfo(dtype=array.dtype.name, shape=array.shape, sha256=digests[name])
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
        _check_rows("hard_labels", self.hard_labels, f"0 … {classes - 1}", lambda x: (x >= 0) & (x < classes))
        if self.images.dtype != np.uint8:
            _check_rows("images", self.images, "finite pixels", np.isfinite)
        if self.soft_labels is not None and self.soft is not None:
            check_labels("soft_labels", self.soft_labels, self.soft.space)
        if self.dense_labels is not None and self.dense is not None and self.dense_boxes is not None:
            check_labels("dense_labels", self.dense_labels, self.dense.space)
            low, high = self.dense_boxes[:, :2], self.dense_boxes[:, 2:]
            inside = (low >= 0).all() and (high <= 1).all() and (low < high).all()
            _require(bool(inside), "dense_boxes must be fractions with 0 ≤ y0 < y1 ≤ 1 and 0 ≤ x0 < x1 ≤ 1")


def check_labels(name: str, labels: Array, space: Space) -> None:
    """Check that labels [..., K] are what their space says.

    Raises:
        InvalidInputError: naming the first row that is wrong.
    """
    _check_rows(name, labels, "finite labels", np.isfinite)
    if space == "probs":
        tolerance = 1e-2 if labels.dtype == np.float16 else 1e-4
        _check_rows(name, labels, "probabilities of at least 0", lambda x: x >= 0)
        _check_rows(
            name,
            labels,
            "probabilities that sum to 1 (are these logits?)",
            lambda x: np.abs(x.sum(-1, dtype=np.float64) - 1) <= tolerance,
        )
    if space == "direction":
        _check_rows(name, labels, "directions that are not all 0", lambda x: (x != 0).any(-1))


def _check_rows(name: str, array: Array, expected: str, good: Any) -> None:
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


def naming(name: str, error: DDLabelError) -> DDLabelError:
    """The same error with the file's name in front."""
    return type(error)(f"{name}: {error}")


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise InvalidInputError(message)


def _pixels(value: dict[str, Any]) -> Pixels:
    _require(value["space"] in get_args(PixelSpace), f"unknown pixel space {value['space']!r}")
    return Pixels(space=value["space"], mean=tuple(map(float, value["mean"])), std=tuple(map(float, value["std"])))


def _label_space(value: dict[str, Any] | None) -> LabelSpace | None:
    if value is None:
        return None
    temperature = float(value["temperature"])
    _require(value["space"] in get_args(Space), f"unknown label space {value['space']!r}")
    _require(temperature > 0, f"label temperature {temperature}: expected above 0")
    return LabelSpace(space=value["space"], temperature=temperature, source=str(value["source"]))


def _array_info(value: dict[str, Any]) -> ArrayInfo:
    return ArrayInfo(dtype=str(value["dtype"]), shape=tuple(map(int, value["shape"])), sha256=str(value["sha256"]))
