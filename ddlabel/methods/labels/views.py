"""View layouts: where the views of images lie, and how they are changed and cut out.

A layout is `layout(num_images, height, width, seed, *, options) → Views`.
"""

import math
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from ddlabel.core.errors import UsageError
from ddlabel.core.registry import Registry
from ddlabel.data.bundle import CHUNK
from ddlabel.data.labels import Array, Views
from ddlabel.data.schema import require
from ddlabel.data.scratch import scratch_array

layouts: Registry[Callable[..., Views]] = Registry("view layout")


@layouts.add
def grid(
    num_images: int,  # noqa: ARG001 - one signature for all layouts
    height: int,
    width: int,
    seed: int,  # noqa: ARG001
    *,
    n: int = 5,
    r: float = 0.625,
) -> Views:
    """LADD's N × N overlapping sub-images: one grid for all images, row by row from the top-left.

    Each view covers round(r·side) pixels of a side; the stride is (side − view)/(N − 1) (LADD,
    section 3.1: 25 views of 80 px at stride 12 for 128 px, N = 5, R = 62.5 %). Where the stride is
    not whole, positions up to the middle are rounded to the nearest pixel (half down) and the
    positions after it mirror them.

    Raises:
        UsageError: A view would be smaller than one pixel, or two views would be the same.
    """
    rows = _grid_spans(n=n, r=r, side=height)
    columns = _grid_spans(n=n, r=r, side=width)
    boxes = [[top, left, bottom, right] for top, bottom in rows for left, right in columns]
    sides = np.array([height, width, height, width], np.float32)
    return Views(boxes=np.array(boxes, np.float32) / sides)


@layouts.named("random")
def random_boxes(
    num_images: int,
    height: int,
    width: int,
    seed: int,
    *,
    count: int = 25,
    low: float = 0.25,
    high: float = 1.0,
) -> Views:
    """Random boxes of each image: `count` boxes of `low` … `high` of its area (Szegedy et al.).

    A box is 3/4 to 4/3 as wide as high.

    Raises:
        UsageError: An option is out of its range.
    """
    if not (count >= 1 and 0 < low <= high <= 1):
        given = f"views: count is {count}, low {low} and high {high}"
        raise UsageError(f"{given}: expected count ≥ 1 and 0 < low ≤ high ≤ 1")
    generator = torch.Generator().manual_seed(seed)
    boxes = scratch_array((num_images, count, 4), np.float32)
    for start in range(0, num_images, CHUNK):
        block = boxes[start : start + CHUNK]
        num_boxes = len(block) * count

        def uniform(numbers: int, num_boxes: int = num_boxes) -> Tensor:
            return torch.rand(num_boxes, numbers, generator=generator)

        drawn = draw_boxes(uniform, height, width, low=low, high=high)
        block[:] = drawn.view(block.shape).numpy()
    return Views(boxes=boxes)


@layouts.add
def fkd(
    num_images: int,
    height: int,
    width: int,
    seed: int,
    *,
    count: int = 25,
    low: float = 0.08,
    high: float = 1.0,
    flip: float = 0.5,
    mix: Literal["cutmix", "mixup", "none"] = "cutmix",
    alpha: float = 1.0,
) -> Views:
    """Augmented views as SRe2L's FKD stores them: a random box, flipped, blended with another view.

    The views of one number are a batch of FKD: their partners are a random permutation (of each 512
    images), λ is from Beta(alpha, alpha) and the region of CutMix is square and cut off at the
    border (Yun et al. 2019), but each view draws its own. The weight is the view's own share of
    pixels.

    Raises:
        UsageError: An option is out of its range.
    """
    require(
        0 <= flip <= 1 and alpha > 0,
        f"fkd: flip is {flip} and alpha {alpha}: expected 0 ≤ flip ≤ 1 and alpha > 0",
        UsageError,
    )
    shape = (num_images, count)
    views = random_boxes(num_images, height, width, seed, count=count, low=low, high=high)
    views = replace(views, flip=scratch_array(shape, np.uint8))
    if mix != "none":
        views = replace(
            views,
            mix=scratch_array(shape, np.int64),
            mix_weight=scratch_array(shape, np.float32),
            mix_box=scratch_array((*shape, 4), np.float32) if mix == "cutmix" else None,
        )
    generator = np.random.default_rng(seed)
    for start in range(0, num_images, CHUNK):
        block = {name: array[start : start + CHUNK] for name, array in views.arrays()}
        block["flip"][:] = generator.random(block["flip"].shape) < flip
        if mix != "none":
            _draw_blends(block, start, (height, width), generator, alpha)
    return views


def _draw_blends(
    block: dict[str, Array],
    start: int,
    size: tuple[int, int],
    generator: np.random.Generator,
    alpha: float,
) -> None:
    """Fill in partners, weights and CutMix's regions for a chunk of images.

    Partners are of the same chunk, so that it can be labelled by itself.
    """
    partner = block["mix"]
    for view in range(partner.shape[1]):
        partner[:, view] = start + generator.permutation(len(partner))
    weight = generator.beta(alpha, alpha, partner.shape)
    if "mix_box" in block:
        half = (np.sqrt(1 - weight)[..., None] * size).astype(np.int64) // 2
        middle = (generator.random((*partner.shape, 2)) * size).astype(np.int64)
        first = np.clip(middle - half, 0, size)
        last = np.clip(middle + half, 0, size)
        weight = 1 - (last - first).prod(-1) / math.prod(size)
        block["mix_box"][:] = np.concatenate([first, last], -1) / (*size, *size)
    block["mix_weight"][:] = weight


