"""Views of images: layouts say where they lie and how they are changed, and how they are cut out.

A layout is `layout(images, height, width, seed, *, options) → arrays`, the bundle's `dense_*` arrays without labels.
"""

import math
from collections.abc import Callable
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from ddlabel.core.errors import UsageError
from ddlabel.core.registry import Registry
from ddlabel.data.bundle import CHUNK, Array
from ddlabel.data.schema import require
from ddlabel.data.scratch import scratch_array

Arrays = dict[str, Array]
layouts: Registry[Callable[..., Arrays]] = Registry("view layout")


@layouts.add
def grid(
    images: int, height: int, width: int, seed: int, *, n: int = 5, r: float = 0.625
) -> Arrays:
    """LADD's N × N overlapping sub-images, one grid for all images, row by row from the top-left.

    Each view covers round(r·side) pixels of a side; the stride is (side − view)/(N − 1) (LADD, section 3.1: 25 views
    of 80 px at stride 12 for 128 px, N = 5, R = 62.5 %). Where the stride is not whole, positions up to the middle are
    rounded to the nearest pixel (half down) and those after it mirror them. UsageError if a view would be smaller than
    one pixel or N > 1 views cannot differ.
    """
    ys, xs = (_spans(n=n, r=r, side=side) for side in (height, width))
    boxes = [[y0, x0, y1, x1] for y0, y1 in ys for x0, x1 in xs]
    return {"dense_boxes": np.array(boxes, np.float32) / np.array([height, width] * 2, np.float32)}


@layouts.named("random")
def random_boxes(
    images: int,
    height: int,
    width: int,
    seed: int,
    *,
    count: int = 25,
    low: float = 0.25,
    high: float = 1.0,
) -> Arrays:
    """`count` boxes for each image, of `low` … `high` of its area and 3/4 to 4/3 as wide as high (Szegedy et al.)."""
    if not (count >= 1 and 0 < low <= high <= 1):
        raise UsageError(
            f"count {count}, low {low}, high {high}: expected count ≥ 1 and 0 < low ≤ high ≤ 1"
        )
    generator, boxes = (
        torch.Generator().manual_seed(seed),
        scratch_array((images, count, 4), np.float32),
    )
    for block in np.array_split(boxes, range(CHUNK, images, CHUNK)):  # views of it

        def uniform(numbers: int, rows: int = len(block) * count) -> Tensor:
            return torch.rand(rows, numbers, generator=generator)

        block[:] = draw_boxes(uniform, height, width, low=low, high=high).view(block.shape).numpy()
    return {"dense_boxes": boxes}


@layouts.add
def fkd(
    images: int,
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
) -> Arrays:
    """Augmented views as SRe2L's FKD stores them: a random box, flipped, blended with another image's view.

    Views of one number are a batch of FKD's: their partners are a random permutation (of each 500 images), λ is from
    Beta(alpha, alpha) and CutMix's region is square and cut off at the border (Yun et al. 2019), but each view draws
    its own. The weight is the view's own share of pixels.
    """
    require(
        0 <= flip <= 1 and alpha > 0,
        f"flip {flip}, alpha {alpha}: expected 0 ≤ flip ≤ 1, alpha > 0",
        UsageError,
    )
    arrays = random_boxes(images, height, width, seed, count=count, low=low, high=high)
    arrays["dense_flip"] = scratch_array((images, count), np.uint8)
    if mix != "none":
        arrays["dense_mix"] = scratch_array((images, count), np.int64)
        arrays["dense_mix_weight"] = scratch_array((images, count), np.float32)
    if mix == "cutmix":
        arrays["dense_mix_box"] = scratch_array((images, count, 4), np.float32)
    draw = np.random.default_rng(seed)
    for start in range(0, images, CHUNK):
        block = {name: array[start : start + CHUNK] for name, array in arrays.items()}
        block["dense_flip"][:] = draw.random(block["dense_flip"].shape) < flip
        if mix != "none":
            _blend(block, start, (height, width), draw, alpha)
    return arrays


def _blend(
    block: Arrays, start: int, size: tuple[int, int], draw: np.random.Generator, alpha: float
) -> None:
    """Draw partners among a chunk's images, so that it can be labelled by itself, weights, and CutMix's regions."""
    partner = block["dense_mix"]
    for view in range(partner.shape[1]):
        partner[:, view] = start + draw.permutation(len(partner))
    weight = draw.beta(alpha, alpha, partner.shape)
    if "dense_mix_box" in block:
        half = (np.sqrt(1 - weight)[..., None] * size).astype(np.int64) // 2
        middle = (draw.random((*partner.shape, 2)) * size).astype(np.int64)
        ends = [np.clip(middle + sign * half, 0, size) for sign in (-1, 1)]
        weight = 1 - (ends[1] - ends[0]).prod(-1) / math.prod(size)
        block["dense_mix_box"][:] = np.concatenate(ends, -1) / (*size, *size)
    block["dense_mix_weight"][:] = weight


