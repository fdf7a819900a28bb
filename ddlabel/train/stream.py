"""Real images that are too many for memory: class folders that are read while they are trained on."""

import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ddlabel import rng
from ddlabel.augment import augment_of, augmentations, parts_of
from ddlabel.bundle import Array, Bundle
from ddlabel.config import ImportOptions, TrainExpertOptions
from ddlabel.errors import DDLabelError, ResourceError
from ddlabel.header import Pixels
from ddlabel.importers import statistics
from ddlabel.importers.folder import Member, decode, listed
from ddlabel.labels.target import Target
from ddlabel.labels.views import draw_boxes
from ddlabel.nets.prepare import Prepare
from ddlabel.provenance import canonical_json, sha256_of_text
from ddlabel.train.batches import Pictures
from ddlabel.train.data import to_unit
from ddlabel.train.fit import Batch, Order
from ddlabel.train.ranks import part

SAMPLE = 2000
# Boxes [1, 4] as fractions of an image of this height and width, by a source of numbers [1, n].
_Boxes = Callable[[Callable[[int], Tensor], int, int], Tensor]


@dataclass(frozen=True, kw_only=True)
class Stream:
    """The images that import makes of a folder, in colour and in its order, and a `sample` of them, drawn once."""

    members: list[Member]
    hard: Array
    sample: Bundle
    digest: str  # of the images' names and sizes: their bytes are too many to read twice

    @classmethod
    def open(cls, path: Path, size: int) -> Self:
        """The images of class folders in `path`, or in its part `train/`; raises what import does."""
        options = ImportOptions(size=size, rgb=True)
        members, hard, classes = listed(path, options)
        rows = np.sort(np.random.default_rng(rng.stream(0, "sample")).permutation(len(members))[:SAMPLE])
        images = np.stack([decode(*members[row], options) for row in rows.tolist()])
        mean, std = statistics(images)
        pixels = Pixels(space="uint8", mean=mean, std=std)
        sample = Bundle(classes=classes, pixels=pixels, images=images, hard_labels=hard[rows])
        names = [[name.as_posix(), (path / name).stat().st_size] for name, _ in members]
        return cls(members=members, hard=hard, sample=sample, digest=sha256_of_text(canonical_json(names)))

    def __len__(self) -> int:
        return len(self.members)

    def batches(
        self, prepare: Prepare, options: TrainExpertOptions, *, steps: Sequence[int], seed: int, device: torch.device
    ) -> Batch:
        """Batches as `of_images` gives them, for these steps one after another; a rank reads its own part of each.

        The crop that an augmentation begins with is cut out of the whole image. InvalidInputError if one is damaged.
        """
        (channels, size), (first, *others) = self.sample.images.shape[1:3], parts_of(options.augment)
        name, _ = parse_spec(first)
        boxes = None
        if name == "random-resized-crop":
            boxes = partial(draw_boxes, **{"low": 0.08, "high": 1.0} | augmentations.resolve(first).keywords)
        after = "+".join(others) or "none" if boxes else options.augment
        augment = augment_of(after, channels=channels, size=size)
        pictures = Pictures(prepare=prepare, augment=augment)
        order = Order(len(self), options.batch_size, partial(rng.stream, seed, "order"), torch.device("cpu"))

        def wanted() -> Iterator[tuple[int, list[int]]]:
            for step in steps:
                rows = order(step)
                yield step // order.steps_per_pass, rows[part(len(rows))].tolist()

        # One pass over all steps: the workers are started once, and read ahead across the ends of epochs.
        loader = DataLoader(
            _Reader(self.members, size, boxes, seed),
            batch_size=None,
            sampler=wanted(),
            num_workers=options.workers,
            worker_init_fn=_leave_interrupts,
            pin_memory=device.type == "cuda",
        )
        found, hard = iter(loader), torch.from_numpy(self.hard)

        def batch(step: int) -> tuple[Tensor, Target]:
            try:
                own = next(found)
            except RuntimeError as error:
                raise ResourceError(f"one of --workers {options.workers} died: too little memory? {error}") from error
            if isinstance(own, DDLabelError):
                raise own
            rows = order(step)
            images = torch.zeros(len(rows), *own.shape[1:], dtype=own.dtype, device=device)
            images[part(len(rows))] = own.to(device, non_blocking=True)
            target = Target.of_classes(hard[rows].to(device), len(self.sample.classes))
            return pictures(to_unit(images), target, seed=seed, step=step)

        return batch


class _Reader(Dataset[Any]):
    """Rows of an epoch → images uint8 [b, 3, S, S]: what workers do."""

    def __init__(self, members: list[Member], size: int, boxes: _Boxes | None, seed: int) -> None:
        self.members, self.boxes, self.seed = members, boxes, seed
        self.options = ImportOptions(size=size, rgb=True)

    def __getitem__(self, wanted: tuple[int, list[int]]) -> Tensor | DDLabelError:
        """The images, or what is wrong with one: raised here, it would come with the worker's traceback in its text."""
        epoch, rows = wanted
        try:
            return torch.from_numpy(np.stack([self._image(epoch, row) for row in rows]))
        except DDLabelError as error:
            return error

    def _image(self, epoch: int, row: int) -> Array:
        cut = None if self.boxes is None else partial(_cut, self.boxes, rng.stream(self.seed, "crop", epoch, row))
        return decode(*self.members[row], self.options, cut)


def _cut(boxes: _Boxes, seed: int, image: Image.Image, size: int) -> Image.Image:
    """A box of the image that the seed draws, bilinear and antialiased, as torchvision's recipe has it."""
    generator = torch.Generator().manual_seed(seed)
    box = boxes(lambda numbers: torch.rand(1, numbers, generator=generator), image.height, image.width)[0]
    top, left, bottom, right = (box * box.new_tensor([image.height, image.width] * 2)).round().tolist()
    return image.resize((size, size), Image.Resampling.BILINEAR, box=(left, top, right, bottom))


def _leave_interrupts(worker: int) -> None:  # noqa: ARG001 - torch's signature
    """Ctrl-C reaches every process: the parent answers it, and ends the workers."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
