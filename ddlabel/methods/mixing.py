"""Mixing the images of a batch with each other: `mix(images [B, C, H, W], seed, *, options) → Mixed`.

Numbers for the whole batch are drawn on the host, the partners on the device: nothing waits for it.
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
    """A mixed batch: image i is `share[i]` of itself and 1 − `share[i]` of image `partner[i]`, and so is its label."""

    images: Tensor  # [B, C, H, W]
    partner: Tensor  # [B] int64
    share: Tensor  # [B] float32


Mix = Callable[[Tensor, int], Mixed]
mixes: Registry[Callable[..., Mixed]] = Registry("mixing")


def mix_of(spec: str) -> Mix:
    """The mixing of a spec, tried on black images first; UsageError for an unknown one, or values out of range."""
    mix = mixes.resolve(spec)
    with as_usage_error(f"mixing {spec!r} does not work"):
        mix(torch.zeros(2, 1, 2, 2), 0)
    return mix


@mixes.add
def none(images: Tensor, seed: int) -> Mixed:  # noqa: ARG001 - one signature for all
    """Every image by itself."""
    partner = torch.arange(len(images), device=images.device)
    return Mixed(images=images, partner=partner, share=_share(images, 1.0))


@mixes.add
def cutmix(images: Tensor, seed: int, *, alpha: float = 1.0, probability: float = 1.0) -> Mixed:
    """A box of the partner pasted in, one box for the batch, its area from Beta(alpha, alpha) (Yun et al. 2019).

    The box is cut off at the border, and `share` is what is left of the image in pixels.
    """
    host = np.random.default_rng(seed)
    side = math.sqrt(1 - _kept(host, alpha, probability))
    height, width = images.shape[2:]
    (top, bottom), (left, right) = _span(host, height, side), _span(host, width, side)
    partner = _partner(images, seed)
    mixed = images.clone()
    mixed[:, :, top:bottom, left:right] = images[:, :, top:bottom, left:right][partner]
    share = 1 - (bottom - top) * (right - left) / (height * width)
    return Mixed(images=mixed, partner=partner, share=_share(images, share))


@mixes.add
def mixup(images: Tensor, seed: int, *, alpha: float = 0.8, probability: float = 1.0) -> Mixed:
    """λ·image + (1 − λ)·partner, one λ from Beta(alpha, alpha) for the batch (Zhang et al. 2018; 0.8 is SRe2L's)."""
    share = _kept(np.random.default_rng(seed), alpha, probability)
    partner = _partner(images, seed)
    return Mixed(
        images=images[partner].lerp(images, share), partner=partner, share=_share(images, share)
    )


def _kept(host: np.random.Generator, alpha: float, probability: float) -> float:
    """λ from Beta(alpha, alpha) with this probability, else 1: the batch stays as it is."""
    if not (alpha > 0 and 0 <= probability <= 1):
        raise ValueError(
            f"alpha {alpha}, probability {probability}: expected alpha > 0, probability from 0 to 1"
        )
    return float(host.beta(alpha, alpha)) if host.random() < probability else 1.0


def _span(host: np.random.Generator, pixels: int, side: float) -> tuple[int, int]:
    """Where the box begins and ends: `side` of the image, rounded down to an even number of pixels as in Yun's code."""
    half, centre = int(pixels * side) // 2, int(host.integers(pixels))
    return max(centre - half, 0), min(centre + half, pixels)


def _partner(images: Tensor, seed: int) -> Tensor:
    generator = torch.Generator(images.device).manual_seed(seed)
    return torch.randperm(len(images), device=images.device, generator=generator)


def _share(images: Tensor, value: float) -> Tensor:
    return torch.full((len(images),), value, device=images.device)
