"""Views of images: where they lie, and cutting them out."""

import torch
from torch import Tensor

from ddlabel.errors import UsageError


def grid(*, n: int, r: float, size: tuple[int, int]) -> Tensor:
    """Boxes [N², 4] (y0, x0, y1, x1 as fractions) of LADD's sub-images, row by row from the top-left.

    Each view covers round(r·side) pixels of a side; the stride is (side − view)/(N − 1) (LADD, section 3.1: 25 views
    of 80 px at stride 12 for 128 px, N = 5, R = 62.5 %). Where the stride is not whole, positions up to the middle are
    rounded to the nearest pixel (half down) and those after it mirror them.

    Raises:
        UsageError: if a view would be smaller than one pixel or N > 1 views cannot differ.
    """
    ys, xs = (_spans(n=n, r=r, side=side) for side in size)
    boxes = [[y0, x0, y1, x1] for y0, y1 in ys for x0, x1 in xs]
    return torch.tensor(boxes) / torch.tensor([*size, *size])


def _spans(*, n: int, r: float, side: int) -> list[tuple[int, int]]:
    view = round(r * side)
    room = side - view
    if view < 1:
        raise UsageError(f"--r is {r}: a view of {side} px would be smaller than one pixel; choose a larger R")
    if n > room + 1:
        raise UsageError(
            f"--n is {n} with --r {r}: {room + 1} different positions fit in {side} px; take no more, or a smaller --r"
        )
    half = [-(-(2 * j * room - (n - 1)) // (2 * (n - 1))) for j in range(-(-n // 2))] if n > 1 else [room // 2]
    starts = half + [room - start for start in reversed(half[: n // 2])]
    return [(start, start + view) for start in starts]


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
