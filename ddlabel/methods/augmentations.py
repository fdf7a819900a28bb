"""Batched augmentation of prepared images: `augment(images [B, C, H, W], seed, *, options) → images`.

Every image draws its own parameters; nothing loops over images and nothing waits for the device.
"""

import math
import re
from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from ddlabel.core import rng
from ddlabel.core.registry import Registry, as_usage_error, with_options_of
from ddlabel.methods.labels import views

Augment = Callable[[Tensor, int], Tensor]
augmentations: Registry[Callable[..., Tensor]] = Registry("augmentation")


def augment_of(spec: str, *, channels: int, size: int) -> Augment:
    """The augmentation of a spec, or several in turn: `flip+crop`; tried on black images [2, C, size, size] first.

    UsageError for an unknown spec, or values that do not fit such images.
    """
    # Only a + before a letter joins two parts: 1e+3 is a number.
    parts = [augmentations.resolve(part) for part in re.split(r"\+(?=\s*[a-zA-Z])", spec)]
    with as_usage_error(f"augmentation {spec!r} does not work on {size} px"):
        for part in parts:
            for seed in range(6):  # mode s of DSA has six operations
                part(torch.zeros(2, channels, size, size), seed)

    def in_turn(images: Tensor, seed: int) -> Tensor:
        for index, part in enumerate(parts):
            images = part(images, rng.stream(seed, "part", index))
        return images

    return parts[0] if len(parts) == 1 else in_turn


@augmentations.add
def none(images: Tensor, seed: int) -> Tensor:  # noqa: ARG001 - one signature for all
    """The images as they are."""
    return images


@augmentations.add
def flip(images: Tensor, seed: int, *, probability: float = 0.5) -> Tensor:
    """Left and right exchanged; `flip+crop` is the field's standard for CIFAR (He et al. 2016)."""
    return _flip(images, _Draw(images, seed), probability)


@augmentations.add
def crop(images: Tensor, seed: int, *, padding: int = 4) -> Tensor:
    """A window of the image padded with `padding` zeros on each side, of the image's size (He et al. 2016)."""
    return _shift(images, _Draw(images, seed), padding)


@augmentations.add
def random_resized_crop(
    images: Tensor, seed: int, *, low: float = 0.08, high: float = 1.0, ratio: float = 4 / 3
) -> Tensor:
    """A box of `low` … `high` of the area, resized to the image's size (Szegedy et al. 2015; used by SRe2L, RDED).

    As torchvision's RandomResizedCrop: see `views.draw_boxes`.
    """
    if not (0 < low <= high <= 1 <= ratio):
        raise ValueError(
            f"low {low}, high {high}, ratio {ratio}: expected 0 < low <= high <= 1 <= ratio"
        )
    boxes = views.draw_boxes(
        _Draw(images, seed).uniform, *images.shape[2:], low=low, high=high, ratio=ratio
    )
    return views.crop(images, boxes)


