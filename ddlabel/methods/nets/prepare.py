"""The fixed first layer of a network: from pixels in unit space to normalised or whitened ones."""

from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor, nn


class Prepare(nn.Module):
    """(x − mean)/std of images [B, C, H, W] in unit space and, with a whitening matrix, ZCA.

    mean and std have shape [1, C, 1, 1] or broadcast to the images; whitening is [D, D] with D =
    C·H·W. In the field, whitening replaces the normalisation: it is fitted on images that are not
    normalised.
    """

    mean: Tensor
    std: Tensor
    whitening: Tensor | None

    def __init__(self, mean: Tensor, std: Tensor, whitening: Tensor | None = None) -> None:
        super().__init__()
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("std", std, persistent=False)
        self.register_buffer("whitening", whitening, persistent=False)
        self._inverse: Tensor | None = None

    def forward(self, images: Tensor) -> Tensor:
        """Prepare images in unit space; the shape stays."""
        images = (images - self.mean) / self.std
        if self.whitening is None:
            return images
        return (images.flatten(1) @ self.whitening).view_as(images)

    def undo(self, images: Tensor) -> Tensor:
        """Bring prepared images back to unit space."""
        if self.whitening is not None:
            # The layer may have been moved to another device since.
            if self._inverse is None or self._inverse.device != self.whitening.device:
                self._inverse = torch.linalg.inv(self.whitening.double()).to(self.whitening.dtype)
            images = (images.flatten(1) @ self._inverse).view_as(images)
        return images * self.std + self.mean

    def same_as(self, other: Self) -> bool:
        """Return whether both layers give the same result for every image."""
        ours = list(self.buffers())
        theirs = list(other.buffers())
        return len(ours) == len(theirs) and all(map(torch.equal, ours, theirs))


def normalisation(mean: Sequence[float], std: Sequence[float]) -> Prepare:
    """Return the layer that subtracts the channel means and divides by the channel deviations."""
    mean_tensor = torch.tensor(mean).view(1, -1, 1, 1)
    std_tensor = torch.tensor(std).view(1, -1, 1, 1)
    return Prepare(mean_tensor, std_tensor)
