"""Each operation against its formula, and what every augmentation keeps."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage, stats

from ddlabel import augment
from ddlabel.augment import _Draw, augmentations

IMAGES = torch.rand(64, 3, 16, 16, generator=torch.Generator().manual_seed(0))
MANY = torch.rand(4000, 1, 4, 4, generator=torch.Generator().manual_seed(1))


def draw(images=IMAGES, seed=3):
    return _Draw(images, seed)


def uniforms(images=IMAGES, seed=3):
    """The first numbers that an operation draws."""
    return draw(images, seed).uniform()


def test_brightness_adds_a_shift():
    torch.testing.assert_close(augment.brightness(IMAGES, draw(), 1.0), IMAGES + uniforms() - 0.5)


def test_saturation_scales_distances_from_the_grey_image():
    grey = IMAGES.mean(1, keepdim=True)
    out = augment.saturation(IMAGES, draw(), 2.0)
    torch.testing.assert_close(out, IMAGES * 2 * uniforms() + grey * (1 - 2 * uniforms()))
    torch.testing.assert_close(out.mean(1, keepdim=True), grey)


def test_contrast_scales_distances_from_the_mean():
    factor = 0.5 + uniforms()
    mean = IMAGES.mean((1, 2, 3), keepdim=True)
    torch.testing.assert_close(augment.contrast(IMAGES, draw(), 0.5), IMAGES * factor + mean * (1 - factor))


def test_flip_mirrors_half_of_the_images():
    flipped = uniforms().flatten() < 0.5
    out = augment.flip(IMAGES, draw(), 0.5)
    assert torch.equal(out[flipped], IMAGES[flipped].flip(3))
    assert torch.equal(out[~flipped], IMAGES[~flipped])
    assert flipped.any()
    assert (~flipped).any()


def test_shift_moves_zeros_in_as_scipy_does():
    out = augment.shift(IMAGES, draw(), 2)
    generator = draw()
    dy, dx = generator.integer(-2, 2).flatten(), generator.integer(-2, 2).flatten()
    for before, after, y, x in zip(IMAGES.numpy(), out.numpy(), dy, dx, strict=True):
        expected = ndimage.shift(before, (0, -int(y), -int(x)), order=0, cval=0.0)
        np.testing.assert_array_equal(after, expected)


def test_cutout_removes_a_square_around_any_centre():
    out = augment.cutout(torch.ones(500, 1, 8, 8), draw(torch.ones(500, 1, 8, 8)), 0.5)
    holes = (out == 0).flatten(1).sum(1)
    # Centres are 0 … 8 in each direction, the square is 4 × 4: 2, 3 or 4 of its rows and columns are inside.
    assert set(holes.tolist()) == {a * b for a in (2, 3, 4) for b in (2, 3, 4)}


def test_rotation_agrees_with_scipy_inside():
    images = torch.rand(4, 1, 17, 17, generator=torch.Generator().manual_seed(2))
    smooth = torch.from_numpy(ndimage.gaussian_filter(images.numpy(), (0, 0, 2, 2)))
    out = augment.rotate(smooth, draw(smooth), 15.0)
    angles = (2 * uniforms(smooth).flatten() - 1) * 15
    for before, after, angle in zip(smooth[:, 0].numpy(), out[:, 0].numpy(), angles, strict=True):
        expected = ndimage.rotate(before, float(angle), reshape=False, order=1)
        np.testing.assert_allclose(after[4:-4, 4:-4], expected[4:-4, 4:-4], atol=1e-3)


def test_scale_stretches_about_the_centre():
    ramp = torch.linspace(-1, 1, 9).expand(8, 1, 9, 9).contiguous()
    out = augment.scale(ramp, draw(ramp), 1.2)
    generator = draw(ramp)
    _, across = (1 / 1.2 + (1.2 - 1 / 1.2) * generator.uniform().flatten() for _ in range(2))
    torch.testing.assert_close(out[:, 0, 4, 2:7], ramp[:, 0, 4, 2:7] * across[:, None])


@pytest.mark.parametrize(
    ("operation", "low", "high"),
    [
        (lambda x: augment.brightness(x, draw(x), 1.0).mean((1, 2, 3)) - x.mean((1, 2, 3)), -0.5, 0.5),
        (lambda x: augment.contrast(x, draw(x), 0.5).std((1, 2, 3)) / x.std((1, 2, 3)), 0.5, 1.5),
    ],
)
def test_parameters_are_uniform(operation, low, high):
    assert stats.kstest(operation(MANY).numpy(), stats.uniform(low, high - low).cdf).pvalue > 0.001


def test_mode_s_applies_one_operation_to_the_whole_batch():
    single = [augmentations.resolve("dsa")(IMAGES, seed) for seed in range(6)]
    # Seed s picks operation s: colour, crop, cutout, flip, scale, rotate.
    torch.testing.assert_close(single[3], augment.flip(IMAGES, draw(seed=3), 0.5))
    torch.testing.assert_close(single[2], augment.cutout(IMAGES, draw(seed=2), 0.5))
    torch.testing.assert_close(single[1], augment.shift(IMAGES, draw(seed=1), 2))
    torch.testing.assert_close(single[4], augment.scale(IMAGES, draw(seed=4), 1.2))
    torch.testing.assert_close(single[5], augment.rotate(IMAGES, draw(seed=5), 15.0))


def test_mode_m_applies_all():
    generator = draw(seed=7)
    x = augment.brightness(IMAGES, generator, 1.0)
    x = augment.contrast(augment.saturation(x, generator, 2.0), generator, 0.5)
    x = augment.cutout(augment.shift(x, generator, 2), generator, 0.5)
    x = augment.scale(augment.flip(x, generator, 0.5), generator, 1.2)
    torch.testing.assert_close(augmentations.resolve("dsa:mode=m")(IMAGES, 7), augment.rotate(x, generator, 15.0))


@pytest.mark.parametrize("name", augmentations)
def test_every_augmentation_is_a_function_of_its_seed_and_keeps_the_shape(name):
    function = augmentations.get(name)
    for seed in range(6):
        before = IMAGES.clone()
        out = function(IMAGES, seed)
        assert out.shape == IMAGES.shape
        assert torch.equal(out, function(IMAGES, seed))
        assert torch.equal(IMAGES, before)