@augmentations.add
def patch_shuffle(images: Tensor, seed: int, *, factor: int = 2, strips: bool = False) -> Tensor:
    """The image's factor × factor patches in random order (RDED, whose images are made of such patches).

    With `strips` only whole rows and whole columns of patches change places, as in RDED's public code: patches of one
    row stay together, so that a factor of 2 gives 4 orders instead of 24.
    """
    count, channels, height, width = images.shape
    if factor < 1 or height % factor or width % factor:
        raise ValueError(
            f"{height} x {width} px cannot be cut into {factor} x {factor} equal patches"
        )
    draw = _Draw(images, seed)
    if strips:
        rows, columns = draw.uniform(factor, 1).argsort(1), draw.uniform(1, factor).argsort(2)
        order = (rows * factor + columns).flatten(1)
    else:
        order = draw.uniform(factor**2).argsort(1)
    patches = images.reshape(count, channels, factor, height // factor, factor, width // factor)
    patches = patches.permute(0, 2, 4, 1, 3, 5).flatten(1, 2)
    shuffled = patches[torch.arange(count, device=images.device)[:, None], order]
    return (
        shuffled.reshape(count, factor, factor, *patches.shape[2:])
        .permute(0, 3, 1, 4, 2, 5)
        .reshape(images.shape)
    )


def _siamese(
    images: Tensor,
    seed: int,
    names: Sequence[str],
    *,
    flip_probability: float = 0.5,
    scale_ratio: float = 1.2,
    rotate_degrees: float = 15.0,
    crop_pad: float = 0.125,
    cutout_ratio: float = 0.5,
    brightness_ratio: float = 1.0,
    saturation_ratio: float = 2.0,
    contrast_ratio: float = 0.5,
) -> Tensor:
    """The operations of these names in turn; colour is brightness, then saturation, then contrast."""
    draw = _Draw(images, seed)
    operations: dict[str, list[tuple[Callable[[Tensor, _Draw, Any], Tensor], float]]] = {
        "colour": [
            (_brightness, brightness_ratio),
            (_saturation, saturation_ratio),
            (_contrast, contrast_ratio),
        ],
        "crop": [(_shift, int(images.shape[2] * crop_pad + 0.5))],
        "cutout": [(_cutout, cutout_ratio)],
        "flip": [(_flip, flip_probability)],
        "scale": [(_scale, scale_ratio)],
        "rotate": [(_rotate, rotate_degrees)],
    }
    for operation, amount in (each for name in names for each in operations[name]):
        images = operation(images, draw, amount)
    return images


@augmentations.add
@with_options_of(_siamese)
def dsa(images: Tensor, seed: int, *, mode: Literal["s", "m"] = "s", **ranges: float) -> Tensor:
    """Differentiable siamese augmentation (Zhao & Bilen 2021; defaults of GIFT, Table 14).

    The operations are colour (brightness, then saturation, then contrast), crop, cutout, flip, scale and rotate.
    Mode s applies one of them, drawn anew for each batch, to the whole batch; mode m applies all in this order.
    """
    names = ("colour", "crop", "cutout", "flip", "scale", "rotate")
    # Chosen on the host, from the seed: no device has to be asked which one it is.
    return _siamese(images, seed, names if mode == "m" else (names[seed % len(names)],), **ranges)


@augmentations.add
@with_options_of(_siamese)
def diffaug(images: Tensor, seed: int, **ranges: float) -> Tensor:
    """DSA's operations as GIFT's public code applies them: flip, colour, one of crop, scale and rotate, then cutout.

    The one is drawn anew for each batch and applied to the whole batch; the others are always applied.
    """
    return _siamese(
        images, seed, ("flip", "colour", ("crop", "scale", "rotate")[seed % 3], "cutout"), **ranges
    )


class _Draw:
    """Random numbers for the images of a batch, from one seed, on their device."""

    def __init__(self, images: Tensor, seed: int) -> None:
        self.device, self.count = images.device, len(images)
        self.generator = torch.Generator(images.device).manual_seed(seed)

    def uniform(self, *shape: int) -> Tensor:
        """Numbers in [0, 1) for each image: [B, *shape], or one number: [B, 1, 1, 1]."""
        return torch.rand(
            self.count, *(shape or (1, 1, 1)), device=self.device, generator=self.generator
        )

    def integer(self, low: int, high: int) -> Tensor:
        """One integer in low … high for each image: [B, 1, 1]."""
        return torch.randint(
            low, high + 1, (self.count, 1, 1), device=self.device, generator=self.generator
        )


def _brightness(images: Tensor, draw: _Draw, ratio: float) -> Tensor:
    """X + ratio·(u − 1/2)."""
    return images + ratio * (draw.uniform() - 0.5)


def _saturation(images: Tensor, draw: _Draw, ratio: float) -> Tensor:
    """Distances from the pixel's mean over channels, times ratio·u."""
    mean = images.mean(1, keepdim=True)
    return mean + (images - mean) * (ratio * draw.uniform())


def _contrast(images: Tensor, draw: _Draw, ratio: float) -> Tensor:
    """Distances from the image's mean, times ratio + u."""
    mean = images.mean((1, 2, 3), keepdim=True)
    return mean + (images - mean) * (ratio + draw.uniform())


def _flip(images: Tensor, draw: _Draw, probability: float) -> Tensor:
    """Left and right exchanged with this probability."""
    if not 0 <= probability <= 1:
        raise ValueError(f"flip probability is {probability}: expected 0 to 1")
    return torch.where(draw.uniform() < probability, images.flip(3), images)


def _shift(images: Tensor, draw: _Draw, pixels: int) -> Tensor:
    """Moved by up to `pixels` in each direction, zeros moved in: a crop of the padded image."""
    height, width = images.shape[2:]
    dy, dx = draw.integer(-pixels, pixels), draw.integer(-pixels, pixels)
    padded = F.pad(images, (1, 1, 1, 1))  # one zero on each side is all that clamped indices need
    rows = (torch.arange(height, device=images.device).view(1, -1, 1) + dy + 1).clamp(0, height + 1)
    columns = (torch.arange(width, device=images.device).view(1, 1, -1) + dx + 1).clamp(
        0, width + 1
    )
    batch = torch.arange(len(images), device=images.device).view(-1, 1, 1)
    return padded.permute(0, 2, 3, 1)[batch, rows, columns].permute(0, 3, 1, 2)


def _cutout(images: Tensor, draw: _Draw, ratio: float) -> Tensor:
    """A square of `ratio` of the side set to zero, its centre anywhere in the image."""
    height, width = images.shape[2:]
    box_height, box_width = int(height * ratio + 0.5), int(width * ratio + 0.5)
    top = draw.integer(0, height - box_height % 2) - box_height // 2
    left = draw.integer(0, width - box_width % 2) - box_width // 2
    box = torch.cat(
        [top / height, left / width, (top + box_height) / height, (left + box_width) / width], 1
    )
    return images.masked_fill(views.inside(box.squeeze(2), height, width), 0)


def _scale(images: Tensor, draw: _Draw, ratio: float) -> Tensor:
    """Height and width each by its own factor, uniform in 1/ratio … ratio; zeros outside."""
    sy, sx = (1 / ratio + (ratio - 1 / ratio) * draw.uniform().flatten() for _ in range(2))
    zero = torch.zeros_like(sy)
    return _affine(images, torch.stack([sx, zero, zero, zero, sy, zero], 1))


def _rotate(images: Tensor, draw: _Draw, degrees: float) -> Tensor:
    """By an angle uniform in −degrees … degrees; zeros outside."""
    angle = (2 * draw.uniform().flatten() - 1) * degrees * math.pi / 180
    cos, sin, zero = angle.cos(), angle.sin(), torch.zeros_like(angle)
    return _affine(images, torch.stack([cos, -sin, zero, sin, cos, zero], 1))


def _affine(images: Tensor, theta: Tensor) -> Tensor:
    grid = F.affine_grid(theta.view(-1, 2, 3), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
