"""Mixing of images within a batch: `mix(images [B, C, H, W], seed, *, options) -> Mixed`.

The numbers that all images share are drawn on the host, the partners on the device, so that nothing
waits for the device.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ddlabel.core.registry import Registry, as_usage_error


@dataclass(frozen=True, kw_only=True)
class Mixed:
    """A mixed batch: images [B, C, H, W], partner [B] int64 and share [B] float32.

    Image i and its label consist of image i by `share[i]` and of image `partner[i]` by the rest.
    """

    images: Tensor
    partner: Tensor
    share: Tensor


Mix = Callable[[Tensor, int], Mixed]
mixes: Registry[Callable[..., Mixed]] = Registry("mixing")


def mix_of(spec: str) -> Mix:
    """Return the mixing of a spec. Tries it on black images first.

    Raises:
        UsageError: The spec is unknown, or a value is out of range.
    """
    mix = mixes.resolve(spec)
    black = torch.zeros(2, 1, 2, 2)
    with as_usage_error(f"mixing {spec!r} does not work"):
        mix(black, 0)
    return mix


@mixes.add
def none(images: Tensor, seed: int) -> Mixed:  # noqa: ARG001 - shared signature
    """Leave every image unmixed."""
    partner = torch.arange(len(images), device=images.device)
    return Mixed(images=images, partner=partner, share=_same_share(images, 1.0))


@mixes.add
def cutmix(images: Tensor, seed: int, *, alpha: float = 1.0, probability: float = 1.0) -> Mixed:
    """Paste a box of the partner, its area drawn from Beta(alpha, alpha) (Yun et al. 2019).

    One box is drawn for the whole batch and cut off at the border. `share` is the fraction of
    pixels that remain of the image.

    Raises:
        ValueError: `alpha` is not positive or `probability` is not in [0, 1].
    """
    host = np.random.default_rng(seed)
    side = math.sqrt(1 - _draw_share(host, alpha, probability))
    height, width = images.shape[2:]
    top, bottom = _draw_span(host, height, side)
    left, right = _draw_span(host, width, side)
    partner = _draw_partners(images, seed)
    mixed = images.clone()
    mixed[:, :, top:bottom, left:right] = images[:, :, top:bottom, left:right][partner]
    share = 1 - (bottom - top) * (right - left) / (height * width)
    return Mixed(images=mixed, partner=partner, share=_same_share(images, share))


@mixes.add
def mixup(images: Tensor, seed: int, *, alpha: float = 0.8, probability: float = 1.0) -> Mixed:
    """Return λ·image + (1 − λ)·partner, λ drawn from Beta(alpha, alpha) (Zhang et al. 2018).

    One λ is drawn for the whole batch. The default of `alpha` is SRe2L's.

    Raises:
        ValueError: `alpha` is not positive or `probability` is not in [0, 1].
    """
    share = _draw_share(np.random.default_rng(seed), alpha, probability)
    partner = _draw_partners(images, seed)
    mixed = images[partner].lerp(images, share)
    return Mixed(images=mixed, partner=partner, share=_same_share(images, share))


def _draw_share(host: np.random.Generator, alpha: float, probability: float) -> float:
    """Draw λ from Beta(alpha, alpha) with this probability, else return 1: no mixing."""
    if not (alpha > 0 and 0 <= probability <= 1):
        raise ValueError(
            f"alpha {alpha}, probability {probability}: expected alpha > 0, probability from 0 to 1"
        )
    if host.random() < probability:
        return float(host.beta(alpha, alpha))
    return 1.0


def _draw_span(host: np.random.Generator, num_pixels: int, side: float) -> tuple[int, int]:
    """Draw where the box of length `side`, as a fraction of the image, starts and ends.

    The length is rounded down to an even number of pixels, as in Yun's code.
    """
    half = int(num_pixels * side) // 2
    centre = int(host.integers(num_pixels))
    return max(centre - half, 0), min(centre + half, num_pixels)


def _draw_partners(images: Tensor, seed: int) -> Tensor:
    generator = torch.Generator(images.device).manual_seed(seed)
    return torch.randperm(len(images), device=images.device, generator=generator)


def _same_share(images: Tensor, share: float) -> Tensor:
    return torch.full((len(images),), share, device=images.device)
