"""A bundle on a device."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import torch
from torch import Tensor

from ddlabel.core.errors import IncompatibleError
from ddlabel.data.bundle import Bundle
from ddlabel.data.labels import Array, Labels, Views
from ddlabel.data.schema import LabelMeta
from ddlabel.methods.labels.target import Target, class_shares
from ddlabel.methods.nets import Network
from ddlabel.training.chunking import cache_sized_chunks
from ddlabel.training.stacking import Forward


def to_device(array: Array, device: torch.device) -> Tensor:
    """Copy an array, also a read-only mapped one, to the device."""
    return torch.from_numpy(np.array(array)).to(device)


def to_unit(images: Tensor) -> Tensor:
    """Convert images, uint8 or floating point in unit space, to float32 in unit space."""
    return images.float().div_(255) if images.dtype == torch.uint8 else images.float()


@dataclass(frozen=True, kw_only=True)
class DeviceLabels:
    """Decoded labels [N, K] or [N, V, K] on a device."""

    values: Tensor
    meta: LabelMeta

    @classmethod
    def of(cls, labels: Labels, device: torch.device) -> Self:
        """Decode labels and copy them to the device."""
        values = torch.from_numpy(labels.decode()).to(device)
        return cls(values=values, meta=labels.meta)


@dataclass(frozen=True, kw_only=True)
class DeviceViews:
    """The fields of `Views` as tensors on a device."""

    boxes: Tensor
    flip: Tensor | None = None
    mix: Tensor | None = None
    mix_weight: Tensor | None = None
    mix_box: Tensor | None = None

    @classmethod
    def of(cls, views: Views, device: torch.device) -> Self:
        """Copy views to the device."""
        return cls(**{name: to_device(array, device) for name, array in views.arrays()})


@dataclass(frozen=True, kw_only=True)
class DeviceBundle:
    """Images [N, C, H, W] and their labels as tensors on one device."""

    images: Tensor
    hard: Tensor
    num_classes: int
    soft: DeviceLabels | None = None
    dense: DeviceLabels | None = None
    views: DeviceViews | None = None

    @classmethod
    def of(cls, bundle: Bundle, device: torch.device) -> Self:
        """Copy the whole bundle to the device."""
        soft, dense, views = bundle.soft, bundle.dense, bundle.views
        return cls(
            images=to_device(bundle.images, device),
            hard=to_device(bundle.hard_labels, device),
            num_classes=bundle.num_classes,
            soft=None if soft is None else DeviceLabels.of(soft, device),
            dense=None if dense is None else DeviceLabels.of(dense, device),
            views=None if views is None else DeviceViews.of(views, device),
        )

    def __len__(self) -> int:
        return len(self.hard)

    @property
    def device(self) -> torch.device:
        """The device of all tensors."""
        return self.images.device

    def take(self, rows: Tensor) -> Self:
        """Return images of these rows with their hard labels alone."""
        return replace(
            self, images=self.images[rows], hard=self.hard[rows], soft=None, dense=None, views=None
        )

    def unit(self, rows: Tensor) -> Tensor:
        """Return images of these rows in unit space."""
        return to_unit(self.images[rows])

    def hard_target(self, rows: Tensor) -> Target:
        """Return the hard labels of these rows."""
        return Target.of_classes(self.hard[rows], self.num_classes)

    def soft_target(self, rows: Tensor) -> Target:
        """Return the soft labels of these rows.

        Raises:
            IncompatibleError: There are no soft labels.
        """
        if self.soft is None:
            raise IncompatibleError(
                "the bundle has no soft labels: make them with 'ddlabel relabel'"
            )
        return Target(hard=self.hard[rows], values=self.soft.values[rows], meta=self.soft.meta)

    def dense_target(self, rows: Tensor, views: Tensor) -> Target:
        """Return the dense label of view `views[i]` of image `rows[i]`.

        Of a blended view, `hard` is the share of each class.

        Raises:
            IncompatibleError: There are no dense labels.
        """
        if self.dense is None or self.views is None:
            raise IncompatibleError(
                "the bundle has no dense labels: make them with 'ddlabel densify'"
            )
        classes = self.hard[rows]
        hard = classes
        first = None
        if self.views.mix is not None and self.views.mix_weight is not None:
            partner_hard = self.hard[self.views.mix[rows, views]]
            weight = self.views.mix_weight[rows, views]
            hard = class_shares(classes, partner_hard, weight, self.num_classes)
            first = classes
        values = self.dense.values[rows, views]
        return Target(hard=hard, values=values, meta=self.dense.meta, first=first)


@torch.no_grad()
def predict(networks: Sequence[Network], forward: Forward, data: DeviceBundle) -> Tensor:
    """Return logits [S, N, K] of a stack of S networks in evaluation mode.

    The networks prepare images alike, and `forward` is the stack.
    """
    for network in networks:
        network.eval()
    logits = []
    for part in cache_sized_chunks(data.images):
        images = networks[0].prepare(to_unit(part))
        logits.append(forward(images.expand(len(networks), *images.shape)))
    for network in networks:
        network.train()
    return torch.cat(logits, 1)
