"""Real images that are too many for memory: class folders that are read while they are trained on."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader

from ddlabel.core import rng
from ddlabel.core.config import ImportOptions, TrainExpertOptions
from ddlabel.core.errors import DDLabelError
from ddlabel.core.registry import parse_spec
from ddlabel.data.bundle import Bundle
from ddlabel.data.importers.folder import Cut, Member, decode, list_images
from ddlabel.data.labels import Array
from ddlabel.data.provenance import canonical_json, sha256_of_text
from ddlabel.data.schema import Pixels
from ddlabel.data.statistics import statistics
from ddlabel.methods.labels.views import draw_boxes
from ddlabel.training.device_data import DeviceBundle, to_unit
from ddlabel.training.distributed import rows_of_rank
from ddlabel.training.loop import shuffled_rows

SAMPLE = 2000


@dataclass(frozen=True, kw_only=True, eq=False)
class ImageFolder(Bundle):
    """A folder's images as import makes them, in colour and in its order: a bundle of a sample of them, drawn once."""

    members: list[Member]
    hard: Array

    @classmethod
    def open(cls, path: Path, size: int) -> tuple[Self, str]:
        """The images of class folders in `path`, or in its part `train/`, and a digest of their names and sizes.

        Their bytes are too many to be read for it. Raises what import does.
        """
        options = ImportOptions(size=size, rgb=True)
        members, hard, classes = list_images(path, options)
        rows = np.random.default_rng(rng.stream(0, "sample")).permutation(len(members))[:SAMPLE]
        images = np.stack([decode(members[int(row)], options) for row in rows])
        mean, std = statistics(images)
        digest = sha256_of_text(
            canonical_json([[str(name), (path / name).stat().st_size] for name, _ in members])
        )
        own: dict[str, Any] = {
            "members": members,
            "hard": hard,
            "images": images,
            "hard_labels": hard[rows],
        }
        return cls(classes=classes, pixels=Pixels(space="uint8", mean=mean, std=std), **own), digest

    def __len__(self) -> int:
        return len(self.members)

    def read(
        self, sample: DeviceBundle, options: TrainExpertOptions, seed: int, steps: Sequence[int]
    ) -> tuple[DeviceBundle, str]:
        """All images in place of the sample, to be asked for in the order of these steps, and what is left to augment.

        A crop that the augmentation begins with is cut out of the whole image when it is read.
        """
        first, _, others = options.augment.partition("+")
        cut = (
            partial(_cut, parse_spec(first)[1])
            if first.strip().startswith("random-resized-crop")
            else None
        )
        rows_of = shuffled_rows(
            len(self), options.batch_size, partial(rng.stream, seed, "order"), torch.device("cpu")
        )
        per_pass = -(-len(self) // options.batch_size)

        def wanted() -> Iterator[list[tuple[int, Cut | None]]]:
            for step in steps:
                rows, draw = rows_of(step), partial(rng.stream, seed, "crop", step // per_pass)
                yield [
                    (row, cut and partial(cut, draw(row)))
                    for row in rows[rows_of_rank(len(rows))].tolist()
                ]

        # One pass over all steps: the workers start once, and read ahead across the ends of epochs.
        loader: DataLoader[Any] = DataLoader(
            self, None, sampler=wanted(), num_workers=options.workers
        )  # type: ignore[arg-type]
        data = {"hard": torch.from_numpy(self.hard).to(sample.hard.device), "found": iter(loader)}
        return _Read(**vars(sample) | data), options.augment if cut is None else others or "none"

    def __getitem__(self, wanted: list[tuple[int, Cut | None]]) -> Tensor | DDLabelError:
        """Images uint8 [b, 3, S, S] of rows, each with its cut: what workers do.

        Or what is wrong with one: raised there, it would come with the worker's traceback in its text.
        """
        options = ImportOptions(size=self.side, rgb=True)
        try:
            return torch.from_numpy(
                np.stack([decode(self.members[row], options, cut) for row, cut in wanted])
            )
        except DDLabelError as error:
            return error


@dataclass(frozen=True, kw_only=True)
class _Read(DeviceBundle):
    """What the workers have `found`, batch by batch."""

    found: Iterator[Tensor | DDLabelError]

    def unit(self, rows: Tensor) -> Tensor:
        """The next batch, of which a rank has its own part and the rest is black; raises what import does."""
        own = next(self.found)
        if isinstance(own, DDLabelError):
            raise own
        images = torch.zeros(len(rows), *own.shape[1:], device=rows.device)
        images[rows_of_rank(len(rows))] = to_unit(own.to(rows.device))
        return images


def _cut(crop: dict[str, str], seed: int, image: Image.Image, size: int) -> Image.Image:
    """A random box of the image, bilinear and antialiased as in torchvision's recipe."""
    draw = partial(torch.rand, 1, generator=torch.Generator().manual_seed(seed))
    box = draw_boxes(
        draw,
        image.height,
        image.width,
        **{"low": 0.08, "high": 1} | {k: float(crop[k]) for k in crop},
    )[0]
    top, left, bottom, right = (
        (box * box.new_tensor([image.height, image.width] * 2)).round().tolist()
    )
    return image.resize((size, size), Image.Resampling.BILINEAR, (left, top, right, bottom))
