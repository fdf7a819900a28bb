"""The bundle: images and their labels."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import PurePath
from typing import Literal, Self

import numpy as np

from ddlabel.core.errors import IncompatibleError
from ddlabel.data.arrays import ARRAYS
from ddlabel.data.checks import check_labels, check_rows, check_views, within
from ddlabel.data.class_names import describe_difference
from ddlabel.data.labels import Array, Labels, Views, take_rows
from ddlabel.data.provenance import Entry, sha256_of_array
from ddlabel.data.schema import ArrayInfo, Header, Pixels, require

Field = Literal["soft", "dense"]
FIELDS: tuple[Field, ...] = ("soft", "dense")
# The number of images that are processed together: a power of two, as labelling uses such batches.
CHUNK = 512
_MADE_BY = {"soft": "relabel", "dense": "densify"}


@dataclass(frozen=True, kw_only=True, eq=False)
class Bundle:
    """Images [N, C, H, W] and their labels as numpy arrays, memory-mapped if read from a file.

    The structure is checked when a bundle is made; `check_values` reads and checks every number.
    """

    classes: tuple[str, ...]
    pixels: Pixels
    images: Array
    hard_labels: Array
    source_index: Array | None = None
    soft: Labels | None = None
    dense: Labels | None = None
    views: Views | None = None
    history: tuple[Entry, ...] = ()

    def __post_init__(self) -> None:
        for field in FIELDS:
            labels: Labels | None = getattr(self, field)
            if labels is not None and labels.index is not None:
                require(
                    labels.num_classes == self.num_classes,
                    f"{field}_labels are of {labels.num_classes} classes: "
                    f"expected {self.num_classes}",
                )
        self.header(digests=False).check()

    def __len__(self) -> int:
        return len(self.images)

    def __repr__(self) -> str:
        shape = "×".join(map(str, self.images.shape[1:]))
        names = ", ".join(self.classes[:6])
        more = f", … {self.num_classes - 6} more" if self.num_classes > 6 else ""
        made_by = " | ".join(entry.command for entry in self.history) or "nothing recorded"
        return (
            f"<Bundle: {len(self)} images {shape} {self.pixels.space}, labels: {self._kinds()}\n"
            f" {self.num_classes} classes: {names}{more}\n"
            f" made by: {made_by}>"
        )

    def _kinds(self) -> str:
        """Name the labels that the bundle has, for people."""
        kinds = ["hard"]
        if self.soft is not None:
            kinds.append(f"soft ({self.soft.meta.space})")
        if self.dense is not None:
            views = self.dense.values.shape[1]
            kinds.append(f"dense ({views} views, {self.dense.meta.space})")
        return ", ".join(kinds)

    @property
    def digest(self) -> str:
        """sha256 that stands for the whole bundle: that of its header, which reads every array.

        A bundle that was read from a file, whose arrays cannot change, knows it from there.
        """
        known: str | None = self.__dict__.get("_digest_of_file")
        return known or self.header().digest

    @property
    def file_name(self) -> str:
        """The name, without folders, of the file that this bundle was read from; empty if none."""
        return str(self.__dict__.get("_file_name", ""))

    def remember_file(self, path: str, digest: str) -> None:
        """Keep the name and the digest of the file that this bundle maps."""
        self.__dict__.update(_file_name=PurePath(path).name, _digest_of_file=digest)

    @property
    def num_classes(self) -> int:
        """The number of classes K."""
        return len(self.classes)

    @property
    def side(self) -> int:
        """The height of the images, which is their width too.

        Raises:
            InvalidInputError: The images are not square.
        """
        height, width = self.images.shape[2:]
        require(
            height == width,
            f"images are {height} × {width} px: networks need squares; import with --size",
        )
        return int(height)

    @property
    def arrays(self) -> dict[str, Array]:
        """The arrays that the bundle has, by name, in the order of the specification."""
        arrays: dict[str, Array | None] = {
            "images": self.images,
            "hard_labels": self.hard_labels,
            "source_index": self.source_index,
        }
        for field in FIELDS:
            labels: Labels | None = getattr(self, field)
            if labels is not None:
                arrays |= {f"{field}_labels": labels.values, f"{field}_index": labels.index}
        if self.views is not None:
            arrays |= {f"dense_{name}": array for name, array in self.views.arrays()}
        in_order: dict[str, Array] = {}
        for name in ARRAYS:
            array = arrays.get(name)
            if array is not None:
                in_order[name] = array
        return in_order

    def header(self, *, digests: bool = True) -> Header:
        """Return the header.

        Its sha256 of every array reads all of them; without `digests` they are zeros.
        """
        infos = {}
        for name, array in self.arrays.items():
            # Arrays are written as they lie in memory. A dtype of the other byte order gets a name
            # such as >f4, which the header's check refuses.
            dtype = array.dtype.name if array.dtype.isnative else array.dtype.str
            digest = sha256_of_array(array) if digests else "0" * 64
            infos[name] = ArrayInfo(dtype=dtype, shape=array.shape, sha256=digest)
        return Header(
            classes=self.classes,
            pixels=self.pixels,
            soft=None if self.soft is None else self.soft.meta,
            dense=None if self.dense is None else self.dense.meta,
            arrays=infos,
            history=self.history,
        )

    @classmethod
    def from_header(cls, header: Header, arrays: dict[str, Array]) -> Self:
        """Build the bundle of a header and the arrays that it declares."""
        num_classes = len(header.classes)
        labels = {}
        for field, meta in (("soft", header.soft), ("dense", header.dense)):
            if meta is not None:
                labels[field] = Labels(
                    values=arrays[f"{field}_labels"],
                    meta=meta,
                    index=arrays.get(f"{field}_index"),
                    num_classes=num_classes,
                )
        prefix = "dense_"
        of_views = ("boxes", "flip", "mix", "mix_weight", "mix_box")
        view_arrays = {n: arrays[prefix + n] for n in of_views if prefix + n in arrays}
        return cls(
            classes=header.classes,
            pixels=header.pixels,
            images=arrays["images"],
            hard_labels=arrays["hard_labels"],
            source_index=arrays.get("source_index"),
            soft=labels.get("soft"),
            dense=labels.get("dense"),
            views=Views(**view_arrays) if view_arrays else None,
            history=header.history,
        )

    def labels(self, field: str) -> Labels:
        """Return the `soft` or `dense` labels.

        Raises:
            IncompatibleError: The bundle has no such labels.
        """
        labels: Labels | None = getattr(self, field)
        if labels is None:
            command = _MADE_BY[field]
            raise IncompatibleError(
                f"the bundle has no {field} labels: make them with 'ddlabel {command}'"
            )
        return labels

    def with_labels(self, field: str, labels: Labels | None) -> Self:
        """Return the bundle with other `soft` or `dense` labels, or with none."""
        if field == "soft":
            return replace(self, soft=labels)
        return replace(self, dense=labels)

    def take(self, rows: Array) -> Self:
        """Return the images of these rows with all their labels.

        `source_index` keeps the row of each image in the first data set.

        Raises:
            IncompatibleError: A view is blended with an image that is left out.
        """
        source = rows if self.source_index is None else self.source_index[rows]
        return replace(
            self,
            images=take_rows(self.images, rows),
            hard_labels=take_rows(self.hard_labels, rows),
            source_index=source.astype(np.int64),
            soft=None if self.soft is None else self.soft.take(rows),
            dense=None if self.dense is None else self.dense.take(rows),
            views=None if self.views is None else self.views.take(rows, len(self)),
        )

    def without_views(self) -> Self:
        """Return the bundle without views and their labels."""
        return replace(self, dense=None, views=None)

    def of_classes(self, numbers: Sequence[int]) -> Self:
        """Return the images of some classes, in this order, with labels over these classes alone.

        Distributions sum to 1 again; one without mass on these classes becomes uniform.

        Raises:
            IncompatibleError: The labels are directions.
        """
        columns = np.asarray(numbers)
        taken = self.take(np.flatnonzero(np.isin(self.hard_labels, columns)))
        new_number = np.empty(self.num_classes, np.int64)
        new_number[columns] = np.arange(len(columns))
        return replace(
            taken,
            classes=tuple(self.classes[number] for number in numbers),
            hard_labels=new_number[taken.hard_labels],
            soft=None if taken.soft is None else taken.soft.limit_to(columns),
            dense=None if taken.dense is None else taken.dense.limit_to(columns),
        )

    def check_values(self) -> None:
        """Check every number: pixels, hard labels, labels and boxes.

        Raises:
            InvalidInputError: A number has no meaning; the message names the first such row.
        """
        in_range = partial(within, top=self.num_classes - 1)
        check_rows("hard_labels", self.hard_labels, f"0 … {self.num_classes - 1}", in_range)
        if self.images.dtype != np.uint8:
            check_rows("images", self.images, "finite pixels", np.isfinite)
        for field in FIELDS:
            labels: Labels | None = getattr(self, field)
            if labels is not None:
                check_labels(field, labels)
        if self.views is not None:
            check_views(self.views, len(self))


def check_same_task(what: str, first: Bundle, second: Bundle) -> None:
    """Check that two bundles have the same classes in one order and images of one shape.

    Raises:
        IncompatibleError: The second bundle, which the message calls `what`, differs.
    """
    if first.classes != second.classes:
        difference = describe_difference(second.classes, first.classes)
        raise IncompatibleError(f"{what} {difference}")
    shape, expected = second.images.shape[1:], first.images.shape[1:]
    if shape != expected:
        raise IncompatibleError(
            f"{what} has images {list(shape)} (C, H, W): expected {list(expected)}"
        )


def image_chunks(bundle: Bundle, size: int = CHUNK) -> Iterator[slice]:
    """Yield consecutive slices of at most `size` images."""
    return (slice(start, start + size) for start in range(0, len(bundle), size))
