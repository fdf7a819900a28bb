"""First layers: from pixels in unit space to what a network is trained on."""

from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor, nn


class Prepare(nn.Module):
    """(x − mean)/std per channel and, with a whitening matrix, ZCA: images [B, C, H, W] in unit space.

    Whitening replaces the normalisation, as the field has it: it is fitted on un-normalised images.
    """

    mean: Tensor
    std: Tensor
    whitening: Tensor | None

    def __init__(self, mean: Tensor, std: Tensor, whitening: Tensor | None = None) -> None:
        super().__init__()
        for name, values in (("mean", mean), ("std", std), ("whitening", whitening)):
            self.register_buffer(name, values, persistent=False)
        self._inverse: Tensor | None = None

    def forward(self, images: Tensor) -> Tensor:
        """Prepared images of the same shape."""
        images = (images - self.mean) / self.std
        return (
            images
            if self.whitening is None
            else (images.flatten(1) @ self.whitening).view_as(images)
        )

    def undo(self, images: Tensor) -> Tensor:
        """Prepared images back in unit space."""
        if self.whitening is not None:
            if self._inverse is None:
                self._inverse = torch.linalg.inv(self.whitening.double()).to(self.whitening.dtype)
            images = (images.flatten(1) @ self._inverse).view_as(images)
        return images * self.std + self.mean

    def same_as(self, other: Self) -> bool:
        """Whether both make the same of any image."""
        own, others = list(self.buffers()), list(other.buffers())
        return len(own) == len(others) and all(map(torch.equal, own, others))


def normalisation(mean: Sequence[float], std: Sequence[float]) -> Prepare:
    """Subtract the channel means, divide by the channel deviations."""
    return Prepare(torch.tensor(mean).view(1, -1, 1, 1), torch.tensor(std).view(1, -1, 1, 1))
