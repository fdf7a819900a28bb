"""Operations on batches of images that augmentations are made of.

An operation is `operation(images [B, C, H, W], random, strength) -> images`; every image has random
numbers of its own.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ddlabel.methods.labels import views


class RandomNumbers:
    """Random numbers for the images of a batch, from one seed, on their device."""

    def __init__(self, images: Tensor, seed: int) -> None:
        self.device = images.device
        self.num_images = len(images)
        self.generator = torch.Generator(images.device).manual_seed(seed)

    def uniform(self, *shape: int) -> Tensor:
        """Draw numbers [B, *shape] in [0, 1), or [B, 1, 1, 1] if no shape is given."""
        shape = shape or (1, 1, 1)
        return torch.rand(self.num_images, *shape, device=self.device, generator=self.generator)

    def integer(self, low: int, high: int) -> Tensor:
        """Draw one integer from `low` to `high`, both included, for each image: [B, 1, 1]."""
        return torch.randint(
            low,
            high + 1,
            (self.num_images, 1, 1),
            device=self.device,
            generator=self.generator,
        )


Operation = Callable[[Tensor, RandomNumbers, Any], Tensor]


def brightness(images: Tensor, random: RandomNumbers, ratio: float) -> Tensor:
    """Add ratio · (u − ½)."""
    return images + ratio * (random.uniform() - 0.5)


def saturation(images: Tensor, random: RandomNumbers, ratio: float) -> Tensor:
    """Multiply the distance from the pixel's mean over channels by ratio · u."""
    mean = images.mean(1, keepdim=True)
    return mean + (images - mean) * (ratio * random.uniform())


def contrast(images: Tensor, random: RandomNumbers, ratio: float) -> Tensor:
    """Multiply the distance from the image's mean by ratio + u."""
    mean = images.mean((1, 2, 3), keepdim=True)
    return mean + (images - mean) * (ratio + random.uniform())


def flip(images: Tensor, random: RandomNumbers, probability: float) -> Tensor:
    """Flip images from left to right with this probability."""
    if not 0 <= probability <= 1:
        raise ValueError(f"flip probability is {probability}: expected 0 to 1")
    return torch.where(random.uniform() < probability, images.flip(3), images)


def shift(images: Tensor, random: RandomNumbers, pixels: int) -> Tensor:
    """Move images by up to `pixels` in each direction and fill with zeros.

    The same as a random crop of the image padded by `pixels`.

    Raises:
        ValueError: `pixels` is below 0.
    """
    if pixels < 0:
        raise ValueError(f"the padding is {pixels} px: expected at least 0")
    height, width = images.shape[2:]
    dy = random.integer(-pixels, pixels)
    dx = random.integer(-pixels, pixels)
    # One zero on each side is enough: indices beyond it are clamped to it.
    padded = F.pad(images, (1, 1, 1, 1))
    rows = torch.arange(height, device=images.device).view(1, -1, 1) + dy + 1
    columns = torch.arange(width, device=images.device).view(1, 1, -1) + dx + 1
    rows = rows.clamp(0, height + 1)
    columns = columns.clamp(0, width + 1)
    batch = torch.arange(len(images), device=images.device).view(-1, 1, 1)
    shifted = padded.permute(0, 2, 3, 1)[batch, rows, columns]
    return shifted.permute(0, 3, 1, 2)


def cutout(images: Tensor, random: RandomNumbers, ratio: float) -> Tensor:
    """Set a box of `ratio` of each side to zero, with its centre anywhere in the image."""
    height, width = images.shape[2:]
    box_height = int(height * ratio + 0.5)
    box_width = int(width * ratio + 0.5)
    top = random.integer(0, height - box_height % 2) - box_height // 2
    left = random.integer(0, width - box_width % 2) - box_width // 2
    bottom = top + box_height
    right = left + box_width
    boxes = torch.cat([top / height, left / width, bottom / height, right / width], 1)
    return images.masked_fill(views.inside(boxes.squeeze(2), height, width), 0)


def scale(images: Tensor, random: RandomNumbers, ratio: float) -> Tensor:
    """Scale height and width by two factors, uniform in 1/ratio … ratio; zeros outside."""
    span = ratio - 1 / ratio
    sy = 1 / ratio + span * random.uniform().flatten()
    sx = 1 / ratio + span * random.uniform().flatten()
    zero = torch.zeros_like(sy)
    return _affine(images, torch.stack([sx, zero, zero, zero, sy, zero], 1))


def rotate(images: Tensor, random: RandomNumbers, degrees: float) -> Tensor:
    """Rotate by an angle uniform in −degrees … degrees; zeros outside."""
    angle = (2 * random.uniform().flatten() - 1) * degrees * math.pi / 180
    cos = angle.cos()
    sin = angle.sin()
    zero = torch.zeros_like(angle)
    return _affine(images, torch.stack([cos, -sin, zero, sin, cos, zero], 1))


def _affine(images: Tensor, theta: Tensor) -> Tensor:
    """Sample images at the affine transform theta [B, 6], bilinearly, with zeros outside."""
    grid = F.affine_grid(theta.view(-1, 2, 3), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
