"""LADD's grid against hand-worked boxes, and the cut against torch's own resizing."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from samples import make_bundle, with_arrays

from ddlabel.core.errors import UsageError
from ddlabel.data.schema import LabelMeta
from ddlabel.methods.labels import views
from ddlabel.methods.labels.blocks import label_bytes

# N = 5, R = 62.5 %: view = round(0.625·side), room = side − view, positions j·room/4. Halves are
# rounded down in the first half of the positions and mirrored in the second.
STARTS = {
    28: (18, [0, 2, 5, 8, 10]),  # room 10: 0, 2.5, 5, 7.5, 10
    32: (20, [0, 3, 6, 9, 12]),
    64: (40, [0, 6, 12, 18, 24]),
    128: (80, [0, 12, 24, 36, 48]),
    224: (140, [0, 21, 42, 63, 84]),
}


def boxes_of(*, n, r, side):
    return torch.from_numpy(views.grid(1, side, side, 0, n=n, r=r).boxes)


def pixels(boxes, side):
    return (boxes * side).round().int().tolist()


@pytest.mark.parametrize("side", STARTS)
def test_grid_is_the_papers(side):
    view, starts = STARTS[side]
    expected = [[y, x, y + view, x + view] for y in starts for x in starts]
    assert pixels(boxes_of(n=5, r=0.625, side=side), side) == expected


@given(st.integers(1, 9), st.floats(0.05, 1), st.integers(8, 200))
def test_grid_is_symmetric_and_inside(n, r, side):
    try:
        boxes = boxes_of(n=n, r=r, side=side)
    except UsageError:
        return
    spans = sorted({(y0, y1) for y0, _, y1, _ in pixels(boxes, side)})
    assert len(boxes) == n * n
    assert all(0 <= low < high <= side for low, high in spans)
    mirrored = sorted((side - high, side - low) for low, high in spans)
    # The middle view cannot be symmetric when the room is odd.
    assert [s for i, s in enumerate(spans) if 2 * i + 1 != n] == [
        s for i, s in enumerate(mirrored) if 2 * i + 1 != n
    ]
    if n > 1:
        assert (spans[0][0], spans[-1][1]) == (0, side)


@pytest.mark.parametrize(("n", "r"), [(5, 1.0), (20, 0.9), (2, 0.01), (0, 0.5), (2, 1.5)])
def test_grid_refuses_views_that_do_not_fit(n, r):
    with pytest.raises(UsageError, match=r"grid: [nr] is"):
        boxes_of(n=n, r=r, side=32)


@pytest.mark.parametrize("side", [8, 28, 32, 33])
def test_crop_is_torchs_interpolation_of_the_crop_alone(side):
    images = torch.rand(9, 3, side, side, generator=torch.Generator().manual_seed(0))
    boxes = boxes_of(n=3, r=0.625, side=side)
    out = views.crop(images, boxes)
    for image, (y0, x0, y1, x1), cut in zip(images, pixels(boxes, side), out, strict=True):
        alone = image[None, :, y0:y1, x0:x1]
        expected = F.interpolate(alone, (side, side), mode="bilinear", align_corners=False)
        torch.testing.assert_close(cut[None], expected, rtol=0, atol=1e-5)


def test_whole_image_is_left_as_it_is():
    images = torch.rand(4, 3, 32, 32)
    assert torch.equal(views.crop(images, torch.tensor([[0.0, 0, 1, 1]]).expand(4, 4)), images)


LAYOUTS = [
    "grid",
    "grid:n=3,r=0.5",
    "random:count=3",
    "fkd:count=3",
    "fkd:count=2,mix=mixup",
    "fkd:count=2,mix=none",
]


@pytest.mark.parametrize("spec", LAYOUTS)
@pytest.mark.parametrize("side", [28, 32, 64, 128, 224])
def test_every_layout_gives_views_that_a_bundle_can_hold(spec, side):
    arrays = views.layouts.resolve(spec)(7, side, side, 3)
    boxes = arrays.boxes
    plain = make_bundle(images=7)
    labels = np.zeros((7, boxes.shape[-2], 3), np.float32)
    with_arrays(
        plain, dense_labels=labels, dense=LabelMeta(space="logits"), views=arrays
    ).check_values()
    again, other = (views.layouts.resolve(spec)(7, side, side, seed) for seed in (3, 4))
    assert all(np.array_equal(array, getattr(again, name)) for name, array in arrays.arrays())
    assert spec.startswith("grid") or not np.array_equal(boxes, other.boxes)
    pixels_of = boxes * side
    assert np.allclose(
        pixels_of, pixels_of.round(), atol=1e-3
    )  # whole pixels: the label belongs to just this cut


def test_boxes_keep_to_their_area_and_shape():
    boxes = (
        views.random_boxes(200, 100, 100, 0, count=10, low=0.25, high=0.5).boxes.reshape(-1, 4)
        * 100
    )
    height, width = (boxes[:, 2:] - boxes[:, :2]).T
    assert ((height * width > 2350) & (height * width < 5150)).all()  # sides are rounded to pixels
    assert ((width / height > 0.72) & (width / height < 1.39)).all()
    assert 3650 < (height * width).mean() < 3850


def test_a_blended_views_weight_is_its_share_of_pixels():
    arrays = views.fkd(600, 32, 32, 0, count=4)
    y0, x0, y1, x1 = np.moveaxis(arrays.mix_box * 32, -1, 0).round()
    np.testing.assert_allclose(arrays.mix_weight, 1 - (y1 - y0) * (x1 - x0) / 1024, atol=1e-6)
    partners = arrays.mix
    for view in range(4):  # each image is a partner once, in its own block of 512
        assert sorted(partners[:512, view]) == list(range(512))
        assert sorted(partners[512:, view]) == list(range(512, 600))
    assert 0.45 < arrays.flip.mean() < 0.55


def test_ladds_count_of_bytes():
    # 25 views, 10 classes, 128 px: (4·250 + 236) / (3·128² + 236) = 2.5 %, as in LADD's Table 1.
    plain = make_bundle(images=2, classes=10, size=128, channels=3)
    labels = np.zeros((2, 25, 10), np.float32)
    boxes = views.grid(2, 128, 128, 0).boxes
    dense = with_arrays(
        plain, dense_labels=labels, dense_boxes=boxes, dense=LabelMeta(space="logits")
    )
    size = label_bytes(dense, "dense")
    assert round(100 * size["ladd_share"], 2) == 2.5
    assert size["bytes"] == 1000 + 25 * 16 / 2  # the one grid is shared by the two images
