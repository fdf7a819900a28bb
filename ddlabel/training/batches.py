"""What a step trains on: augmented images and their targets, from whole images or from views of them."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ddlabel.core import rng
from ddlabel.core.errors import IncompatibleError
from ddlabel.data.schema import LabelMeta
from ddlabel.methods.augmentations import Augment
from ddlabel.methods.labels import views
from ddlabel.methods.labels.target import Target
from ddlabel.methods.mixing import Mix
from ddlabel.methods.nets.prepare import Prepare
from ddlabel.training.device_data import DeviceBundle
from ddlabel.training.loop import Batch, shuffled_rows

# Labels of images by their rows.
Label = Callable[[Tensor], Target]
# Labels [B, K], as logits, of augmented images as the network in training gets them, at a step.
Teach = Callable[[Tensor, int], Tensor]


@dataclass(frozen=True, kw_only=True)
class BatchTransform:
    """How images become what a network is trained on: normalised, augmented, blended."""

    prepare: Prepare
    augment: Augment
    mix: Mix | None = None

    def __call__(self, images: Tensor, target: Any, *, seed: int, step: int) -> tuple[Tensor, Any]:
        """Unit images [B, C, H, W] of a step and their labels, ready for training; only a `Target` can be blended."""
        images = self.augment(self.prepare(images), rng.stream(seed, "augment", step))
        if self.mix is None:
            return images, target
        mixed = self.mix(images, rng.stream(seed, "mix", step))
        return mixed.images, target.blended(mixed.partner, mixed.share)


def of_images(
    data: DeviceBundle,
    pictures: BatchTransform,
    label: Label,
    *,
    batch_size: int,
    seed: int,
    teach: Teach | None = None,
) -> Batch:
    """Batches of whole images with the labels that `label` gives them, or `teach` gives; all once in each pass."""
    rows_of = shuffled_rows(
        len(data), batch_size, partial(rng.stream, seed, "order"), data.images.device
    )

    def batch(step: int) -> tuple[Tensor, Target]:
        rows = rows_of(step)
        images, labels = pictures(data.unit(rows), label(rows), seed=seed, step=step)
        if teach is None:
            return images, labels
        return images, Target(
            hard=labels.hard, values=teach(images, step), label=LabelMeta(space="logits")
        )

    return batch


@dataclass(frozen=True, kw_only=True)
class Split:
    """Targets of a batch whose views (`is_view` [B]) have a loss of their own; each holds all rows of the batch."""

    is_view: Tensor
    whole: Target
    views: Target


class ViewIndex:
    """The whole image (if `whole` is hard or soft) and the views of every image, as one list of N·per_image items."""

    def __init__(self, data: DeviceBundle, whole: str) -> None:
        if data.dense_boxes is None:
            raise IncompatibleError(
                "the bundle has no dense labels: make them with 'ddlabel densify'"
            )
        self.data, self.whole, self.wholes = data, whole, int(whole != "none")
        # [V, 4], or [N, V, 4] where every image has its own.
        whole_box = data.dense_boxes.new_tensor([0, 0, 1, 1]).expand(
            *data.dense_boxes.shape[:-2], self.wholes, 4
        )
        self.boxes = torch.cat([whole_box, data.dense_boxes], -2)
        self.per_image = self.boxes.shape[-2]
        self.flip = None if data.dense_flip is None else F.pad(data.dense_flip, (self.wholes, 0))

    def images(self, items: Tensor) -> Tensor:
        """Item i as it was labelled: cut out of its image, flipped, blended; [B, C, H, W] in unit space."""
        rows, number = items // self.per_image, items % self.per_image
        images, mix, weight = (
            self._cut(rows, number),
            self.data.dense_mix,
            self.data.dense_mix_weight,
        )
        if mix is None or weight is None:
            return images
        view = number - self.wholes
        at = rows, view.clamp_min(0)
        partners = self._cut(mix[at], number)
        if self.data.dense_mix_box is None:  # MixUp
            blended = partners.lerp(images, weight[at].view(-1, 1, 1, 1))
        else:  # CutMix
            blended = torch.where(
                views.inside(self.data.dense_mix_box[at], *images.shape[2:]), partners, images
            )
        return torch.where((view >= 0).view(-1, 1, 1, 1), blended, images)

    def _cut(self, rows: Tensor, number: Tensor) -> Tensor:
        """Item `number` of images `rows`, cut out and flipped."""
        boxes = self.boxes[number] if self.boxes.ndim == 2 else self.boxes[rows, number]
        images = views.crop(self.data.unit(rows), boxes)
        if self.flip is None:
            return images
        return torch.where(self.flip[rows, number].view(-1, 1, 1, 1) == 1, images.flip(3), images)

    def split(self, items: Tensor) -> Split:
        """Labels of items: the whole image's hard or soft one, and the view's dense label."""
        rows, view = items // self.per_image, items % self.per_image - self.wholes
        whole = self.data.soft_target if self.whole == "soft" else self.data.hard_target
        return Split(
            is_view=view >= 0,
            whole=whole(rows),
            views=self.data.dense_target(rows, view.clamp_min(0)),
        )

    def target(self, items: Tensor) -> Target:
        """The same as one target, in a space that they share.

        IncompatibleError if one is a direction and the other is not.
        """
        parts = self.split(items)
        if not self.wholes:
            return parts.views
        whole, views = parts.whole.in_common_space(), parts.views.in_common_space()
        if self.whole == "soft" and whole.label.space != views.label.space:
            spaces = f"soft labels are {whole.label.space} and dense labels {views.label.space}"
            raise IncompatibleError(f"{spaces}: refine both in one space")
        is_view, hard = parts.is_view[:, None], views.hard
        if hard.ndim == 2:
            hard = torch.where(is_view, hard, F.one_hot(whole.hard, self.data.classes))
        return Target(
            hard=hard, values=torch.where(is_view, views.values, whole.values), label=views.label
        )


def of_items(
    items: ViewIndex,
    pictures: BatchTransform,
    *,
    together: bool,
    batch_size: int,
    seed: int,
    split: bool = False,
) -> Batch:
    """Batches of views and whole images, with one target or, where they are `split`, one for each kind.

    `together`: every item of `batch_size` images (LADD, Eq. 5). Else `batch_size` items drawn from all of them, at
    the cost of a batch of images (LADD, Fig. 3).
    """
    count = len(items.data) if together else len(items.data) * items.per_image
    items_of = shuffled_rows(
        count, batch_size, partial(rng.stream, seed, "order"), items.data.images.device
    )
    labels = items.split if split else items.target

    def batch(step: int) -> tuple[Tensor, Any]:
        chosen = items_of(step)
        if together:
            chosen = (
                chosen[:, None] * items.per_image
                + torch.arange(items.per_image, device=chosen.device)
            ).flatten()
        return pictures(items.images(chosen), labels(chosen), seed=seed, step=step)

    return batch
