"""LADD's grid against hand-worked boxes, and the cut against torch's own resizing."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from ddlabel.errors import UsageError
from ddlabel.labels import views

# N = 5, R = 62.5 %: view = round(0.625·side), room = side − view, positions j·room/4; halves round down in the first
# half and are mirrored in the second.
STARTS = {
    28: (18, [0, 2, 5, 8, 10]),  # room 10: 0, 2.5, 5, 7.5, 10
    32: (20, [0, 3, 6, 9, 12]),
    64: (40, [0, 6, 12, 18, 24]),
    128: (80, [0, 12, 24, 36, 48]),
    224: (140, [0, 21, 42, 63, 84]),
}


def pixels(boxes, side):
    return (boxes * side).round().int().tolist()


@pytest.mark.parametrize("side", STARTS)
def test_grid_is_the_papers(side):
    view, starts = STARTS[side]
    expected = [[y, x, y + view, x + view] for y in starts for x in starts]
    assert pixels(views.grid(n=5, r=0.625, size=(side, side)), side) == expected


@given(st.integers(1, 9), st.floats(0.05, 1), st.integers(8, 200))
def test_grid_is_symmetric_and_inside(n, r, side):
    try:
        boxes = views.grid(n=n, r=r, size=(side, side))
    except UsageError:
        return
    spans = sorted({(y0, y1) for y0, _, y1, _ in pixels(boxes, side)})
    assert len(boxes) == n * n
    assert all(0 <= low < high <= side for low, high in spans)
    mirrored = sorted((side - high, side - low) for low, high in spans)
    # The middle view cannot be symmetric when the room is odd.
    assert [s for i, s in enumerate(spans) if 2 * i + 1 != n] == [s for i, s in enumerate(mirrored) if 2 * i + 1 != n]
    if n > 1:
        assert (spans[0][0], spans[-1][1]) == (0, side)


@pytest.mark.parametrize(("n", "r"), [(5, 1.0), (20, 0.9), (2, 0.01)])
def test_grid_refuses_views_that_do_not_fit(n, r):
    with pytest.raises(UsageError, match=r"--[nr] is"):
        views.grid(n=n, r=r, size=(32, 32))


@pytest.mark.parametrize("side", [8, 28, 32, 33])
def test_crop_is_torchs_interpolation_of_the_crop_alone(side):
    images = torch.rand(9, 3, side, side, generator=torch.Generator().manual_seed(0))
    boxes = views.grid(n=3, r=0.625, size=(side, side))
    out = views.crop(images, boxes)
    for image, (y0, x0, y1, x1), cut in zip(images, pixels(boxes, side), out, strict=True):
        alone = image[None, :, y0:y1, x0:x1]
        expected = F.interpolate(alone, (side, side), mode="bilinear", align_corners=False)
        torch.testing.assert_close(cut[None], expected, rtol=0, atol=1e-5)


def test_whole_image_is_left_as_it_is():
    images = torch.rand(4, 3, 32, 32)
    assert torch.equal(views.crop(images, torch.tensor([[0.0, 0, 1, 1]]).expand(4, 4)), images)
