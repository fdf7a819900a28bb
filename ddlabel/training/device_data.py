"""A bundle on a device."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Self

import numpy as np
import torch
from torch import Tensor

from ddlabel.core.errors import IncompatibleError
from ddlabel.data.bundle import Array, Bundle
from ddlabel.data.schema import LabelMeta
from ddlabel.methods.labels.target import Target, shares
from ddlabel.methods.nets import Network
from ddlabel.training.chunking import cache_sized_chunks
from ddlabel.training.stacking import Forward


def to_device(array: Array, device: torch.device) -> Tensor:
    """A copy of an array, also of a read-only mapped one, on the device."""
    return torch.from_numpy(np.array(array)).to(device)


def to_unit(images: Tensor) -> Tensor:
    """Images in float32 unit space, from uint8 or floating point unit space."""
    return images.float().div_(255) if images.dtype == torch.uint8 else images.float()


@dataclass(frozen=True, kw_only=True)
class DeviceBundle:
    """Images [N, C, H, W] and their labels as tensors."""

    images: Tensor
    hard: Tensor
    soft_labels: Tensor | None
    soft: LabelMeta | None
    dense_labels: Tensor | None
    dense_boxes: Tensor | None
    dense: LabelMeta | None
    dense_flip: Tensor | None
    dense_mix: Tensor | None
    dense_mix_weight: Tensor | None
    dense_mix_box: Tensor | None
    classes: int

    @classmethod
    def of(cls, bundle: Bundle, device: torch.device) -> Self:
        """The whole bundle on a device."""
        arrays = bundle.arrays | {
            f"{f}_labels": bundle.labels(f) for f in ("soft", "dense") if getattr(bundle, f)
        }
        tensors = {name: to_device(array, device) for name, array in arrays.items()}
        names = {each.name: each.name for each in fields(cls)} | {"hard": "hard_labels"}
        own = {key: tensors.get(name) for key, name in names.items()}
        return cls(
            **own | {"soft": bundle.soft, "dense": bundle.dense, "classes": len(bundle.classes)}
        )  # type: ignore[arg-type]

    def __len__(self) -> int:
        return len(self.hard)

    def unit(self, rows: Tensor) -> Tensor:
        """Images of these rows in unit space."""
        return to_unit(self.images[rows])

    def hard_target(self, rows: Tensor) -> Target:
        """Hard labels of these rows."""
        return Target.of_classes(self.hard[rows], self.classes)

    def soft_target(self, rows: Tensor) -> Target:
        """Soft labels of these rows.

        IncompatibleError if there are none.
        """
        if self.soft_labels is None or self.soft is None:
            raise IncompatibleError(
                "the bundle has no soft labels: make them with 'ddlabel relabel'"
            )
        return Target(hard=self.hard[rows], values=self.soft_labels[rows], label=self.soft)

    def dense_target(self, rows: Tensor, views: Tensor) -> Target:
        """Dense labels of view `views[i]` of image `rows[i]`; of a blended one, the share of each class is hard.

        IncompatibleError if there are none.
        """
        if self.dense_labels is None or self.dense is None:
            raise IncompatibleError(
                "the bundle has no dense labels: make them with 'ddlabel densify'"
            )
        hard = self.hard[rows]
        if self.dense_mix is not None and self.dense_mix_weight is not None:
            other = self.hard[self.dense_mix[rows, views]]
            hard = shares(hard, other, self.dense_mix_weight[rows, views], self.classes)
        return Target(hard=hard, values=self.dense_labels[rows, views], label=self.dense)


@torch.no_grad()
def predict(networks: Sequence[Network], forward: Forward, data: DeviceBundle) -> Tensor:
    """Logits [S, N, K] of a stack of networks that prepare images alike, in evaluation mode; `forward` is the stack."""
    for network in networks:
        network.eval()
    out = []
    for part in cache_sized_chunks(data.images):
        images = networks[0].prepare(to_unit(part))
        out.append(forward(images.expand(len(networks), *images.shape)))
    for network in networks:
        network.train()
    return torch.cat(out, 1)
