"""The header of a bundle: the meaning of each of its arrays, and where they come from."""

import json
import sys
from dataclasses import asdict, dataclass
from typing import Any, Literal, Self, get_args

from ddlabel.core.errors import DDLabelError, IncompatibleError, InvalidInputError
from ddlabel.data.arrays import ARRAYS
from ddlabel.data.provenance import Entry, canonical_json, check_depth, sha256_of_text

FORMAT = 1
MAX_BYTES = 1 << 20
PixelSpace = Literal["uint8", "unit"]
Space = Literal["logits", "probs", "mass", "direction"]


@dataclass(frozen=True, kw_only=True)
class Pixels:
    """The meaning of the numbers in `images`, and how a network should normalise them.

    `uint8` is 0 … 255. `unit` is floating point with 0 black and 1 white; distilled images may
    leave this range. `mean` and `std` [C], in unit space, are those of the *real* data: a distilled
    set is too small to estimate them.
    """

    space: PixelSpace
    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class LabelMeta:
    """The meaning of the numbers in an array of labels.

    `logits`: the label is softmax(array / temperature). `probs`: the array is the label. `mass`:
    the array is the label, whose sum is not 1: some probability was taken away, or the sum was
    learned. `direction`: only the angle between the array and a prediction has meaning (a label
    refined in logits space).
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
    """Everything of a bundle except its arrays. Its text is the same in every format."""

    classes: tuple[str, ...]
    pixels: Pixels
    soft: LabelMeta | None
    dense: LabelMeta | None
    arrays: dict[str, ArrayInfo]
    history: tuple[Entry, ...]

    def to_json(self) -> str:
        """Return canonical JSON with the format version and the digest of everything else."""
        history = [entry.to_json() for entry in self.history]
        body = asdict(self) | {"format": FORMAT, "history": history}
        digest = sha256_of_text(canonical_json(body))
        return canonical_json(body | {"digest": digest})

    @property
    def digest(self) -> str:
        """sha256 that stands for the whole bundle: the header has the sha256 of each array."""
        return str(json.loads(self.to_json())["digest"])

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read a header and verify its digest.

        Raises:
            InvalidInputError: It is not a bundle's, is damaged, or declares arrays that do not
                belong together.
            IncompatibleError: It is of another format version.
        """
        try:
            body = json.loads(text)
            check_depth(body)
            header = cls._parse(body)
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
            raise InvalidInputError(
                "the header cannot be read: a part is missing or has another form"
            ) from error
        header.check()
        # Nothing in the text may have been left out or read as something else.
        require(
            header.to_json() == text,
            "the header is not canonical JSON, or one of its parts has other fields",
        )
        return header

    @classmethod
    def _parse(cls, body: dict[str, Any]) -> Self:
        """Return the header of a JSON value, of which nothing may be left over."""
        digest = body.pop("digest")
        version = body.pop("format")
        if version != FORMAT:
            raise IncompatibleError(
                f"bundle format {version} is not format {FORMAT}: it needs another ddlabel"
            )
        is_intact = digest == sha256_of_text(canonical_json(body | {"format": version}))
        require(is_intact, "the header does not match its own digest: the file is damaged")
        require(isinstance(body["classes"], list), "the class names must be a list")
        header = cls(
            classes=tuple(body.pop("classes")),
            pixels=_parse_pixels(body.pop("pixels")),
            soft=_parse_label_meta(body.pop("soft")),
            dense=_parse_label_meta(body.pop("dense")),
            arrays={name: _parse_array(value) for name, value in body.pop("arrays").items()},
            history=tuple(Entry.from_json(entry) for entry in body.pop("history")),
        )
        require(not body, f"the header has unknown parts: {', '.join(sorted(body))}")
        return header

    def check(self) -> None:
        """Check that every part has a meaning, and that all arrays have one N, C, H, W, K and V.

        Raises:
            InvalidInputError: A part has no meaning.
        """
        require(all(isinstance(name, str) for name in self.classes), "class names must be text")
        are_different = len(set(self.classes)) == len(self.classes) > 0
        require(are_different, "class names must be given, each one once")
        sizes = self._check_arrays()
        self._check_pixels(num_channels=sizes["C"])
        for name, meta in (("soft_labels", self.soft), ("dense_labels", self.dense)):
            is_complete = (meta is not None) == (name in self.arrays)
            require(is_complete, f"{name} and their label space must come together")
            if meta is not None:
                self._check_label_meta(meta, name)
        try:
            self.to_json()
        except ValueError as error:
            raise InvalidInputError(
                f"names must be UTF-8 text and numbers finite ({error}): rename them"
            ) from error

    def _check_pixels(self, num_channels: int) -> None:
        """Check the pixel space, and the mean and deviation that networks normalise with."""
        pixels = self.pixels
        spaces = get_args(PixelSpace)
        expected_space = f"expected one of {', '.join(spaces)}"
        is_known = pixels.space in spaces
        require(is_known, f"unknown pixel space {pixels.space!r}: {expected_space}")
        for name, values in (("mean", pixels.mean), ("std", pixels.std)):
            are_numbers = len(values) == num_channels and all(map(_is_finite, values))
            is_good = are_numbers and (name == "mean" or min(values) > 0)
            expected = f"{num_channels} finite numbers, one for each channel"
            if name == "std":
                expected += " and above 0"
            require(is_good, f"the pixels' {name} is {list(values)}: expected {expected}")
        dtype = self.arrays["images"].dtype
        fits = (dtype == "uint8") == (pixels.space == "uint8")
        require(
            fits,
            f"images are {dtype} and the pixel space is {pixels.space!r}: expected both to be "
            "uint8, or neither",
        )

    def _check_label_meta(self, meta: LabelMeta, name: str) -> None:
        """Check the meaning of labels, and whether the array `name` can hold such labels."""
        spaces = get_args(Space)
        expected_space = f"expected one of {', '.join(spaces)}"
        require(meta.space in spaces, f"unknown label space {meta.space!r}: {expected_space}")
        is_good = _is_finite(meta.temperature) and 1e-6 <= meta.temperature <= 1e6
        require(
            is_good,
            f"the label temperature is {meta.temperature!r}: expected a number from 1e-6 to 1e6",
        )
        is_text = isinstance(meta.source, str)
        require(is_text, f"the label source is {meta.source!r}: expected text")
        if self.arrays[name].dtype == "uint8":
            are_distributions = meta.space in ("logits", "probs")
            require(
                are_distributions, f"{name} are uint8 and {meta.space}: expected logits or probs"
            )
        if _index_of(name) in self.arrays:
            are_probs = meta.space in ("probs", "mass")
            require(are_probs, f"{name} have an index and are {meta.space}: expected probs or mass")

    def _check_arrays(self) -> dict[str, int]:
        """Check names, dtypes and shapes, and return the size of each axis by its letter."""
        sizes = {"K": len(self.classes), "4": 4}
        for name in ("images", "hard_labels"):
            require(name in self.arrays, f"the array {name} is missing")
        for name, info in self.arrays.items():
            require(name in ARRAYS, f"unknown array {name!r}: a bundle has {', '.join(ARRAYS)}")
            spec = ARRAYS[name]
            for other in spec.needs:
                require(other in self.arrays, f"{name} needs {other} with it")
            expected = " or ".join(spec.dtypes)
            require(info.dtype in spec.dtypes, f"{name} is {info.dtype}: expected {expected}")
            _check_shape(name, info.shape, self._axes_of(name, len(info.shape)), sizes)
        return sizes

    def _axes_of(self, name: str, num_axes: int) -> str:
        """Return the letters of an array's axes."""
        index = _index_of(name)
        if index in self.arrays:
            # The labels are of the classes that the index names alone.
            return ARRAYS[index].axes[0]
        alternatives = ARRAYS[name].axes
        for axes in alternatives:
            if len(axes) == num_axes:
                return axes
        return alternatives[0]


