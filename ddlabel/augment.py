"""Batched augmentation of prepared images: `augment(images [B, C, H, W], seed, *, options) → images`.

Every image draws its own parameters; nothing loops over images and nothing waits for the device.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from ddlabel.errors import UsageError
from ddlabel.registry import Registry

Augment = Callable[[Tensor, int], Tensor]
augmentations: Registry[Callable[..., Tensor]] = Registry("augmentation")


def augment_of(spec: str, *, channels: int, size: int) -> Augment:
    """The augmentation of a spec, tried on black images [2, C, size, size] first.

    Raises:
        UsageError: for an unknown spec, or values that do not fit such images.
    """
    augment = augmentations.resolve(spec)
    try:
        for seed in range(6):  # mode s of DSA has six operations
            augment(torch.zeros(2, channels, size, size), seed)
    except (RuntimeError, ValueError, ZeroDivisionError) as error:
        raise UsageError(f"augmentation {spec!r} does not work on {size} px: {str(error).splitlines()[0]}") from error
    return augment


@augmentations.add
def none(images: Tensor, seed: int) -> Tensor:  # noqa: ARG001 - one signature for all
    """The images as they are."""
    return images


@augmentations.add
def flip_crop(images: Tensor, seed: int, *, flip_probability: float = 0.5, padding: int = 4) -> Tensor:
    """Horizontal flip, and a shift of up to `padding` pixels with zeros moved in: the field's standard for CIFAR."""
    draw = _Draw(images, seed)
    return shift(flip(images, draw, flip_probability), draw, padding)


@augmentations.add
def dsa(
    images: Tensor,
    seed: int,
    *,
    mode: Literal["s", "m"] = "s",
    flip_probability: float = 0.5,
    scale_ratio: float = 1.2,
    rotate_degrees: float = 15.0,
    crop_pad: float = 0.125,
    cutout_ratio: float = 0.5,
    brightness_ratio: float = 1.0,
    saturation_ratio: float = 2.0,
    contrast_ratio: float = 0.5,
) -> Tensor:
    """Differentiable siamese augmentation (Zhao & Bilen 2021; defaults of Label-Worth, Table 14).

    The operations are colour (brightness, then saturation, then contrast), crop, cutout, flip, scale and rotate.
    Mode s applies one of them, drawn anew for each batch, to the whole batch; mode m applies all in this order.
    """
    draw = _Draw(images, seed)

    def colour(x: Tensor) -> Tensor:
        x = brightness(x, draw, brightness_ratio)
        x = saturation(x, draw, saturation_ratio)
        return contrast(x, draw, contrast_ratio)

    operations: list[Callable[[Tensor], Tensor]] = [
        colour,
        lambda x: shift(x, draw, int(x.shape[2] * crop_pad + 0.5)),
        lambda x: cutout(x, draw, cutout_ratio),
        lambda x: flip(x, draw, flip_probability),
        lambda x: scale(x, draw, scale_ratio),
        lambda x: rotate(x, draw, rotate_degrees),
    ]
    if mode == "s":
        # Chosen on the host, from the seed: no device has to be asked which one it is.
        operations = [operations[seed % len(operations)]]
    for operation in operations:
        images = operation(images)
    return images


class _Draw:
    """Random numbers for the images of a batch, from one seed, on their device."""

    def __init__(self, images: Tensor, seed: int) -> None:
        self.device, self.count = images.device, len(images)
        self.generator = torch.Generator(images.device).manual_seed(seed)

    def uniform(self) -> Tensor:
        """One number in [0, 1) for each image: [B, 1, 1, 1]."""
        return torch.rand(self.count, 1, 1, 1, device=self.device, generator=self.generator)

    def integer(self, low: int, high: int) -> Tensor:
        """One integer in low … high for each image: [B, 1, 1]."""
        shape = (self.count, 1, 1)
        return torch.randint(low, high + 1, shape, device=self.device, generator=self.generator)


def brightness(images: Tensor, draw: _Draw, ratio: float) -> Tensor:
    """X + ratio·(u − 1/2)."""
    return images + ratio * (draw.uniform() - 0.5)


def saturation(images: Tensor, draw: _Draw, ratio: float) -> Tensor:
    """Distances from the pixel's mean over channels, times ratio·u."""
    mean = images.mean(1, keepdim=True)
    return mean + (images - mean) * (ratio * draw.uniform())


def contrast(images: Tensor, draw: _Draw, ratio: float) -> Tensor:
    """Distances from the image's mean, times ratio + u."""
    mean = images.mean((1, 2, 3), keepdim=True)
    return mean + (images - mean) * (ratio + draw.uniform())


def flip(images: Tensor, draw: _Draw, probability: float) -> Tensor:
    """Left and right exchanged with this probability."""
    return torch.where(draw.uniform() < probability, images.flip(3), images)


def shift(images: Tensor, draw: _Draw, pixels: int) -> Tensor:
    """Moved by up to `pixels` in each direction, zeros moved in: a crop of the padded image."""
    height, width = images.shape[2:]
    dy, dx = draw.integer(-pixels, pixels), draw.integer(-pixels, pixels)
    padded = F.pad(images, (1, 1, 1, 1))  # one zero on each side is all that clamped indices need
    rows = (torch.arange(height, device=images.device).view(1, -1, 1) + dy + 1).clamp(0, height + 1)
    columns = (torch.arange(width, device=images.device).view(1, 1, -1) + dx + 1).clamp(0, width + 1)
    batch = torch.arange(len(images), device=images.device).view(-1, 1, 1)
    return padded.permute(0, 2, 3, 1)[batch, rows, columns].permute(0, 3, 1, 2)


def cutout(images: Tensor, draw: _Draw, ratio: float) -> Tensor:
    """A square of `ratio` of the side set to zero, its centre anywhere in the image."""
    height, width = images.shape[2:]
    box_height, box_width = int(height * ratio + 0.5), int(width * ratio + 0.5)
    top = draw.integer(0, height - box_height % 2) - box_height // 2
    left = draw.integer(0, width - box_width % 2) - box_width // 2
    rows = torch.arange(height, device=images.device).view(1, -1, 1)
    columns = torch.arange(width, device=images.device).view(1, 1, -1)
    inside = (rows >= top) & (rows < top + box_height) & (columns >= left) & (columns < left + box_width)
    return images.masked_fill(inside[:, None], 0)


def scale(images: Tensor, draw: _Draw, ratio: float) -> Tensor:
    """Height and width each by its own factor, uniform in 1/ratio … ratio; zeros outside."""
    sy, sx = (1 / ratio + (ratio - 1 / ratio) * draw.uniform().flatten() for _ in range(2))
    zero = torch.zeros_like(sy)
    return _affine(images, torch.stack([sx, zero, zero, zero, sy, zero], 1))


def rotate(images: Tensor, draw: _Draw, degrees: float) -> Tensor:
    """By an angle uniform in −degrees … degrees; zeros outside."""
    angle = (2 * draw.uniform().flatten() - 1) * degrees * math.pi / 180
    cos, sin, zero = angle.cos(), angle.sin(), torch.zeros_like(angle)
    return _affine(images, torch.stack([cos, -sin, zero, sin, cos, zero], 1))


def _affine(images: Tensor, theta: Tensor) -> Tensor:
    grid = F.affine_grid(theta.view(-1, 2, 3), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