def draw_boxes(
    uniform: Callable[[int], Tensor],
    height: int,
    width: int,
    *,
    low: float,
    high: float,
    ratio: float = 4 / 3,
) -> Tensor:
    """Boxes [B, 4] of `low` … `high` of the area, as torchvision's RandomResizedCrop draws them.

    Width / height is log-uniform in 1/ratio … ratio, and of ten boxes the first that fits is taken; where none does,
    the largest one in the centre that keeps to the ratio. `uniform(n)` gives numbers [B, n] in [0, 1).
    """
    area = height * width * (low + (high - low) * uniform(10))
    aspect = ratio ** (2 * uniform(10) - 1)
    heights, widths = (area / aspect).sqrt().round(), (area * aspect).sqrt().round()
    fits = (heights > 0) & (heights <= height) & (widths > 0) & (widths <= width)
    first = fits.int().argmax(1, keepdim=True)
    found = fits.gather(1, first)

    def span(sizes: Tensor, side: int, other: int) -> tuple[Tensor, Tensor]:
        size = torch.where(found, sizes.gather(1, first), min(side, round(other * ratio)))
        room = side - size
        # The minimum: in float32 the product can round up to room + 1.
        start = torch.where(found, (uniform(1) * (room + 1)).minimum(room), room / 2).floor()
        return start / side, (start + size) / side

    (top, bottom), (left, right) = span(heights, height, width), span(widths, width, height)
    return torch.cat([top, left, bottom, right], 1)


def inside(boxes: Tensor, height: int, width: int) -> Tensor:
    """Which pixels [B, 1, H, W] lie in boxes [B, 4] of fractions."""
    rows = _between(boxes[:, 0], boxes[:, 2], height)
    columns = _between(boxes[:, 1], boxes[:, 3], width)
    return (rows[:, :, None] & columns[:, None])[:, None]


def _between(low: Tensor, high: Tensor, side: int) -> Tensor:
    """Which pixels [B, side] lie between two fractions of a side."""
    pixels = torch.arange(side, device=low.device)
    return (pixels >= (low * side).round()[:, None]) & (pixels < (high * side).round()[:, None])


def crop(images: Tensor, boxes: Tensor) -> Tensor:
    """Cut box b out of image b and resize it to the image's size: images [B, C, H, W], boxes [B, 4] → [B, C, H, W].

    Bilinear with half-pixel centres, as torch's `interpolate(align_corners=False)` on the crop alone: nothing from
    outside the box enters. Written as two small matrix products, one for rows and one for columns, so that every
    image can have another box in one batch.
    """
    rows = _weights(boxes[:, 0], boxes[:, 2], images.shape[2])
    columns = _weights(boxes[:, 1], boxes[:, 3], images.shape[3])
    return torch.einsum("bih,bchw,bjw->bcij", rows, images, columns)


def _weights(low: Tensor, high: Tensor, side: int) -> Tensor:
    """Interpolation weights [B, side, side]: how much each source pixel gives to each target pixel."""
    start, stop = (low * side).round()[:, None], (high * side).round()[:, None]
    pixels = torch.arange(side, device=low.device, dtype=low.dtype)
    source = start + (pixels + 0.5) * (stop - start) / side - 0.5
    source = torch.minimum(torch.maximum(source, start), stop - 1)
    return (1 - (source[:, :, None] - pixels).abs()).clamp_min(0)


def _spans(*, n: int, r: float, side: int) -> list[tuple[int, int]]:
    view = round(r * side)
    room = side - view
    require(
        n >= 1 and 0 < r <= 1,
        f"grid: n is {n} and r is {r}: expected n ≥ 1 and 0 < r ≤ 1",
        UsageError,
    )
    require(
        view >= 1,
        f"grid: r is {r}: a view of {side} px would be below one pixel; take a larger r",
        UsageError,
    )
    require(
        n <= room + 1,
        f"grid: n is {n} with r {r}: {room + 1} different positions fit in {side} px",
        UsageError,
    )
    half = (
        [-(-(2 * j * room - (n - 1)) // (2 * (n - 1))) for j in range(-(-n // 2))]
        if n > 1
        else [room // 2]
    )
    starts = half + [room - start for start in reversed(half[: n // 2])]
    return [(start, start + view) for start in starts]
