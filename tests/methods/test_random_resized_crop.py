"""The random resized crop against torchvision's."""

from __future__ import annotations

from collections import Counter
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from draws import SIGNIFICANCE, coordinates, is_uniform
from scipy import stats
from torchvision.transforms import RandomResizedCrop, functional

from ddlabel.core.errors import UsageError
from ddlabel.methods import augmentations as augment
from ddlabel.methods.augmentations import augment_of

IMAGES = torch.rand(64, 3, 16, 16, generator=torch.Generator().manual_seed(0))


@contextmanager
def torchvision_seed(seed):
    """Torchvision draws from torch's global generator."""
    with torch.random.fork_rng(devices=[]):
        torch.set_rng_state(torch.Generator().manual_seed(seed).get_state())
        yield


def boxes_of(out):
    """Return top, left, height and width of the boxes that were cut out of `coordinates`."""
    top = out[:, 0, 0, 0] - 1
    left = out[:, 1, 0, 0] - 1
    height = out[:, 0, -1, -1] - top
    width = out[:, 1, -1, -1] - left
    return torch.stack([top, left, height, width], 1)


def box_statistics(boxes):
    """Return top, left, area and log aspect of the boxes."""
    top, left, height, width = boxes.numpy().T
    return top, left, height * width, np.log(width / height)


class TestRandomResizedCrop:
    @pytest.mark.parametrize(
        ("low", "high", "ratio"), [(0.08, 1.0, 4 / 3), (0.6, 1.0, 1.5), (0.25, 0.25, 1.0)]
    )
    def test_boxes_are_distributed_as_torchvisions(self, low, high, ratio):
        count, side = 2000, 48
        images = coordinates(count, side)
        ours = boxes_of(
            augment.random_resized_crop(images, 5, low=low, high=high, ratio=ratio)
        ).round()
        with torchvision_seed(6):
            theirs = torch.tensor(
                [
                    RandomResizedCrop.get_params(images[0], [low, high], [1 / ratio, ratio])
                    for _ in range(count)
                ]
            )
        for our_values, their_values in zip(
            box_statistics(ours), box_statistics(theirs.float()), strict=True
        ):
            assert stats.ks_2samp(our_values, their_values).pvalue > SIGNIFICANCE

    def test_area_is_uniform_and_aspect_log_uniform_where_all_boxes_fit(self):
        box = boxes_of(
            augment.random_resized_crop(coordinates(800, 128), 5, low=0.1, high=0.5, ratio=2.0)
        )
        assert is_uniform(box[:, 2] * box[:, 3] / 128**2, 0.1, 0.5)
        assert is_uniform((box[:, 3] / box[:, 2]).log2(), -1, 1)

    def test_pixels_equal_torchvisions_resized_crop(self):
        images = torch.cat([coordinates(64, 16), IMAGES], 1)
        out = augment.random_resized_crop(images, 8)
        for image, after, box in zip(
            IMAGES, out[:, 2:], boxes_of(out).round().int().tolist(), strict=True
        ):
            expected = functional.resized_crop(image, *box, [16, 16], antialias=True)
            torch.testing.assert_close(after, expected, rtol=0, atol=1e-5)

    @pytest.mark.parametrize(
        ("height", "width", "box"),
        [
            (8, 32, [0, 10, 8, 11]),
            (32, 8, [10, 0, 11, 8]),
            (9, 10, [0, 0, 9, 10]),
        ],  # 8 · 4/3 = 10.67
    )
    def test_the_centre_is_taken_where_no_box_fits(self, height, width, box):
        # A box of the whole area never fits the first two, and the third only if it has its aspect.
        out = boxes_of(augment.random_resized_crop(coordinates(50, height, width), 2, low=1.0))
        assert Counter(map(tuple, out.round().int().tolist())).most_common(1)[0][0] == tuple(box)
        assert box == list(
            RandomResizedCrop.get_params(torch.zeros(1, height, width), [9.0, 9.0], [3 / 4, 4 / 3])
        )

    @pytest.mark.parametrize("options", ["low=0", "low=0.5,high=0.4", "high=1.1", "ratio=0.9"])
    def test_impossible_ranges_are_refused(self, options):
        with pytest.raises(UsageError, match=options):
            augment_of(f"random-resized-crop:{options}", channels=3, size=32)
