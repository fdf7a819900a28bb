"""2 × 2 pooling is torch's, with its gradients."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from networks import random_images

from ddlabel.methods.nets.pooling import MeanPool2x2

POOL = MeanPool2x2()


def test_means_by_hand():
    images = torch.tensor([[[[1.0, 2, 3, 4], [5, 6, 7, 8]]]])
    assert POOL(images).tolist() == [[[[3.5, 5.5]]]]


@pytest.mark.parametrize("shape", [(2, 3, 8, 8), (2, 3, 4, 6), (1, 2, 5, 4), (1, 2, 4, 7)])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_values_and_gradients_are_those_of_torchs_pooling(shape, layout):
    images = random_images(*shape).contiguous(memory_format=layout).requires_grad_()
    weights = random_images(*F.avg_pool2d(images, 2).shape)
    results = []
    for pool in (POOL, torch.nn.AvgPool2d(2)):
        pooled = pool(images)
        (gradient,) = torch.autograd.grad((pooled * weights).sum(), images)
        results.append((pooled, gradient))
    torch.testing.assert_close(*results)


def test_float64_is_pooled_too():
    images = random_images(1, 2, 4, 4).double()
    torch.testing.assert_close(POOL(images), F.avg_pool2d(images, 2))


def test_bfloat16_is_rounded_at_most_three_times():
    images = random_images(1, 2, 8, 8).bfloat16()
    pooled = POOL(images)
    assert pooled.dtype == torch.bfloat16
    # A sum of bfloat16 numbers, which have 8 digits, is off by at most a 2^-9 of itself.
    rounding = 3 * 2**-9 * F.avg_pool2d(images.float().abs(), 2)
    errors = (pooled.float() - F.avg_pool2d(images.float(), 2)).abs()
    assert (errors <= 1.01 * rounding).all()


def test_stacks_are_pooled_as_alone():
    stack = random_images(3, 2, 4, 8, 8)
    expected = torch.stack([POOL(images) for images in stack])
    torch.testing.assert_close(torch.vmap(POOL)(stack), expected)
