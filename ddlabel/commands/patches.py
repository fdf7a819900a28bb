"""RDED's patches: drawn from real images, chosen by experts, and stitched to images."""

import math
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ddlabel.commands.selection import losses_of, unit_images
from ddlabel.core import rng
from ddlabel.core.config import SelectOptions
from ddlabel.core.errors import UsageError
from ddlabel.data.bundle import CHUNK, Bundle
from ddlabel.data.labels import Array
from ddlabel.data.scratch import scratch_array
from ddlabel.methods.labels import views
from ddlabel.training.labeler import Labeler


@dataclass(frozen=True, kw_only=True)
class PatchDraw:
    """How patches are drawn: options of the selector `rded`.

    Attributes:
        images: The number of images of each class that patches come from.
        crops: The number of boxes that are drawn of each image.
        low: The least share of an image's area that a box has.
        high: The largest share.
        ratio: The largest ratio of the sides of a box.
        shrink: Experts see a patch at 1/shrink of the side of the images.
    """

    images: int
    crops: int
    low: float
    high: float
    ratio: float
    shrink: int


def check_patches(draw: PatchDraw, factor: int, size: int, ipc: int) -> None:
    """Check the options of `rded` before any image is labelled.

    Raises:
        UsageError: One is out of its range, or the images cannot be cut into such patches.
    """
    areas_fit = 0 < draw.low <= draw.high <= 1
    if not (factor >= 1 and draw.crops >= 1 and areas_fit and draw.ratio >= 1):
        raise UsageError(
            f"rded: factor is {factor}, crops {draw.crops}, low {draw.low:g}, high {draw.high:g} "
            f"and ratio {draw.ratio:g}: expected factor, crops and ratio of at least 1 and "
            "0 < low ≤ high ≤ 1"
        )
    if size % factor:
        raise UsageError(
            f"rded: {size} px cannot be cut into {factor} × {factor} patches: take another factor"
        )
    if draw.images < ipc * factor**2:
        raise UsageError(
            f"rded: images is {draw.images}: expected at least the {ipc * factor**2} patches of "
            "each class, --ipc times factor²"
        )


def best_crops(
    bundle: Bundle, options: SelectOptions, experts: Labeler, rows: Array, draw: PatchDraw
) -> tuple[Array, Array]:
    """Return the least cross-entropy of random boxes of each image, and these boxes.

    The arrays are of all images, [N] and [N, 4], with values for `rows`.
    """
    generator = torch.Generator().manual_seed(rng.stream(options.seed, "rded"))
    size = bundle.images.shape[2]
    mean = torch.tensor(bundle.pixels.mean).view(1, -1, 1, 1)
    least = np.full(len(bundle), np.inf)
    best_boxes = np.zeros((len(bundle), 4), np.float32)
    for part in np.array_split(rows, math.ceil(len(rows) / CHUNK)):
        images = unit_images(bundle, part, options)
        uniform = partial(torch.rand, len(images), generator=generator)
        for _ in range(draw.crops):
            boxes = views.draw_boxes(
                uniform, size, size, low=draw.low, high=draw.high, ratio=draw.ratio
            )
            crops = views.crop(images, boxes.to(images.device))
            seen = _in_the_middle(crops, draw.shrink, mean)
            losses = losses_of(experts, seen, bundle.hard_labels[part])
            is_better = losses < least[part]
            least[part[is_better]] = losses[is_better]
            best_boxes[part[is_better]] = boxes.numpy()[is_better]
    return least, best_boxes


def best_rows(rows: Array, losses: Array, num_patches: int, ipc: int) -> Array:
    """Return the rows [ipc, num_patches] of a class whose patches make its images.

    The first patches are those of the `ipc` least losses, the second ones those of the next.
    """
    ranked = rows[np.argsort(losses[rows], kind="stable")]
    best = ranked[: ipc * num_patches]
    return best.reshape(num_patches, ipc).T


def _in_the_middle(images: Tensor, shrink: int, mean: Tensor) -> Tensor:
    """Return images [B, C, S, S] at 1/shrink of the side, in the middle of the mean colour.

    The public code pads normalised images with zeros, which are the mean colour.
    """
    if shrink == 1:
        return images
    small = F.avg_pool2d(images, shrink)
    canvas = mean.to(images).expand_as(images).clone()
    side = small.shape[2]
    start = (images.shape[2] - side) // 2
    canvas[:, :, start : start + side, start : start + side] = small
    return canvas


def stitched(
    bundle: Bundle, rows_of_images: Array, boxes: Array, factor: int, options: SelectOptions
) -> Array:
    """Return images [M, C, H, W] made of the crops `boxes` [N, 4] of rows [M, factor²]."""
    shape = (len(rows_of_images), *bundle.images.shape[1:])
    images = scratch_array(shape, bundle.images.dtype)
    for image, rows in zip(images, rows_of_images, strict=True):
        whole_images = unit_images(bundle, rows, options).cpu()
        crops = views.crop(whole_images, torch.from_numpy(boxes[rows]))
        patches = F.avg_pool2d(crops, factor)
        grid = patches.view(factor, factor, *patches.shape[1:])
        stitched = grid.permute(2, 0, 3, 1, 4).reshape(image.shape)
        if image.dtype == np.uint8:
            stitched = (stitched * 255).round()
        image[...] = stitched
    return images
