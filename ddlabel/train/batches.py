"""What a step trains on: augmented images and their targets, from whole images or from views of them."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from ddlabel import rng
from ddlabel.augment import Augment
from ddlabel.errors import IncompatibleError
from ddlabel.labels import views
from ddlabel.labels.target import Target
from ddlabel.nets.prepare import Prepare
from ddlabel.train.data import Data
from ddlabel.train.fit import Batch, Order

_WHOLE = (0.0, 0.0, 1.0, 1.0)


def of_images(data: Data, prepare: Prepare, augment: Augment, *, labels: str, batch_size: int, seed: int) -> Batch:
    """Batches of whole images with their hard or soft labels; every image once in each pass."""
    order = Order(len(data), batch_size, partial(rng.stream, seed, "order"), data.images.device)
    target = data.hard_target if labels == "hard" else data.soft_target

    def batch(step: int) -> tuple[Tensor, Target]:
        rows = order(step)
        return augment(prepare(data.unit(rows)), rng.stream(seed, "augment", step)), target(rows)

    return batch


class Items:
    """The whole image (if `whole` is hard or soft) and the views of every image, as one list of N·per_image items."""

    def __init__(self, data: Data, whole: str) -> None:
        if data.dense_boxes is None:
            raise IncompatibleError("the bundle has no dense labels: make them with 'ddlabel densify'")
        self.data, self.whole = data, whole
        self.wholes = 0 if whole == "none" else 1
        box = torch.tensor([_WHOLE] * self.wholes, device=data.images.device).view(-1, 4)
        self.boxes = torch.cat([box, data.dense_boxes])
        self.per_image = len(self.boxes)

    def images(self, items: Tensor) -> Tensor:
        """Item i cut out of its image: [B, C, H, W] in unit space."""
        return views.crop(self.data.unit(items // self.per_image), self.boxes[items % self.per_image])

    def target(self, items: Tensor) -> Target:
        """Labels of items: the view's dense label, or the whole image's hard or soft one, in a space they share.

        Raises:
            IncompatibleError: if one is a direction and the other is not.
        """
        rows, view = items // self.per_image, items % self.per_image - self.wholes
        dense = self.data.dense_target(rows, view.clamp_min(0))
        if not self.wholes:
            return dense
        dense = dense.in_common_space()
        whole = (self.data.hard_target if self.whole == "hard" else self.data.soft_target)(rows).in_common_space()
        if self.whole == "soft" and whole.label.space != dense.label.space:
            raise IncompatibleError(
                f"soft labels are {whole.label.space} and dense labels {dense.label.space}: refine both in one space"
            )
        return Target(
            hard=dense.hard, values=torch.where(view[:, None] < 0, whole.values, dense.values), label=dense.label
        )


def of_items(items: Items, prepare: Prepare, augment: Augment, *, together: bool, batch_size: int, seed: int) -> Batch:
    """Batches of views and whole images.

    `together`: every item of `batch_size` images (LADD, Eq. 5). Else `batch_size` items drawn from all of them, at
    the cost of a batch of images (LADD, Fig. 3).
    """
    count = len(items.data) if together else len(items.data) * items.per_image
    order = Order(count, batch_size, partial(rng.stream, seed, "order"), items.data.images.device)

    def batch(step: int) -> tuple[Tensor, Target]:
        chosen = order(step)
        if together:
            all_of = torch.arange(items.per_image, device=chosen.device)
            chosen = (chosen[:, None] * items.per_image + all_of).flatten()
        images = augment(prepare(items.images(chosen)), rng.stream(seed, "augment", step))
        return images, items.target(chosen)

    return batch