def draw_boxes(
    uniform: Callable[[int], Tensor],
    height: int,
    width: int,
    *,
    low: float,
    high: float,
    ratio: float = 4 / 3,
) -> Tensor:
    """Draw boxes [B, 4] of `low` … `high` of the area, as torchvision's RandomResizedCrop does.

    Width / height is log-uniform in 1/ratio … ratio. The first of ten boxes that fits is taken; if
    none fits, the largest centred box that keeps to the ratio. `uniform(n)` returns numbers [B, n]
    in [0, 1).
    """
    area = height * width * (low + (high - low) * uniform(10))
    aspect = ratio ** (2 * uniform(10) - 1)
    heights = (area / aspect).sqrt().round()
    widths = (area * aspect).sqrt().round()
    fits = (heights > 0) & (heights <= height) & (widths > 0) & (widths <= width)
    first = fits.int().argmax(1, keepdim=True)
    any_fits = fits.gather(1, first)

    def span(sizes: Tensor, side: int, other_side: int) -> tuple[Tensor, Tensor]:
        fallback = min(side, round(other_side * ratio))
        size = torch.where(any_fits, sizes.gather(1, first), fallback)
        room = side - size
        # The minimum: in float32 the product can round up to room + 1.
        random_start = (uniform(1) * (room + 1)).minimum(room)
        start = torch.where(any_fits, random_start, room / 2).floor()
        return start / side, (start + size) / side

    top, bottom = span(heights, height, width)
    left, right = span(widths, width, height)
    return torch.cat([top, left, bottom, right], 1)


def inside(boxes: Tensor, height: int, width: int) -> Tensor:
    """Return which pixels [B, 1, H, W] lie in boxes [B, 4] of fractions."""
    rows = _between(boxes[:, 0], boxes[:, 2], height)
    columns = _between(boxes[:, 1], boxes[:, 3], width)
    return (rows[:, :, None] & columns[:, None])[:, None]


def _between(low: Tensor, high: Tensor, side: int) -> Tensor:
    """Return which pixels [B, side] lie between two fractions [B] of a side."""
    pixels = torch.arange(side, device=low.device)
    first = (low * side).round()[:, None]
    last = (high * side).round()[:, None]
    return (pixels >= first) & (pixels < last)


def crop(images: Tensor, boxes: Tensor) -> Tensor:
    """Cut box b out of image b and resize it to the image's size.

    images [B, C, H, W], boxes [B, 4] → [B, C, H, W]. Bilinear with half-pixel centres, as torch's
    `interpolate(align_corners=False)` on the crop alone: nothing from outside the box enters. It is
    written as two small matrix products, one for rows and one for columns, so that every image of a
    batch can have another box.
    """
    rows = _interpolation_weights(boxes[:, 0], boxes[:, 2], images.shape[2])
    columns = _interpolation_weights(boxes[:, 1], boxes[:, 3], images.shape[3])
    return torch.einsum("bih,bchw,bjw->bcij", rows, images, columns)


def _interpolation_weights(low: Tensor, high: Tensor, side: int) -> Tensor:
    """Return weights [B, side, side]: how much each source pixel gives to each target pixel."""
    start = (low * side).round()[:, None]
    stop = (high * side).round()[:, None]
    pixels = torch.arange(side, device=low.device, dtype=low.dtype)
    source = start + (pixels + 0.5) * (stop - start) / side - 0.5
    source = torch.minimum(torch.maximum(source, start), stop - 1)
    return (1 - (source[:, :, None] - pixels).abs()).clamp_min(0)


def _grid_spans(*, n: int, r: float, side: int) -> list[tuple[int, int]]:
    """Return the first pixel and the end of each of the N views along a side."""
    require(
        n >= 1 and 0 < r <= 1,
        f"grid: n is {n} and r is {r}: expected n ≥ 1 and 0 < r ≤ 1",
        UsageError,
    )
    view = round(r * side)
    require(
        view >= 1,
        f"grid: r is {r}: a view of an image of {side} px has less than one pixel; use a larger r",
        UsageError,
    )
    room = side - view
    require(
        n <= room + 1,
        f"grid: n is {n} and r is {r}: at most {room + 1} different positions fit in {side} px",
        UsageError,
    )
    starts = [_grid_start(number, n, room) for number in range(n)]
    return [(start, start + view) for start in starts]


def _grid_start(number: int, n: int, room: int) -> int:
    """Return the first pixel of view `number` of n: its share of the room, rounded alike."""
    if n == 1:
        return room // 2
    if number >= math.ceil(n / 2):
        return room - _grid_start(n - 1 - number, n, room)
    # Round half down, in whole numbers: ceil(number·room/(n − 1) − 1/2).
    return math.ceil(Fraction(number * room, n - 1) - Fraction(1, 2))
