"""Augmentation of prepared images: `augment(images [B, C, H, W], seed, *, options) -> images`.

Every image draws its own parameters. Nothing loops over images or waits for the device.
"""

import inspect
import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor

from ddlabel.core import rng
from ddlabel.core.registry import Registry, as_usage_error, with_options_of
from ddlabel.methods import image_operations as operations
from ddlabel.methods.labels import views
from ddlabel.methods.nets.prepare import Prepare

Augment = Callable[[Tensor, int], Tensor]
augmentations: Registry[Callable[..., Tensor]] = Registry("augmentation")

_DSA_OPERATIONS = ("colour", "crop", "cutout", "flip", "scale", "rotate")
_DIFFAUG_CHOICES = ("crop", "scale", "rotate")


def augment_of(spec: str, *, channels: int, size: int, prepare: Prepare | None = None) -> Augment:
    """Return the augmentation of a spec; `flip+crop` applies several in turn.

    `prepare` is the layer that prepared the images; without it they are in unit space. The
    augmentation is tried on black images [2, channels, size, size] first.

    Raises:
        UsageError: The spec is unknown, or its values do not fit such images.
    """
    # Only a + before a letter joins two parts: 1e+3 is a number.
    parts = [_part_of(part, prepare) for part in re.split(r"\+(?=\s*[a-zA-Z])", spec)]
    device = None if prepare is None else prepare.mean.device
    black = torch.zeros(2, channels, size, size, device=device)
    with as_usage_error(f"augmentation {spec!r} does not work on {size} px"):
        for part in parts:
            # These seeds select each of DSA's operations in mode s once.
            for seed in range(len(_DSA_OPERATIONS)):
                part(black, seed)

    def apply_in_turn(images: Tensor, seed: int) -> Tensor:
        for index, part in enumerate(parts):
            images = part(images, rng.stream(seed, "part", index))
        return images

    return parts[0] if len(parts) == 1 else apply_in_turn


def _part_of(spec: str, prepare: Prepare | None) -> Callable[..., Tensor]:
    """Return one augmentation, with the layer that prepared the images if it asks for it."""
    part = augmentations.resolve(spec)
    if "prepare" not in inspect.signature(part).parameters:
        return part
    # Numbers without axes go with images on any device.
    return partial(part, prepare=prepare or Prepare(torch.tensor(0.0), torch.tensor(1.0)))


@augmentations.add
def none(images: Tensor, seed: int) -> Tensor:  # noqa: ARG001 - shared signature
    """Return the images unchanged."""
    return images


@augmentations.add
def flip(images: Tensor, seed: int, *, probability: float = 0.5) -> Tensor:
    """Flip images from left to right (`flip+crop` is standard for CIFAR, He et al. 2016).

    Raises:
        ValueError: The probability is not in [0, 1].
    """
    return operations.flip(images, operations.RandomNumbers(images, seed), probability)


@augmentations.add
def crop(images: Tensor, seed: int, *, padding: int = 4) -> Tensor:
    """Pad with `padding` zeros on each side and cut a window of the old size (He et al. 2016)."""
    return operations.shift(images, operations.RandomNumbers(images, seed), padding)


@augmentations.add
def random_resized_crop(
    images: Tensor, seed: int, *, low: float = 0.08, high: float = 1.0, ratio: float = 4 / 3
) -> Tensor:
    """Resize a box of `low` … `high` of the area to the image's size (Szegedy et al. 2015).

    Used by SRe2L and RDED. Boxes are drawn as by torchvision's RandomResizedCrop: see
    `views.draw_boxes`.

    Raises:
        ValueError: The options do not satisfy 0 < low <= high <= 1 <= ratio.
    """
    if not (0 < low <= high <= 1 <= ratio):
        raise ValueError(
            f"low {low:g}, high {high:g}, ratio {ratio:g}: expected 0 < low <= high <= 1 <= ratio"
        )
    random = operations.RandomNumbers(images, seed)
    height, width = images.shape[2:]
    boxes = views.draw_boxes(random.uniform, height, width, low=low, high=high, ratio=ratio)
    return views.crop(images, boxes)


@augmentations.add
def patch_shuffle(images: Tensor, seed: int, *, factor: int = 2, strips: bool = False) -> Tensor:
    """Put the factor × factor patches of each image in random order (RDED).

    RDED composes its images of such patches. With `strips` only whole rows and whole columns of
    patches change places, as in RDED's public code: patches of one row stay together, so that a
    factor of 2 gives 4 orders instead of 24.

    Raises:
        ValueError: The image cannot be cut into factor × factor equal patches.
    """
    num_images, channels, height, width = images.shape
    _check_patches(height, width, factor)
    order = _patch_order(operations.RandomNumbers(images, seed), factor, strips=strips)
    patch_height = height // factor
    patch_width = width // factor
    grid = images.reshape(num_images, channels, factor, patch_height, factor, patch_width)
    patches = grid.permute(0, 2, 4, 1, 3, 5).flatten(1, 2)
    batch = torch.arange(num_images, device=images.device)[:, None]
    shuffled = patches[batch, order]
    grid = shuffled.reshape(num_images, factor, factor, channels, patch_height, patch_width)
    return grid.permute(0, 3, 1, 4, 2, 5).reshape(images.shape)


