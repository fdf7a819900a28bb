"""A bundle on a device."""

import math
from collections.abc import Iterator, Sequence
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
from ddlabel.training.chunking import images_of_chunk
from ddlabel.training.host_rows import HostRows
from ddlabel.training.memory import ChunkedFunction, free_bytes
from ddlabel.training.stacking import Forward

# The share of a device's free memory that bundles may take: networks need the rest.
_SHARE_OF_MEMORY = 0.5
_FLOAT32_BYTES = 4


def to_device(array: Array, device: torch.device) -> Tensor:
    """Copy an array, also a read-only mapped one, to the device."""
    return torch.from_numpy(np.array(array)).to(device)


def to_unit(images: Tensor) -> Tensor:
    """Convert images, uint8 or floating point in unit space, to float32 in unit space."""
    return images.float().div_(255) if images.dtype == torch.uint8 else images.float()


@dataclass(frozen=True, kw_only=True)
class DeviceLabels:
    """Decoded labels [N, K] or [N, V, K] on a device, or copied to it when they are asked for."""

    values: Tensor | HostRows
    meta: LabelMeta

    @classmethod
    def of(cls, labels: Labels, device: torch.device, *, on_host: bool = False) -> Self:
        """Decode labels and copy them to the device, or do so later for the rows asked for."""
        if on_host:
            return cls(values=HostRows.of_labels(labels, device), meta=labels.meta)
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
    """Images [N, C, H, W] and their labels as tensors on one device.

    Of a bundle that is larger than the device, images or labels stay on the host: see `fitting`.
    """

    images: Tensor | HostRows
    hard: Tensor
    num_classes: int
    soft: DeviceLabels | None = None
    dense: DeviceLabels | None = None
    views: DeviceViews | None = None

    @classmethod
    def of(cls, bundle: Bundle, device: torch.device) -> Self:
        """Copy the whole bundle to the device."""
        return cls._on_device(bundle, device, on_host=())

    @classmethod
    def fitting(cls, bundle: Bundle, device: torch.device) -> Self:
        """Copy what fits to the device. The rest is copied, row by row, when it is asked for.

        Half of the free memory is for the bundle: for its images first, then for its labels.
        """
        budget = _SHARE_OF_MEMORY * free_bytes(device)
        on_host = []
        for name, num_bytes in _sizes(bundle).items():
            if num_bytes > budget:
                on_host.append(name)
            else:
                budget -= num_bytes
        return cls._on_device(bundle, device, on_host)

    @classmethod
    def _on_device(cls, bundle: Bundle, device: torch.device, on_host: Sequence[str]) -> Self:
        """Copy a bundle to the device, but for the parts `on_host`: images, soft or dense."""
        images: Tensor | HostRows
        if "images" in on_host:
            images = HostRows.of_array(bundle.images, device)
        else:
            images = to_device(bundle.images, device)
        labels: dict[str, DeviceLabels | None] = {"soft": None, "dense": None}
        for name, of_bundle in (("soft", bundle.soft), ("dense", bundle.dense)):
            if of_bundle is not None:
                labels[name] = DeviceLabels.of(of_bundle, device, on_host=name in on_host)
        views = bundle.views
        return cls(
            images=images,
            hard=to_device(bundle.hard_labels, device),
            num_classes=bundle.num_classes,
            soft=labels["soft"],
            dense=labels["dense"],
            views=None if views is None else DeviceViews.of(views, device),
        )

    def __len__(self) -> int:
        return len(self.hard)

    @property
    def device(self) -> torch.device:
        """The device of all tensors."""
        return self.hard.device

    @property
    def reads_ahead(self) -> bool:
        """Whether the images are on the host, so that it is worth calling `expect`."""
        return isinstance(self.images, HostRows)

    @property
    def index_device(self) -> torch.device:
        """The device on which rows are drawn: the host, if it has to read images by them."""
        return torch.device("cpu") if self.reads_ahead else self.device

    def expect(self, rows: Tensor | slice) -> None:
        """Read images of these rows, which will be asked for next, ahead of that."""
        if isinstance(self.images, HostRows):
            self.images.expect(rows)

    def unit_chunks(self, num_networks: int = 1) -> Iterator[Tensor]:
        """Yield all images in unit space, in chunks for so many networks without gradients."""
        size = max(1, images_of_chunk(self.images.shape, self.device) // num_networks)
        for start in range(0, len(self), size):
            images = self.images[start : start + size]
            if start + size < len(self):
                self.expect(slice(start + size, start + 2 * size))
            yield to_unit(images)

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


def _sizes(bundle: Bundle) -> dict[str, int]:
    """Return the bytes of images and decoded labels on a device."""
    sizes = {"images": bundle.images.nbytes}
    for name, labels in (("soft", bundle.soft), ("dense", bundle.dense)):
        if labels is not None:
            sizes[name] = math.prod(labels.shape) * _FLOAT32_BYTES
    return sizes


@torch.no_grad()
def predict(networks: Sequence[Network], forward: Forward, data: DeviceBundle) -> Tensor:
    """Return logits [S, N, K] of a stack of S networks in evaluation mode.

    The networks prepare images alike, and `forward` is the stack.
    """
    for network in networks:
        network.eval()

    def logits_of(unit_images: Tensor) -> Tensor:
        images = networks[0].prepare(unit_images)
        return forward(images.expand(len(networks), *images.shape)).transpose(0, 1)

    # A stack that was trained fits in smaller chunks at least.
    in_chunks = ChunkedFunction(logits_of)
    logits = torch.cat([in_chunks(part) for part in data.unit_chunks(len(networks))])
    for network in networks:
        network.train()
    return logits.transpose(0, 1)
