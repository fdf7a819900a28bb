"""Soft and dense labels of a bundle, and the views that dense labels belong to."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from ddlabel.core.errors import IncompatibleError
from ddlabel.data.schema import LabelMeta
from ddlabel.data.scratch import scratch_array

Array = NDArray[Any]
_ROWS_AT_ONCE = 4096
# uint8 labels are log-probabilities in 255 steps, down to 32 nats below the largest.
UINT8_STEPS = 255
UINT8_NATS = 32.0


@dataclass(frozen=True, kw_only=True, eq=False)
class Labels:
    """Labels as they are stored, and what their numbers mean.

    `values` is [N, K] for soft labels and [N, V, K] for dense labels. With an `index` of the same
    shape, `values` [..., S] holds the entries of the S classes that the index names; all other
    classes have 0. `num_classes` is K; it may be left out where `values` has all K classes.
    """

    values: Array
    meta: LabelMeta
    index: Array | None = None
    num_classes: int = 0

    def __post_init__(self) -> None:
        if self.index is None:
            object.__setattr__(self, "num_classes", self.values.shape[-1])

    def __len__(self) -> int:
        return len(self.values)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape [N, K] or [N, V, K] of the decoded labels."""
        return (*self.values.shape[:-1], self.num_classes)

    def take(self, rows: slice | Array) -> Self:
        """Return the labels of some images."""
        index = None if self.index is None else take_rows(self.index, rows)
        return replace(self, values=take_rows(self.values, rows), index=index)

    def decode(self, rows: slice | Array | tuple[Array, ...] = slice(None)) -> Array:
        """Return the labels [n, K] or [n, V, K] of some images as float32, in the space of `meta`.

        Of two arrays of n numbers, of images and of their views, the labels are [n, K].

        uint16 values are the upper halves of float32 numbers (bfloat16). uint8 values are
        log-probabilities −32·(1 − n/255)² nats below the largest of each label; as logits they get
        the mean 0. Probabilities that were rounded are scaled to sum to 1 again.
        """
        stored = self.values[rows]
        decoded = self._rescale(_to_float32(stored, self.meta), stored.dtype)
        if self.index is None:
            return decoded
        every_class = np.zeros((*stored.shape[:-1], self.num_classes), np.float32)
        np.put_along_axis(every_class, self.index[rows].astype(np.int64), decoded, -1)
        return every_class

    def probs(self, rows: slice | Array = slice(None)) -> Array:
        """Return label distributions [n, K] or [n, V, K] as float32.

        Raises:
            IncompatibleError: The labels are directions, which are no distributions.
        """
        decoded = self.decode(rows)
        if self.meta.space == "direction":
            raise IncompatibleError("the labels are directions: they have no probabilities")
        if self.meta.space != "logits":
            return decoded
        scaled = decoded / np.float32(self.meta.temperature)
        exponentials = np.exp(scaled - scaled.max(-1, keepdims=True))
        return np.asarray(exponentials / exponentials.sum(-1, keepdims=True))

    def limit_to(self, columns: Array) -> Self:
        """Return labels over the classes in `columns` alone, as float32.

        Distributions sum to 1 again; one without mass on these classes becomes uniform.

        Raises:
            IncompatibleError: The labels are directions.
        """
        if self.meta.space == "direction":
            raise IncompatibleError("labels that are directions cannot be limited to some classes")
        values = self.decode()[..., columns]
        if self.meta.space == "probs":
            mass = values.sum(-1, keepdims=True)
            uniform = np.float32(1 / len(columns))
            values = np.where(mass > 0, values / np.maximum(mass, 1e-38), uniform)
        return replace(self, values=values, index=None)

    def reorder(self, columns: Array) -> Self:
        """Return the labels with the classes in another order: class k is the old `columns[k]`."""
        if self.index is None:
            return replace(self, values=_map_rows(self.values, lambda rows: rows[..., columns]))
        new_number = np.argsort(columns).astype(self.index.dtype)
        return replace(self, index=_map_rows(self.index, lambda rows: new_number[rows]))

    def _rescale(self, decoded: Array, dtype: Any) -> Array:
        """Scale distributions that were rounded to a sum of 1."""
        if dtype == np.float32 or self.meta.space != "probs":
            return decoded
        return np.asarray(decoded / decoded.sum(-1, keepdims=True))


@dataclass(frozen=True, kw_only=True, eq=False)
class Views:
    """Where the views of the images lie, and how they were changed before they were labelled.

    `boxes` [V, 4] (one grid for all images) or [N, V, 4] are y0 x0 y1 x1 as fractions of the side.
    `flip` [N, V] is 1 where a view was mirrored. `mix` [N, V] is the image whose view of the same
    number was blended in, `mix_weight` [N, V] the view's own share and, for CutMix, `mix_box`
    [N, V, 4] the region that shows the partner.
    """

    boxes: Array
    flip: Array | None = None
    mix: Array | None = None
    mix_weight: Array | None = None
    mix_box: Array | None = None

    @property
    def num_views(self) -> int:
        """The number of views of an image."""
        return int(self.boxes.shape[-2])

    @property
    def are_shared(self) -> bool:
        """Whether one grid of boxes holds for all images."""
        return self.boxes.ndim == 2

    def arrays(self) -> Iterator[tuple[str, Array]]:
        """Yield the name and the array of every field that is set."""
        for field in fields(self):
            array = getattr(self, field.name)
            if array is not None:
                yield field.name, array

    def take(self, rows: Array, num_images: int) -> Self:
        """Return the views of some of `num_images` images.

        Raises:
            IncompatibleError: A view is blended with an image that is left out.
        """
        changes = {
            name: array if name == "boxes" and self.are_shared else take_rows(array, rows)
            for name, array in self.arrays()
        }
        if "mix" in changes:
            new_row = np.full(num_images, -1)
            new_row[rows] = np.arange(len(rows))
            changes["mix"] = new_row[changes["mix"]]
            if (changes["mix"] < 0).any():
                raise IncompatibleError(
                    "some views are blended with images that would be left out: take all images"
                )
        return replace(self, **changes)


def take_rows(array: Array, rows: slice | Array) -> Array:
    """Copy some rows of an array in blocks: the copy may be as large as the mapped file."""
    if isinstance(rows, slice):
        return array[rows]
    copy = scratch_array((len(rows), *array.shape[1:]), array.dtype)
    for start in range(0, len(rows), _ROWS_AT_ONCE):
        block = slice(start, start + _ROWS_AT_ONCE)
        copy[block] = array[rows[block]]
    return copy


def _map_rows(array: Array, change: Callable[[Array], Array]) -> Array:
    """Change an array in blocks of rows: it may be as large as the mapped file."""
    changed = scratch_array(array.shape, array.dtype)
    for start in range(0, len(array), _ROWS_AT_ONCE):
        rows = slice(start, start + _ROWS_AT_ONCE)
        changed[rows] = change(array[rows])
    return changed


def _to_float32(stored: Array, meta: LabelMeta) -> Array:
    """Turn stored numbers of any dtype into float32 numbers in the space of `meta`."""
    if stored.dtype == np.uint16:
        return np.asarray((stored.astype(np.uint32) << 16).view(np.float32))
    if stored.dtype != np.uint8:
        return np.asarray(stored.astype(np.float32))
    log_probs = -UINT8_NATS * np.square(1 - stored.astype(np.float32) / UINT8_STEPS)
    if meta.space != "logits":
        return np.asarray(np.exp(log_probs))
    centred = log_probs - log_probs.mean(-1, keepdims=True)
    return np.asarray(centred * np.float32(meta.temperature))
