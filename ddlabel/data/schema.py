"""The header of a bundle: what each of its arrays means, and where they come from."""

import json
import sys
from dataclasses import asdict, dataclass
from typing import Any, Literal, Self, get_args

from ddlabel.core.errors import DDLabelError, IncompatibleError, InvalidInputError
from ddlabel.data.provenance import Entry, canonical_json, sha256_of_text

FORMAT = 1
MAX_BYTES = 1 << 20
PixelSpace = Literal["uint8", "unit"]
Space = Literal["logits", "probs", "mass", "direction"]

# Each array's axes, or either of two, the dtypes it may have, and the arrays that it needs with it; the one table that
# reading, writing and checking go by.
ARRAYS: dict[str, tuple[str, tuple[str, ...], tuple[str, ...]]] = {
    "images": ("NCHW", ("uint8", "float16", "float32"), ()),
    "hard_labels": ("N", ("int64",), ()),
    "source_index": ("N", ("int64",), ()),
    "soft_labels": ("NK", ("uint8", "uint16", "float16", "float32"), ()),
    "soft_index": ("NS", ("uint8", "uint16"), ("soft_labels",)),
    "dense_labels": ("NVK", ("uint8", "uint16", "float16", "float32"), ("dense_boxes",)),
    "dense_index": ("NVD", ("uint8", "uint16"), ("dense_labels",)),
    "dense_boxes": ("V4 NV4", ("float32",), ("dense_labels",)),
    "dense_flip": ("NV", ("uint8",), ("dense_labels",)),
    "dense_mix": ("NV", ("int64",), ("dense_labels", "dense_mix_weight")),
    "dense_mix_weight": ("NV", ("float32",), ("dense_mix",)),
    "dense_mix_box": ("NV4", ("float32",), ("dense_mix",)),
}


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
class LabelMeta:
    """What the numbers in a label array are.

    `logits`: the label is softmax(array / temperature). `probs`: the array is the label. `mass`: the same, where
    some of the probability was taken away. `direction`: only the angle between array and prediction has meaning (a
    label refined in logits space).
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
    soft: LabelMeta | None
    dense: LabelMeta | None
    arrays: dict[str, ArrayInfo]
    history: tuple[Entry, ...]

    def to_json(self) -> str:
        """Canonical JSON with the format's version and, last, the digest of all the rest."""
        body = asdict(self) | {"format": FORMAT}
        return canonical_json(body | {"digest": sha256_of_text(canonical_json(body))})

    @property
    def digest(self) -> str:
        """sha256 that stands for the whole bundle: the header holds a sha256 of each array."""
        return str(json.loads(self.to_json())["digest"])

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read a header and verify its own digest.

        InvalidInputError if it is not ours, is damaged, or declares arrays that do not belong together,
        IncompatibleError if it is of a later format.
        """
        try:
            body = json.loads(text)
            digest, version = body.pop("digest"), body.pop("format")
            if version != FORMAT:
                raise IncompatibleError(
                    f"bundle format {version} is not format {FORMAT}: it needs another ddlabel"
                )
            intact = digest == sha256_of_text(canonical_json(body | {"format": version}))
            require(intact, "the header does not match its own digest: the file is damaged")
            require(isinstance(body["classes"], list), "the class names must be a list")
            pixels = body.pop("pixels")
            header = cls(
                classes=tuple(body.pop("classes")),
                pixels=Pixels(**pixels | {key: tuple(pixels[key]) for key in ("mean", "std")}),
                soft=_label_space(body.pop("soft")),
                dense=_label_space(body.pop("dense")),
                arrays={
                    name: ArrayInfo(**a | {"shape": tuple(a["shape"])})
                    for name, a in body.pop("arrays").items()
                },
                history=tuple(Entry.from_json(entry) for entry in body.pop("history")),
            )
            require(not body, f"the header has unknown parts: {', '.join(sorted(body))}")
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
            raise InvalidInputError(
                f"the header cannot be read as a bundle's ({type(error).__name__})"
            ) from error
        header.check()
        return header

    def check(self) -> None:
        """Raise InvalidInputError unless every part has a meaning and all arrays follow from one N, C, H, W, K, V."""
        require(all(isinstance(name, str) for name in self.classes), "class names must be text")
        require(
            len(set(self.classes)) == len(self.classes) > 0,
            "class names must be there and all different",
        )
        sizes, pixels, images = self._check_arrays(), self.pixels, self.arrays["images"].dtype
        require(pixels.space in get_args(PixelSpace), f"unknown pixel space {pixels.space!r}")
        for name, values in (("mean", pixels.mean), ("std", pixels.std)):
            fits = (
                len(values) == sizes["C"]
                and all(map(_finite, values))
                and (name == "mean" or min(values) > 0)
            )
            expected = f"{sizes['C']} finite numbers, one a channel{'' if name == 'mean' else ' and above 0'}"
            require(fits, f"the pixels' {name} is {list(values)}: expected {expected}")
        require(
            (images == "uint8") == (pixels.space == "uint8"),
            f"images are {images} and pixels {pixels.space!r}",
        )
        for label, name in ((self.soft, "soft_labels"), (self.dense, "dense_labels")):
            require(
                (label is not None) == (name in self.arrays),
                f"{name} and its label space must come together",
            )
            if label is not None:
                self._check_label(label, name)
        try:
            self.to_json()
        except ValueError as error:
            raise InvalidInputError(
                f"names must be UTF-8 text and numbers finite ({error}): rename them"
            ) from error

    def _check_label(self, label: LabelMeta, name: str) -> None:
        """A label space by itself, and whether what it names can be stored as the array `name` is."""
        require(label.space in get_args(Space), f"unknown label space {label.space!r}")
        fits = _finite(label.temperature) and 1e-6 <= label.temperature <= 1e6
        require(
            fits,
            f"the label temperature is {label.temperature!r}: expected a number from 1e-6 to 1e6",
        )
        require(
            isinstance(label.source, str), f"the label source is {label.source!r}: expected text"
        )
        fits = self.arrays[name].dtype != "uint8" or label.space in ("logits", "probs")
        require(fits, f"{name} are uint8 and {label.space}: expected logits or probs")
        index = f"{name.removesuffix('labels')}index"
        fits = index not in self.arrays or label.space in ("probs", "mass")
        require(fits, f"{name} have an index and are {label.space}: expected probs or mass")

    def _check_arrays(self) -> dict[str, int]:
        """Names, dtypes and shapes; the size of each axis by its letter."""
        sizes = {"K": len(self.classes), "4": 4}
        for name in ("images", "hard_labels"):
            require(name in self.arrays, f"the array {name} is missing")
        for name, info in self.arrays.items():
            require(name in ARRAYS, f"unknown array {name!r}: a bundle has {', '.join(ARRAYS)}")
            every, dtypes, needed = ARRAYS[name]
            for other in needed:
                require(other in self.arrays, f"{name} needs {other} with it")
            axes = next(
                (axes for axes in every.split() if len(axes) == len(info.shape)), every.split()[0]
            )
            if (
                name.endswith("labels")
                and (index := f"{name.removesuffix('labels')}index") in self.arrays
            ):
                axes = ARRAYS[index][0]  # of the classes that the index names alone
            require(info.dtype in dtypes, f"{name} is {info.dtype}: expected {' or '.join(dtypes)}")
            fits = len(info.shape) == len(axes) and all(type(size) is int for size in info.shape)
            require(fits, f"{name} has shape {list(info.shape)}: expected [{', '.join(axes)}]")
            for axis, size in zip(axes, info.shape, strict=True):
                expected = sizes.setdefault(axis, size)
                require(
                    size == expected > 0,
                    f"{name} has {axis} = {size}: expected {expected} (and at least 1)",
                )
        return sizes


def require(condition: object, message: str, error: type[DDLabelError] = InvalidInputError) -> None:
    """Raise the error with `message` unless the condition holds."""
    if not condition:
        raise error(message)


def check_length(size: int) -> None:
    """Raise InvalidInputError if a header, read or written, has more than 1 MiB."""
    require(size <= MAX_BYTES, f"the header has {size} bytes: at most {MAX_BYTES} are allowed")


def _finite(value: object) -> bool:
    """Whether a value is a number that a float can hold; a text, a bool, NaN and infinity are not."""
    return (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and abs(value) <= sys.float_info.max
    )


def _label_space(value: dict[str, Any] | None) -> LabelMeta | None:
    """A label space out of JSON, where nothing may be left to its default."""
    return (
        None
        if value is None
        else LabelMeta(**{key: value[key] for key in ("space", "temperature", "source")})
    )