def _check_patches(height: int, width: int, factor: int) -> None:
    if factor < 1 or height % factor or width % factor:
        raise ValueError(
            f"{height} x {width} px cannot be cut into {factor} x {factor} equal patches"
        )


def _patch_order(random: operations.RandomNumbers, factor: int, *, strips: bool) -> Tensor:
    """Draw for each image which of its patches stands where: numbers [B, factor²]."""
    if not strips:
        return random.uniform(factor**2).argsort(1)
    rows = random.uniform(factor, 1).argsort(1)
    columns = random.uniform(1, factor).argsort(2)
    return (rows * factor + columns).flatten(1)


@augmentations.add
def patch_crop(images: Tensor, seed: int, *, factor: int = 2) -> Tensor:
    """Resize one of the factor × factor patches of an image to its size (GIFT's public code).

    The patch is drawn for each image, with probability 1 − 1/factor²; otherwise the image stays
    whole.

    Raises:
        ValueError: The image cannot be cut into factor × factor equal patches.
    """
    height, width = images.shape[2:]
    _check_patches(height, width, factor)
    random = operations.RandomNumbers(images, seed)
    is_whole = random.uniform(1) < 1 / factor**2
    first = (random.uniform(2) * factor).floor() / factor
    start = torch.where(is_whole, 0, first)
    side = torch.where(is_whole, 1, 1 / factor)
    return views.crop(images, torch.cat([start, start + side], 1))


@augmentations.add
def rand_augment(
    images: Tensor, seed: int, *, prepare: Prepare, operations: int = 2, magnitude: int = 9
) -> Tensor:
    """Apply random operations of torchvision's RandAugment to each image (Cubuk et al. 2020; EDC).

    They work on bytes: the preparation of the images is undone before, and pixels outside of black
    and white are cut off. `magnitude` is a step from 0 to 30.

    Raises:
        ValueError: `operations` is below 1, or `magnitude` is not in 0 … 30.
    """
    # torchvision's operations: importing them takes as long as importing torch.
    from ddlabel.methods import rand_augment as bytes_operations

    levels: Tensor = (prepare.undo(images) * 255).round().clamp(0, 255).to(torch.uint8)
    changed = bytes_operations.rand_augment(
        levels, seed, operations=operations, magnitude=magnitude
    )
    prepared: Tensor = prepare(changed.float() / 255)
    return prepared


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
    """Apply the named operations in turn; colour is brightness, then saturation, then contrast."""
    operations_of: dict[
        str, list[tuple[Callable[[Tensor, operations.RandomNumbers, Any], Tensor], float]]
    ] = {
        "colour": [
            (operations.brightness, brightness_ratio),
            (operations.saturation, saturation_ratio),
            (operations.contrast, contrast_ratio),
        ],
        "crop": [(operations.shift, int(images.shape[2] * crop_pad + 0.5))],
        "cutout": [(operations.cutout, cutout_ratio)],
        "flip": [(operations.flip, flip_probability)],
        "scale": [(operations.scale, scale_ratio)],
        "rotate": [(operations.rotate, rotate_degrees)],
    }
    random = operations.RandomNumbers(images, seed)
    for name in names:
        for operation, strength in operations_of[name]:
            images = operation(images, random, strength)
    return images


@augmentations.add
@with_options_of(_siamese)
def dsa(images: Tensor, seed: int, *, mode: Literal["s", "m"] = "s", **ranges: float) -> Tensor:
    """Differentiable siamese augmentation (Zhao & Bilen 2021; defaults of GIFT, Table 14).

    The operations are colour (brightness, then saturation, then contrast), crop, cutout, flip,
    scale and rotate. Mode s draws one of them for each batch and applies it to the whole batch.
    Mode m applies all of them in this order.
    """
    if mode == "m":
        return _siamese(images, seed, _DSA_OPERATIONS, **ranges)
    # Chosen on the host, from the seed: the choice does not wait for the device.
    index = seed % len(_DSA_OPERATIONS)
    return _siamese(images, seed, [_DSA_OPERATIONS[index]], **ranges)


@augmentations.add
@with_options_of(_siamese)
def diffaug(images: Tensor, seed: int, **ranges: float) -> Tensor:
    """DSA's operations as in GIFT's code: flip, colour, one of crop, scale and rotate, then cutout.

    The one is drawn for each batch and applied to the whole batch. The others are always applied.
    """
    index = seed % len(_DIFFAUG_CHOICES)
    names = ["flip", "colour", _DIFFAUG_CHOICES[index], "cutout"]
    return _siamese(images, seed, names, **ranges)
