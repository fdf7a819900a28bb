"""Label archives of FKD (Shen & Xing 2022) as SRe2L, CDA, G-VBSM, EDC and LPLD save them.

A folder has `epoch_E/batch_B.tar`, each a file of torch.save with a list: coordinates of crops
[B, 4] (top, left, height, width as fractions), flips [B], then of CutMix and MixUp the partners in
the batch [B], λ and the region in pixels, and logits [B, K]. G-VBSM, EDC and LPLD add the numbers
of the images [B].
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ddlabel.core.errors import IncompatibleError
from ddlabel.data.bundle import Bundle
from ddlabel.data.importers import budget
from ddlabel.data.importers.fkd_batch import Batch, read_batch
from ddlabel.data.labels import Array, Views
from ddlabel.data.schema import require
from ddlabel.data.scratch import scratch_array

# SRe2L's `--fkd-seed`, with which a RandomSampler draws the order of the images.
SEED = 42
_EPOCH = re.compile(r"epoch_(\d+)", re.ASCII)
_BATCH = re.compile(r"batch_(\d+)\.(?:tar|pt)", re.ASCII)

# Published archives have 300. The order of the images is drawn for each epoch up to the last one.
_MAX_EPOCHS = 100_000


class FkdLabels(NamedTuple):
    """Views of every image, one for each epoch, and their logits [N, E, K].

    `has_ids` says whether the numbers of the images are in the archive, or were drawn again.
    """

    views: Views
    logits: Array
    has_ids: bool


def is_fkd(folder: Path) -> bool:
    """Return whether a folder has folders `epoch_E`."""
    return folder.is_dir() and bool(_numbered(folder, _EPOCH))


def read_fkd(folder: Path, bundle: Bundle) -> FkdLabels:
    """Read the labels of all epochs for the images of a bundle, which are in ImageFolder's order.

    The views of epoch e are the e-th of each image. Without numbers of images their order is drawn
    again: PyTorch's RandomSampler draws one permutation at the begin of each epoch, and another one
    at its end for a part of a pass that is empty.

    Raises:
        InvalidInputError: A file is missing, damaged or of another layout.
        UnsafeInputError: A file asks for code, or there are too many labels.
        IncompatibleError: The labels are of other images or classes than those of the bundle.
    """
    epochs = _numbered(folder, _EPOCH)
    require(epochs, f"{folder}: expected folders epoch_0, epoch_1, …")
    numbers = [number for number, _ in epochs]
    require(len(set(numbers)) == len(numbers), f"{folder}: an epoch is there twice: {numbers[:8]}")
    budget.check_budget(str(folder), numbers[-1], _MAX_EPOCHS, "epochs")
    first = read_batch(_batch_files(epochs[0][1])[0], bundle)
    arrays = _Arrays.of(bundle, len(epochs), first)
    orders = enumerate(_drawn_orders(len(bundle)))
    for view, (number, path) in enumerate(epochs):
        order = None
        if first.ids is None:
            # One at a time: those of 300 epochs of ImageNet have 3 GB.
            order = next(order for epoch, order in orders if epoch == number)
        _read_epoch(path, view, arrays, order, bundle)
    return FkdLabels(arrays.views(), arrays.logits, first.ids is not None)


@dataclass(frozen=True, kw_only=True)
class _Arrays:
    """The arrays [N, E, …] that the files fill."""

    boxes: Array
    flip: Array
    logits: Array
    mix: str
    partner: Array | None
    weight: Array | None
    region: Array | None

    @classmethod
    def of(cls, bundle: Bundle, num_views: int, first: Batch) -> "_Arrays":
        """Return empty arrays for so many views of each image, of the kind of the first file.

        Raises:
            UnsafeInputError: They would be too large.
        """
        shape = (len(bundle), num_views)
        num_bytes = len(bundle) * num_views * first.logits.shape[1] * first.logits.itemsize
        budget.check_budget("the labels", num_bytes, budget.MAX_TOTAL_BYTES)
        is_mixed = first.partner is not None
        return cls(
            boxes=scratch_array((*shape, 4), np.float32),
            flip=scratch_array(shape, np.uint8),
            logits=scratch_array((*shape, first.logits.shape[1]), first.logits.dtype),
            mix=first.mix,
            partner=scratch_array(shape, np.int64) if is_mixed else None,
            weight=scratch_array(shape, np.float32) if is_mixed else None,
            region=scratch_array((*shape, 4), np.float32) if first.mix == "cutmix" else None,
        )

    def put(self, rows: Array, view: int, batch: Batch, side: int) -> None:
        """Fill in one view of the images `rows` [B]."""
        top, left, height, width = batch.coords.T
        boxes = np.stack([top, left, top + height, left + width], 1)
        self.boxes[rows, view] = np.minimum(boxes, 1)
        self.flip[rows, view] = batch.flip
        self.logits[rows, view] = batch.logits
        if self.partner is not None and self.weight is not None:
            self.partner[rows, view] = rows[batch.partner]
            self.weight[rows, view] = batch.weight
        if self.region is not None and self.weight is not None:
            assert batch.region is not None  # every file is of one kind of mixing
            top, left, bottom, right = np.array(batch.region) / side
            self.region[rows, view] = (top, left, bottom, right)
            self.weight[rows, view] = 1 - (bottom - top) * (right - left)

    def views(self) -> Views:
        """Return the views without their logits."""
        return Views(
            boxes=self.boxes,
            flip=self.flip,
            mix=self.partner,
            mix_weight=self.weight,
            mix_box=self.region,
        )


def _numbered(folder: Path, pattern: re.Pattern[str]) -> list[tuple[int, Path]]:
    """Return what is in a folder under numbered names, sorted by number."""
    found = []
    for path in folder.iterdir():
        match = pattern.fullmatch(path.name)
        if match:
            found.append((int(match[1]), path))
    return sorted(found)


def _batch_files(folder: Path) -> list[Path]:
    """Return the files of an epoch in their order."""
    files = _numbered(folder, _BATCH) if folder.is_dir() else []
    numbers = [number for number, _ in files]
    require(
        files and numbers == list(range(len(files))),
        f"{folder}: expected batch_0.tar to batch_M.tar, got the numbers {numbers[:8]}",
    )
    return [path for _, path in files]


def _drawn_orders(num_images: int) -> Iterator[Array]:
    """Yield the order of the images [N] in the epochs 0, 1, …, as SRe2L's sampler does."""
    import torch

    generator = torch.Generator().manual_seed(SEED)
    while True:
        yield torch.randperm(num_images, generator=generator).numpy()
        # The draw at the end of an epoch, of which the sampler uses nothing.
        torch.randperm(num_images, generator=generator)


def _read_epoch(
    folder: Path, view: int, arrays: _Arrays, order: Array | None, bundle: Bundle
) -> None:
    """Read the files of an epoch, in which every image has one view."""
    start = 0
    is_read = np.zeros(len(bundle), bool)
    for path in _batch_files(folder):
        batch = read_batch(path, bundle)
        require(
            batch.mix == arrays.mix and (batch.ids is None) == (order is not None),
            f"{path}: it mixes images, or numbers them, in another way than the first file",
        )
        stop = start + len(batch.flip)
        rows = order[start:stop] if order is not None else batch.ids
        start = stop
        if stop > len(bundle) or rows is None:
            break
        arrays.put(rows, view, batch, bundle.side)
        is_read[rows] = True
    if start != len(bundle):
        more = "more than " if start > len(bundle) else ""
        raise IncompatibleError(
            f"{folder}: labels of {more}{min(start, len(bundle))} images, and the bundle has "
            f"{len(bundle)}"
        )
    require(is_read.all(), f"{folder}: an image is there twice, and another one is missing")
