"""Training batches of a folder whose images are read, ahead of their steps, by worker processes."""

import math
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ddlabel.core import rng
from ddlabel.core.errors import DDLabelError
from ddlabel.core.registry import parse_spec
from ddlabel.data.image_folder import ImageFolder
from ddlabel.data.importers.images import Cut
from ddlabel.methods.labels.target import Target
from ddlabel.methods.labels.views import draw_boxes
from ddlabel.training.batches import BatchTransform
from ddlabel.training.device_data import to_unit
from ddlabel.training.distributed import rows_of_rank
from ddlabel.training.loop import Batch, shuffled_rows

_CROP = "random-resized-crop"
_DEFAULT_CROP = {"low": 0.08, "high": 1.0}
# The options of a random resized crop that a spec sets, by name.
CropOptions = dict[str, float]


class ReadRequest(NamedTuple):
    """An image to read: its row in the folder and, unless its centre is wanted, how to cut it."""

    row: int
    cut: Cut | None


def split_crop(augment: str) -> tuple[CropOptions | None, str]:
    """Split an augmentation spec into the random resized crop that it begins with and the rest.

    Such a crop is cut out of the whole image when it is read. Without one, return None and the
    whole spec.
    """
    first, _, others = augment.partition("+")
    if not first.strip().startswith(_CROP):
        return None, augment
    _, options = parse_spec(first)
    return {name: float(value) for name, value in options.items()}, others or "none"


def streamed_batches(
    folder: ImageFolder,
    transform: BatchTransform,
    *,
    crop: CropOptions | None,
    batch_size: int,
    seed: int,
    steps: Sequence[int],
    workers: int,
    device: torch.device,
) -> Batch:
    """Return batches of a folder's images with hard labels; each pass takes every image once.

    The batches must be asked for in the order of `steps`. The images of a batch are those of this
    rank alone, in its `rows_of_rank`; the others are black.

    Raises:
        InvalidInputError: When a batch is asked for: one of its images cannot be read.
        UnsafeInputError: When a batch is asked for: one of its images has too many pixels.
    """
    order_seed = partial(rng.stream, seed, "order")
    rows_of_step = shuffled_rows(len(folder), batch_size, order_seed, device)
    requests = _requests(folder, crop=crop, batch_size=batch_size, seed=seed, steps=steps)
    # One pass over all steps: the workers start once, and read ahead across the ends of epochs.
    loader: DataLoader[Any] = DataLoader(
        _FolderDataset(folder),
        batch_size=None,
        sampler=requests,
        num_workers=workers,
        pin_memory=device.type == "cuda",
    )
    images_of_steps = zip(steps, loader, strict=True)
    hard_labels = torch.from_numpy(folder.hard_labels).to(device)
    num_classes = len(folder.classes)

    def batch(step: int) -> tuple[Tensor, Any]:
        rows = rows_of_step(step)
        step_read, images_of_rank = next(images_of_steps)
        assert step == step_read
        if isinstance(images_of_rank, DDLabelError):
            raise images_of_rank
        images = torch.zeros(len(rows), *images_of_rank.shape[1:], device=device)
        images[rows_of_rank(len(rows))] = to_unit(images_of_rank.to(device, non_blocking=True))
        target = Target.of_classes(hard_labels[rows], num_classes)
        return transform(images, target, seed=seed, step=step)

    return batch


class _FolderDataset(Dataset[Tensor | DDLabelError]):
    """Reads the images of one step at a time; its workers hold copies of it."""

    def __init__(self, folder: ImageFolder) -> None:
        self.folder = folder

    def __getitem__(self, requests: list[ReadRequest]) -> Tensor | DDLabelError:
        """Return images uint8 [b, 3, S, S], or the error of an image that cannot be read.

        An error that is raised in a worker would come with the worker's traceback in its text.
        """
        rows = [request.row for request in requests]
        cuts = [request.cut for request in requests]
        try:
            return torch.from_numpy(self.folder.read(rows, cuts))
        except DDLabelError as error:
            return error


def _requests(
    folder: ImageFolder,
    *,
    crop: CropOptions | None,
    batch_size: int,
    seed: int,
    steps: Sequence[int],
) -> Iterator[list[ReadRequest]]:
    """Yield what this rank is to read for each step.

    A crop depends on the seed, the number of the pass and the row alone.
    """
    order_seed = partial(rng.stream, seed, "order")
    rows_of_step = shuffled_rows(len(folder), batch_size, order_seed, torch.device("cpu"))
    steps_per_pass = math.ceil(len(folder) / batch_size)
    for step in steps:
        rows = rows_of_step(step)
        pass_number = step // steps_per_pass
        requests = []
        for row in rows[rows_of_rank(len(rows))].tolist():
            cut = None
            if crop is not None:
                cut = partial(random_cut, crop, rng.stream(seed, "crop", pass_number, row))
            requests.append(ReadRequest(row, cut))
        yield requests


def random_cut(crop: CropOptions, seed: int, image: Image.Image, size: int) -> Image.Image:
    """Resize a random box of an image, bilinear and antialiased as in torchvision's recipe."""
    generator = torch.Generator().manual_seed(seed)
    uniform = partial(torch.rand, 1, generator=generator)
    options = _DEFAULT_CROP | crop
    box = draw_boxes(uniform, image.height, image.width, **options)[0]
    sides = box.new_tensor([image.height, image.width, image.height, image.width])
    top, left, bottom, right = (box * sides).round().tolist()
    return image.resize((size, size), Image.Resampling.BILINEAR, (left, top, right, bottom))