def require(condition: object, message: str, error: type[DDLabelError] = InvalidInputError) -> None:
    """Raise the error with `message` unless the condition holds."""
    if not condition:
        raise error(message)


def check_length(size: int) -> None:
    """Check that a header, read or to be written, has at most 1 MiB.

    Raises:
        InvalidInputError: It has more.
    """
    require(size <= MAX_BYTES, f"the header has {size} bytes: at most {MAX_BYTES} are allowed")


def _index_of(name: str) -> str:
    """Return the array that names the classes of compressed labels; empty for other arrays."""
    return f"{name.removesuffix('labels')}index" if name in ("soft_labels", "dense_labels") else ""


def _check_shape(name: str, shape: tuple[int, ...], axes: str, sizes: dict[str, int]) -> None:
    """Check the shape of an array against the sizes of axes that are known, and note new ones."""
    is_good = len(shape) == len(axes) and all(type(size) is int for size in shape)
    require(is_good, f"{name} has shape {list(shape)}: expected [{', '.join(axes)}]")
    for axis, size in zip(axes, shape, strict=True):
        expected = sizes.setdefault(axis, size)
        require(
            size == expected > 0,
            f"{name} has {axis} = {size}: expected {expected} (and at least 1)",
        )


def _is_finite(value: object) -> bool:
    """Return whether a value is a number that a float can hold: no text, bool, NaN or infinity."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and abs(value) <= sys.float_info.max  # type: ignore[arg-type]


def _parse_pixels(value: dict[str, Any]) -> Pixels:
    return Pixels(**value | {"mean": tuple(value["mean"]), "std": tuple(value["std"])})


def _parse_array(value: dict[str, Any]) -> ArrayInfo:
    return ArrayInfo(**value | {"shape": tuple(value["shape"])})


def _parse_label_meta(value: dict[str, Any] | None) -> LabelMeta | None:
    """Return the meaning of labels out of JSON, where nothing may be left to its default."""
    if value is None:
        return None
    return LabelMeta(**{key: value[key] for key in ("space", "temperature", "source")})
