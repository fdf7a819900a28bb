"""Chunks of images that stay in the caches."""

from __future__ import annotations

import pytest
import torch

from ddlabel.training.chunking import cache_sized_chunks


@pytest.mark.parametrize(
    ("device", "side", "num_images"),
    [
        ("cpu", 32, 64),  # 2¹⁶ pixels
        ("cpu", 28, 64),  # 83 would fit: 64 is the power of two below
        ("cpu", 256, 1),
        ("cpu", 512, 1),  # one image even if it does not fit
        ("meta", 32, 2048),  # 2²¹ pixels on other devices
    ],
)
def test_a_chunk_has_a_power_of_two_of_images(device, side, num_images):
    images = torch.empty(1, 1, side, side, device=device).expand(2 * num_images + 1, -1, -1, -1)
    lengths = [len(chunk) for chunk in cache_sized_chunks(images)]
    assert lengths == [num_images, num_images, 1]


def test_chunks_are_the_images_in_their_order():
    images = torch.arange(130.0).view(-1, 1, 1, 1).expand(-1, 1, 32, 32)
    assert torch.equal(torch.cat(list(cache_sized_chunks(images))), images)
