"""RandAugment (Cubuk et al. 2020) of batches of bytes, by torchvision's operations.

Every image draws its own operations. The images with one operation and one sign are changed
together.
"""

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as tv

# Changes images uint8 [n, C, H, W] by a strength.
Operation = Callable[[Tensor, float], Tensor]
# Strengths run in this many steps from nothing to the largest.
NUM_STEPS = 31


def rand_augment(images: Tensor, seed: int, *, operations: int, magnitude: int) -> Tensor:
    """Apply `operations` random operations in turn to each image, uint8 [B, C, H, W].

    `magnitude` is a step from 0 to 30 of the strengths of torchvision's `RandAugment`.

    Raises:
        ValueError: `operations` is below 1, or `magnitude` is not in 0 … 30.
    """
    if operations < 1 or not 0 <= magnitude < NUM_STEPS:
        raise ValueError(
            f"operations is {operations} and magnitude {magnitude}: expected at least 1, and 0 to "
            f"{NUM_STEPS - 1}"
        )
    strengths = _strengths(magnitude, *images.shape[2:])
    changes = [(name, sign) for name in strengths for sign in (1, -1)]
    host = np.random.default_rng(seed)
    device = torch.Generator(images.device).manual_seed(seed)
    for _ in range(operations):
        # How many images get each change, and which: together each image draws its own.
        counts = host.multinomial(len(images), [1 / len(changes)] * len(changes))
        order = torch.randperm(len(images), generator=device, device=images.device)
        parts = []
        groups = torch.split(images[order], counts.tolist())
        for (name, sign), part in zip(changes, groups, strict=True):
            strength = strengths[name] * (sign if name in SIGNED else 1)
            parts.append(OPERATIONS[name](part, strength) if len(part) else part)
        images = torch.cat(parts)[order.argsort()]
    return images


def _strengths(magnitude: int, height: int, width: int) -> dict[str, float]:
    """Return the strength of every operation, by its name in torchvision's `RandAugment`."""
    share = magnitude / (NUM_STEPS - 1)
    return {
        "identity": 0.0,
        "shear-x": 0.3 * share,
        "shear-y": 0.3 * share,
        "translate-x": 150 / 331 * width * share,
        "translate-y": 150 / 331 * height * share,
        "rotate": 30 * share,
        "brightness": 0.9 * share,
        "saturation": 0.9 * share,
        "contrast": 0.9 * share,
        "sharpness": 0.9 * share,
        "posterize": 8 - round(4 * share),
        "solarize": 255 * (1 - share),
        "autocontrast": 0.0,
        "equalize": 0.0,
    }


def _moved(
    images: Tensor,
    *,
    x: float = 0,
    y: float = 0,
    shear: tuple[float, float] = (0, 0),
    from_corner: bool = False,
) -> Tensor:
    """Translate by whole pixels and shear by degrees, with black around."""
    moved: Tensor = tv.affine(
        images,
        angle=0.0,
        translate=[int(x), int(y)],
        scale=1.0,
        shear=list(shear),
        interpolation=InterpolationMode.NEAREST,
        center=[0.0, 0.0] if from_corner else None,
    )
    return moved


def _degrees(slope: float) -> float:
    return math.degrees(math.atan(slope))


SIGNED = {
    "shear-x",
    "shear-y",
    "translate-x",
    "translate-y",
    "rotate",
    "brightness",
    "saturation",
    "contrast",
    "sharpness",
}
OPERATIONS: dict[str, Operation] = {
    "identity": lambda images, _: images,
    "shear-x": lambda images, s: _moved(images, shear=(_degrees(s), 0), from_corner=True),
    "shear-y": lambda images, s: _moved(images, shear=(0, _degrees(s)), from_corner=True),
    "translate-x": lambda images, s: _moved(images, x=s),
    "translate-y": lambda images, s: _moved(images, y=s),
    "rotate": lambda images, s: tv.rotate(images, s, InterpolationMode.NEAREST),
    "brightness": lambda images, s: tv.adjust_brightness(images, 1 + s),
    "saturation": lambda images, s: tv.adjust_saturation(images, 1 + s),
    "contrast": lambda images, s: tv.adjust_contrast(images, 1 + s),
    "sharpness": lambda images, s: tv.adjust_sharpness(images, 1 + s),
    "posterize": lambda images, bits: tv.posterize(images, int(bits)),
    "solarize": lambda images, level: tv.solarize(images, level),
    "autocontrast": lambda images, _: tv.autocontrast(images),
    "equalize": lambda images, _: tv.equalize(images),
}
