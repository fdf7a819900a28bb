"""The batches of training steps: augmented images and their targets.

Batches are of whole images, or of whole images and views of them.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ddlabel.core import rng
from ddlabel.core.errors import IncompatibleError
from ddlabel.data.bundle import Bundle
from ddlabel.data.schema import LabelMeta
from ddlabel.methods.augmentations import Augment
from ddlabel.methods.labels import views
from ddlabel.methods.labels.target import Target
from ddlabel.methods.mixing import Mix
from ddlabel.methods.nets.prepare import Prepare
from ddlabel.training.device_data import DeviceBundle
from ddlabel.training.loop import Batch, shuffled_rows

# Returns the labels of images by their rows.
RowTarget = Callable[[Tensor], Target]
# Returns label logits [B, K] of the augmented images [B, C, H, W] of a step.
OnlineLabels = Callable[[Tensor, int], Tensor]
# Returns labels in place of those of a teacher.
ChangeTarget = Callable[[Target], Target]


@dataclass(frozen=True, kw_only=True)
class BatchTransform:
    """Turn images into what a network is trained on: normalise, augment, blend."""

    prepare: Prepare
    augment: Augment
    mix: Mix | None = None

    def __call__(self, images: Tensor, target: Any, *, seed: int, step: int) -> tuple[Tensor, Any]:
        """Return unit images [B, C, H, W] of a step and their labels, ready for training.

        Only a `Target` can be blended.
        """
        images = self.augment(self.prepare(images), rng.stream(seed, "augment", step))
        if self.mix is None:
            return images, target
        mixed = self.mix(images, rng.stream(seed, "mix", step))
        return mixed.images, target.blended(mixed.partner, mixed.share)


def image_batches(
    data: DeviceBundle,
    transform: BatchTransform,
    label: RowTarget,
    *,
    batch_size: int,
    seed: int,
    online: OnlineLabels | None = None,
    change: ChangeTarget | None = None,
) -> Batch:
    """Return batches of whole images; each pass over the data takes every image once.

    `label` gives the targets, or `online` labels the augmented images and `change` changes these
    labels.
    """
    order_seed = partial(rng.stream, seed, "order")
    rows_of_step = shuffled_rows(len(data), batch_size, order_seed, data.index_device)

    def batch(step: int) -> tuple[Tensor, Target]:
        rows = rows_of_step(step)
        unit_images = data.unit(rows)
        if data.reads_ahead:
            data.expect(rows_of_step(step + 1))
        target = label(rows.to(data.device))
        images, target = transform(unit_images, target, seed=seed, step=step)
        if online is None:
            return images, target
        logits = online(images, step)
        target = replace(target, values=logits, meta=LabelMeta(space="logits"))
        return images, target if change is None else change(target)

    return batch


@dataclass(frozen=True, kw_only=True)
class SplitTarget:
    """Targets of a batch whose views have a loss of their own.

    `is_view` [B] says which items are views; `whole` and `views` hold all rows of the batch.
    """

    is_view: Tensor
    whole: Target
    views: Target


def auto_global_labels(bundle: Bundle) -> str:
    """Return the label of whole images beside views: soft if there are labels that fit, else hard.

    Soft labels and the labels of views share a batch. They fit if both are distributions, or both
    are directions.
    """
    if bundle.soft is None or bundle.dense is None:
        return "hard"
    are_directions = [labels.meta.space == "direction" for labels in (bundle.soft, bundle.dense)]
    return "soft" if are_directions[0] == are_directions[1] else "hard"


class ViewIndex:
    """All views, and with `whole` the whole images, as one list of N·items_per_image items.

    `whole` is the label of the whole image, `hard` or `soft`, or `none` to leave it out. Item
    i·items_per_image + j is the j-th of image i; the whole image comes first.

    Raises:
        IncompatibleError: The bundle has no dense labels.
    """

    def __init__(self, data: DeviceBundle, whole: str) -> None:
        if data.views is None:
            raise IncompatibleError(
                "the bundle has no dense labels: make them with 'ddlabel densify'"
            )
        self.data = data
        self.views = data.views
        self.whole = whole
        self.num_whole = 0 if whole == "none" else 1
        boxes = data.views.boxes  # [V, 4], or [N, V, 4] if every image has its own
        whole_box = boxes.new_tensor([0, 0, 1, 1]).expand(*boxes.shape[:-2], self.num_whole, 4)
        self.boxes = torch.cat([whole_box, boxes], -2)
        self.items_per_image = self.boxes.shape[-2]
        self.flip = None
        if data.views.flip is not None:
            self.flip = F.pad(data.views.flip, (self.num_whole, 0))

    def images(self, items: Tensor) -> Tensor:
        """Return items as they were labelled, [B, C, H, W] in unit space: cut, flipped, blended."""
        rows = items // self.items_per_image
        number = (items % self.items_per_image).to(self.data.device)
        images = self._cut(rows, number)
        rows = rows.to(self.data.device)
        mix, weight = self.views.mix, self.views.mix_weight
        if mix is None or weight is None:
            return images
        view = number - self.num_whole
        view_or_first = view.clamp_min(0)
        partners = self._cut(mix[rows, view_or_first], number)
        if self.views.mix_box is None:  # MixUp
            own_share = weight[rows, view_or_first].view(-1, 1, 1, 1)
            blended = partners.lerp(images, own_share)
        else:  # CutMix
            boxes = self.views.mix_box[rows, view_or_first]
            blended = torch.where(views.inside(boxes, *images.shape[2:]), partners, images)
        is_view = (view >= 0).view(-1, 1, 1, 1)
        return torch.where(is_view, blended, images)

    def expect(self, items: Tensor) -> None:
        """Read the images of items, which will be asked for next, ahead of that."""
        self.data.expect(items // self.items_per_image)

    def _cut(self, rows: Tensor, number: Tensor) -> Tensor:
        """Return item `number` of images `rows`, cut out and flipped."""
        unit_images = self.data.unit(rows)
        rows = rows.to(self.data.device)
        boxes = self.boxes[number] if self.boxes.ndim == 2 else self.boxes[rows, number]
        images = views.crop(unit_images, boxes)
        if self.flip is None:
            return images
        is_flipped = self.flip[rows, number].view(-1, 1, 1, 1) == 1
        return torch.where(is_flipped, images.flip(3), images)

    def split_target(self, items: Tensor) -> SplitTarget:
        """Return the labels of items: of whole images and of views apart."""
        rows = items // self.items_per_image
        view = items % self.items_per_image - self.num_whole
        whole = self.data.soft_target if self.whole == "soft" else self.data.hard_target
        return SplitTarget(
            is_view=view >= 0,
            whole=whole(rows),
            views=self.data.dense_target(rows, view.clamp_min(0)),
        )

    def target(self, items: Tensor) -> Target:
        """Return the labels of items as one target, in a space that all of them have.

        Raises:
            IncompatibleError: Soft labels are directions and dense labels are not, or the reverse.
        """
        parts = self.split_target(items)
        if not self.num_whole:
            return parts.views
        whole = parts.whole.in_common_space()
        of_views = parts.views.in_common_space()
        if self.whole == "soft" and whole.meta.space != of_views.meta.space:
            raise IncompatibleError(
                f"soft labels are {whole.meta.space} and dense labels {of_views.meta.space}: "
                "refine both in one space"
            )
        is_view = parts.is_view[:, None]
        hard = of_views.hard
        if hard.ndim == 2:
            hard = torch.where(is_view, hard, F.one_hot(whole.hard, self.data.num_classes))
        values = torch.where(is_view, of_views.values, whole.values)
        return replace(of_views, hard=hard, values=values)


def view_batches(
    index: ViewIndex,
    transform: BatchTransform,
    *,
    together: bool,
    batch_size: int,
    seed: int,
    split: bool = False,
) -> Batch:
    """Return batches of views and whole images.

    With `together` a batch has all items of `batch_size` images (LADD, Eq. 5). Otherwise it has
    `batch_size` items drawn from all of them, at the cost of a batch of images, of which there may
    be fewer (LADD, Fig. 3). With `split` the targets are a `SplitTarget`, otherwise one `Target`.
    """
    num_images = len(index.data)
    batch_size = min(batch_size, num_images)
    num_rows = num_images if together else num_images * index.items_per_image
    order_seed = partial(rng.stream, seed, "order")
    rows_of_step = shuffled_rows(num_rows, batch_size, order_seed, index.data.index_device)
    label = index.split_target if split else index.target
    offsets = torch.arange(index.items_per_image, device=index.data.index_device)

    def items_of_step(step: int) -> Tensor:
        rows = rows_of_step(step)
        if not together:
            return rows
        return (rows[:, None] * index.items_per_image + offsets).flatten()

    def batch(step: int) -> tuple[Tensor, Any]:
        items = items_of_step(step)
        images = index.images(items)
        if index.data.reads_ahead:
            index.expect(items_of_step(step + 1))
        target = label(items.to(index.data.device))
        return transform(images, target, seed=seed, step=step)

    return batch
