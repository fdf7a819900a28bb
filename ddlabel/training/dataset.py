"""A bundle as a torch dataset, for training loops of your own."""

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.utils.data import Dataset

from ddlabel.core.errors import UsageError
from ddlabel.data.bundle import Bundle
from ddlabel.methods.labels.target import Target
from ddlabel.methods.nets.prepare import normalisation
from ddlabel.training.batches import ViewIndex, auto_global_labels
from ddlabel.training.device_data import DeviceBundle

LabelKind = Literal["auto", "hard", "soft", "dense"]


class BundleDataset(Dataset[tuple[Tensor, Tensor]]):
    """Images [C, H, W] and label distributions [K] of a bundle; see `to_torch`.

    Attributes:
        space: The space of the labels, `probs`, `mass` or `direction` (of refined labels only the
            angle has meaning: use a cosine loss).
        num_classes: The number of classes K.
    """

    def __init__(
        self, bundle: Bundle, *, labels: LabelKind, global_labels: str, normalise: bool
    ) -> None:
        data = DeviceBundle.of(bundle, torch.device("cpu"))
        self.num_classes = bundle.num_classes
        self._prepare = normalisation(bundle.pixels.mean, bundle.pixels.std) if normalise else None
        self._target: Callable[[Tensor], Target]
        self._images: Callable[[Tensor], Tensor]
        if labels == "dense":
            index = ViewIndex(data, global_labels)
            self._target = index.target
            self._images = index.images
            self._length = len(data) * index.items_per_image
        else:
            self._target = data.soft_target if labels == "soft" else data.hard_target
            self._images = data.unit
            self._length = len(data)
        self.space = self._distributions(torch.tensor([0])).meta.space

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, item: int) -> tuple[Tensor, Tensor]:
        if not -self._length <= item < self._length:
            raise IndexError(f"item {item} of {self._length}")
        return self.__getitems__([item])[0]

    def __getitems__(self, items: Sequence[int]) -> list[tuple[Tensor, Tensor]]:
        """Return several items at once, as a DataLoader asks for them."""
        rows = torch.as_tensor(items) % self._length
        images = self._images(rows)
        if self._prepare is not None:
            images = self._prepare(images)
        labels = self._distributions(rows).values
        return list(zip(images, labels, strict=True))

    def _distributions(self, rows: Tensor) -> Target:
        return self._target(rows).in_common_space()


def to_torch(
    bundle: Bundle,
    *,
    views: bool = False,
    labels: LabelKind = "auto",
    global_labels: str = "auto",
    normalise: bool = True,
) -> BundleDataset:
    """Return a bundle as a torch dataset of (image [C, H, W], label [K]), both float32.

    Images are normalised by the bundle's mean and deviation, or in unit space without `normalise`.
    Labels are distributions; refined labels in logits space are directions. With `views`, the items
    are the whole images and all their views, cut out, flipped and blended as `evaluate` does:
    item i·(V + 1) is image i, and the V items after it are its views.

    Args:
        bundle: The bundle.
        views: Add the views with their dense labels.
        labels: The labels of whole images; `auto` takes soft labels where there are some.
        global_labels: With views, the label of the whole image: hard, soft, or none to leave the
            whole image out; auto takes soft labels where there are some, as `evaluate` does.
        normalise: Normalise the images.

    Raises:
        IncompatibleError: The bundle has no such labels.
        UsageError: An argument has another value.
    """
    if not isinstance(bundle, Bundle):
        kind = type(bundle).__name__
        raise UsageError(f"expected a bundle, got an object of type {kind}: use ddlabel.read first")
    if views:
        labels = "dense"
    if labels == "auto":
        labels = "hard" if bundle.soft is None else "soft"
    if global_labels == "auto":
        global_labels = auto_global_labels(bundle)
    if labels not in ("hard", "soft", "dense") or global_labels not in ("hard", "soft", "none"):
        raise UsageError(
            f"labels is {labels!r} and global_labels {global_labels!r}: expected auto, hard, soft "
            "or dense, and auto, hard, soft or none"
        )
    if labels != "hard":
        bundle.labels(labels)
    return BundleDataset(bundle, labels=labels, global_labels=global_labels, normalise=normalise)
