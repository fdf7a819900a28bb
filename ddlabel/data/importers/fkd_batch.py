"""One file of an FKD archive, read and checked; `fkd` reads the whole archive."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ddlabel.core.errors import IncompatibleError
from ddlabel.data.bundle import Bundle
from ddlabel.data.checks import check_rows
from ddlabel.data.importers.torch_files import array_of, is_tensor, read_torch
from ddlabel.data.labels import Array
from ddlabel.data.reading import reading
from ddlabel.data.schema import require

_FIELDS = 6


@dataclass(frozen=True, kw_only=True)
class Batch:
    """One file: B views and their logits. `region` is y0 x0 y1 x1 in pixels, of CutMix alone."""

    coords: Array
    flip: Array
    partner: Array | None
    weight: float
    region: tuple[float, ...] | None
    logits: Array
    ids: Array | None

    @property
    def mix(self) -> str:
        """How views were blended: `cutmix`, `mixup` or `none`."""
        if self.partner is None:
            return "none"
        return "mixup" if self.region is None else "cutmix"


def read_batch(path: Path, bundle: Bundle) -> Batch:
    """Read and check one file.

    Raises:
        InvalidInputError: It is damaged or of another layout.
        IncompatibleError: Its labels are of other images or classes than those of the bundle.
    """
    content = read_torch(path)
    with reading(path, "not a batch of FKD labels"):
        is_list = isinstance(content, list | tuple) and len(content) >= _FIELDS
        require(is_list, "expected a list of coordinates, flips, partners, λ, region and logits")
        coords, flip, partner, weight, region, logits, *more = content
        ids = more[0] if more else None
        batch = Batch(
            coords=_array("coordinates", coords, np.float32),
            flip=_array("flips", flip, np.uint8),
            partner=None if partner is None else _array("partners", partner, np.int64),
            weight=1.0 if weight is None else float(weight),
            region=None if region is None else tuple(float(side) for side in region),
            logits=_array("logits", logits, None),
            ids=None if ids is None else _array("image numbers", ids, np.int64),
        )
        _check_shapes(batch, bundle)
        _check_ranges(batch, bundle)
        _check_whole(more[1:])
    return batch


def _array(name: str, value: Any, dtype: Any) -> Array:
    """Return a tensor or a list of numbers as an array of a type; None keeps half precision."""
    array = array_of(name, value) if is_tensor(value) else np.asarray(value)
    require(array.dtype.kind in "buif", f"the {name} are {array.dtype}: expected numbers")
    if dtype is None:
        dtype = np.float16 if array.dtype == np.float16 else np.float32
    return array.astype(dtype)


def _check_shapes(batch: Batch, bundle: Bundle) -> None:
    size = len(batch.flip)
    is_good = batch.coords.shape == (size, 4) and batch.flip.shape == (size,)
    for numbers in (batch.partner, batch.ids):
        is_good = is_good and (numbers is None or numbers.shape == (size,))
    is_good = is_good and batch.logits.ndim == 2 and len(batch.logits) == size > 0
    require(is_good, "its arrays are of several lengths: expected [B, 4], [B], …, [B, K]")
    num_classes = batch.logits.shape[1]
    if num_classes != bundle.num_classes:
        raise IncompatibleError(
            f"labels of {num_classes} classes, and the bundle has {bundle.num_classes}"
        )


def _check_ranges(batch: Batch, bundle: Bundle) -> None:
    size = len(batch.flip)
    top, left, height, width = batch.coords.T
    ends = np.stack([top + height, left + width, height, width])
    inside = (batch.coords >= 0).all() and (ends <= 1 + 1e-5).all() and (ends > 0).all()
    require(inside, "coordinates outside of 0 … 1, or crops without pixels")
    require(batch.flip.max() <= 1, "flips other than 0 and 1")
    require(0 <= batch.weight <= 1, f"λ is {batch.weight}: expected 0 to 1")
    check_rows("logits", batch.logits, "finite numbers", np.isfinite)
    if batch.partner is not None:
        is_partner = (batch.partner >= 0).all() and (batch.partner < size).all()
        require(is_partner, f"partners outside of the batch of {size}")
    if batch.ids is not None and not ((batch.ids >= 0) & (batch.ids < len(bundle))).all():
        raise IncompatibleError(
            f"labels of image {batch.ids.max()}, and the bundle has {len(bundle)} images"
        )
    if batch.region is not None:
        _check_region(batch.region, bundle.side)


def _check_region(region: Sequence[float], side: int) -> None:
    require(len(region) == 4, f"a region of {len(region)} numbers: expected 4")
    top, left, bottom, right = region
    if not (0 <= top <= bottom <= side and 0 <= left <= right <= side):
        raise IncompatibleError(
            f"the region of CutMix is {list(region)} in pixels, and the bundle has images of "
            f"{side} px: import the images at the size at which they were labelled"
        )


def _check_whole(more: Sequence[Any]) -> None:
    """Check that no file says that patches of images changed places.

    EDC's public code saves an order of patches, which is zeros: it labels images as they are. Its
    function that moves patches joins them in their old order besides. An archive with other orders
    is of changed code, and does not say whether the patches moved.
    """
    for order in more:
        if order is None:
            continue
        numbers = np.atleast_1d(_array("orders of patches", order, np.int64))
        in_place = (numbers == np.arange(numbers.shape[-1])).all(-1) | (numbers == 0).all(-1)
        require(
            in_place.all(),
            "it says that patches of its images changed places, which no public code does while it "
            "labels, and views cannot hold: label the images again with 'ddlabel densify'",
        )
