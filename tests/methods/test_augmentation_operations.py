"""Each augmentation's operation against its formula, and its random numbers' distribution."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from draws import SIGNIFICANCE, coordinates, is_even, is_uniform
from scipy import ndimage, stats
from torchvision.transforms import functional

from ddlabel.methods import augmentations as augment
from ddlabel.methods import image_operations as operations
from ddlabel.methods.image_operations import RandomNumbers

IMAGES = torch.rand(64, 3, 16, 16, generator=torch.Generator().manual_seed(0))
MANY = torch.rand(4000, 3, 4, 4, generator=torch.Generator().manual_seed(1))


def random(images=IMAGES, seed=3):
    return RandomNumbers(images, seed)


def uniforms(images=IMAGES, seed=3):
    """Return the first numbers that an operation draws."""
    return random(images, seed).uniform()


class TestOperations:
    def test_brightness_adds_a_shift(self):
        out = operations.brightness(IMAGES, random(), 1.0)
        torch.testing.assert_close(out, IMAGES + uniforms() - 0.5)

    def test_saturation_scales_distances_from_the_grey_image(self):
        grey = IMAGES.mean(1, keepdim=True)
        out = operations.saturation(IMAGES, random(), 2.0)
        torch.testing.assert_close(out, IMAGES * 2 * uniforms() + grey * (1 - 2 * uniforms()))
        torch.testing.assert_close(out.mean(1, keepdim=True), grey)

    def test_contrast_scales_distances_from_the_mean(self):
        factor = 0.5 + uniforms()
        mean = IMAGES.mean((1, 2, 3), keepdim=True)
        out = operations.contrast(IMAGES, random(), 0.5)
        torch.testing.assert_close(out, IMAGES * factor + mean * (1 - factor))

    def test_flip_mirrors_some_images(self):
        flipped = uniforms().flatten() < 0.3
        out = augment.flip(IMAGES, 3, probability=0.3)
        np.testing.assert_array_equal(out[flipped], IMAGES[flipped].numpy()[..., ::-1])
        assert torch.equal(out[~flipped], IMAGES[~flipped])
        assert 0 < flipped.sum() < len(flipped)

    def test_shift_crops_the_padded_image(self):
        out = augment.crop(IMAGES, 3, padding=2)
        numbers = random()
        dy = numbers.integer(-2, 2).flatten()
        dx = numbers.integer(-2, 2).flatten()
        padded = np.pad(IMAGES.numpy(), ((0, 0), (0, 0), (2, 2), (2, 2)))
        for before, after, y, x in zip(padded, out.numpy(), 2 + dy, 2 + dx, strict=True):
            np.testing.assert_array_equal(after, before[:, y : y + 16, x : x + 16])

    def test_cutout_removes_a_square_around_any_centre(self):
        white = torch.ones(500, 1, 8, 8)
        out = operations.cutout(white, random(white), 0.5)
        holes = (out == 0).flatten(1).sum(1)
        # Centres are 0 … 8 in each direction and the square is 4 × 4, so that 2, 3 or 4 of its rows
        # and of its columns lie inside the image.
        assert set(holes.tolist()) == {a * b for a in (2, 3, 4) for b in (2, 3, 4)}

    def test_rotate_equals_torchvisions_affine(self):
        out = operations.rotate(IMAGES, random(), 15.0)
        angles = (2 * uniforms().flatten() - 1) * 15
        for before, after, angle in zip(IMAGES, out, angles, strict=True):
            expected = functional.affine(
                before,
                -float(angle),
                [0, 0],
                1.0,
                [0.0, 0.0],
                functional.InterpolationMode.BILINEAR,
            )
            torch.testing.assert_close(after, expected, rtol=0, atol=1e-4)

    def test_scale_about_the_centre_equals_scipys_transform(self):
        out = operations.scale(IMAGES, random(), 1.2)
        numbers = random()
        down = 1 / 1.2 + (1.2 - 1 / 1.2) * numbers.uniform().flatten()
        across = 1 / 1.2 + (1.2 - 1 / 1.2) * numbers.uniform().flatten()
        for before, after, *factors in zip(IMAGES.numpy(), out.numpy(), down, across, strict=True):
            matrix = np.array([1.0, *factors])
            offset = np.array([0.0, 7.5, 7.5]) * (1 - matrix)
            expected = ndimage.affine_transform(
                before, matrix, offset, order=1, mode="grid-constant"
            )
            np.testing.assert_allclose(after, expected, atol=1e-4)


class TestDraws:
    """The distribution of the drawn numbers, measured by their effect on many images."""

    def test_brightness_shifts_uniformly(self):
        shift = operations.brightness(MANY, random(MANY), 0.8) - MANY
        assert is_uniform(shift[:, 0, 0, 0], -0.4, 0.4)

    def test_saturation_factor_is_uniform(self):
        out = operations.saturation(MANY, random(MANY), 2.0)
        factor = out.std(1).sum((1, 2)) / MANY.std(1).sum((1, 2))
        assert is_uniform(factor, 0, 2)

    def test_contrast_factor_is_uniform(self):
        factor = operations.contrast(MANY, random(MANY), 0.5).std((1, 2, 3)) / MANY.std((1, 2, 3))
        assert is_uniform(factor, 0.5, 1.5)

    def test_flip_has_its_probability(self):
        images = coordinates(4000, 4)
        flipped = operations.flip(images, random(images), 0.3)[:, 1, 0, 0] == 4
        assert stats.binomtest(int(flipped.sum()), 4000, 0.3).pvalue > SIGNIFICANCE

    def test_every_shift_is_equally_likely(self):
        images = coordinates(4000, 5)
        centre = operations.shift(images, random(images), 2)[:, :, 2, 2] - 3
        shifts = map(tuple, centre.int().tolist())
        assert is_even(shifts, list(itertools.product(range(-2, 3), repeat=2)))

    # Squares of 4 and of 3 pixels.
    @pytest.mark.parametrize(("ratio", "centres"), [(0.5, 9), (0.375, 8)])
    def test_every_centre_of_cutout_is_equally_likely(self, ratio, centres):
        images = torch.ones(6000, 1, 8, 8)
        box = int(8 * ratio)
        hole = operations.cutout(images, random(images), ratio)[:, 0] == 0
        # The rows (or columns) of a hole tell its centre c: they start at c − box // 2.
        spans = {
            tuple(row for row in range(8) if 0 <= row - centre + box // 2 < box): centre
            for centre in range(centres)
        }
        rows = [tuple(np.flatnonzero(line)) for line in hole.any(2).numpy()]
        columns = [tuple(np.flatnonzero(line)) for line in hole.any(1).numpy()]
        found = [(spans[row], spans[column]) for row, column in zip(rows, columns, strict=True)]
        assert is_even(found, list(itertools.product(range(centres), repeat=2)))

    def test_scale_factors_are_uniform_and_independent(self):
        # The pixels below and right of the centre show where they came from.
        ramps = coordinates(4000, 5) - 3
        scaled = operations.scale(ramps, random(ramps), 1.2)
        vertical = scaled[:, 0, 3, 2]
        horizontal = scaled[:, 1, 2, 3]
        assert is_uniform(vertical, 1 / 1.2, 1.2)
        assert is_uniform(horizontal, 1 / 1.2, 1.2)
        assert abs(np.corrcoef(vertical, horizontal)[0, 1]) < 0.06

    def test_angles_are_uniform(self):
        ramps = coordinates(4000, 5) - 3
        rotated = operations.rotate(ramps, random(ramps), 15.0)
        angles = torch.atan2(rotated[:, 0, 2, 3], rotated[:, 1, 2, 3])
        assert is_uniform(angles.rad2deg(), -15, 15)


class TestPatchShuffle:
    @staticmethod
    def orders(factor, *, count=2400, strips=False):
        """Return which patch stands where in each image. Fails for patches that changed inside."""
        side = 2 * factor
        images = torch.arange(side**2).float().view(1, 1, side, side).repeat(count, 1, 1, 1)
        out = augment.patch_shuffle(images, 4, factor=factor, strips=strips)
        cuts = [(2 * y, 2 * x) for y in range(factor) for x in range(factor)]
        known = {
            images[0, 0, y : y + 2, x : x + 2].numpy().tobytes(): i for i, (y, x) in enumerate(cuts)
        }
        return [
            tuple(known[image[y : y + 2, x : x + 2].numpy().tobytes()] for y, x in cuts)
            for image in out[:, 0]
        ]

    def test_every_order_is_equally_likely(self):
        assert is_even(self.orders(2), list(itertools.permutations(range(4))))

    def test_strips_keep_the_patches_of_a_row_together(self):
        assert is_even(
            self.orders(2, strips=True), [(0, 1, 2, 3), (1, 0, 3, 2), (2, 3, 0, 1), (3, 2, 1, 0)]
        )

    def test_strips_shuffle_rows_and_columns_independently(self):
        threes = list(itertools.permutations(range(3)))
        possible = [
            tuple(3 * y + x for y in rows for x in columns) for rows in threes for columns in threes
        ]
        assert is_even(self.orders(3, strips=True), possible)

    @pytest.mark.parametrize("strips", [False, True])
    def test_every_patch_occurs_once(self, strips):
        orders = self.orders(3, count=100, strips=strips)
        assert {tuple(sorted(order)) for order in orders} == {tuple(range(9))}

    def test_patches_of_rectangular_images_stay_whole(self):
        out = augment.patch_shuffle(coordinates(20, 6, 10), 1)
        # Within a patch of 3 × 5, rows and columns increase by one.
        assert (out[:, 0].diff(dim=1)[:, [0, 1, 3, 4]] == 1).all()
        assert (out[:, 1].diff(dim=2)[:, :, [0, 1, 2, 3, 5, 6, 7, 8]] == 1).all()

    @pytest.mark.parametrize("factor", [0, 3, 64])
    def test_patches_that_do_not_divide_the_image_are_refused(self, factor):
        with pytest.raises(ValueError, match=f"{factor} x {factor}"):
            augment.patch_shuffle(torch.zeros(1, 1, 32, 32), 0, factor=factor)


class TestPatchCrop:
    @staticmethod
    def cuts(image, factor):
        """The whole image [C, H, W], and each of its patches resized by torch alone."""
        height, width = (side // factor for side in image.shape[1:])
        cuts = [image]
        for y in range(0, image.shape[1], height):
            for x in range(0, image.shape[2], width):
                patch = image[None, :, y : y + height, x : x + width]
                cuts.append(functional.resize(patch[0], list(image.shape[1:])))
        return cuts

    @pytest.mark.parametrize("factor", [1, 2, 3])
    def test_each_image_is_whole_once_in_factor_squared_and_else_one_of_its_patches(self, factor):
        image = coordinates(1, 6, 12)[0]
        out = augment.patch_crop(image.repeat(3000, 1, 1, 1), 3, factor=factor)
        cuts = self.cuts(image, factor)
        distance = torch.stack([(out - cut).abs().amax((1, 2, 3)) for cut in cuts])
        assert distance.amin(0).max() < 1e-4
        found = np.bincount(distance.argmin(0).numpy(), minlength=len(cuts))
        share = (1 - 1 / factor**2) / factor**2
        expected = 3000 * np.array([1 / factor**2] + [share] * factor**2)
        if factor == 1:
            assert found.tolist() == [3000, 0]
        else:
            assert stats.chisquare(found, expected).pvalue > SIGNIFICANCE

    @pytest.mark.parametrize("factor", [0, 3])
    def test_patches_that_do_not_divide_the_image_are_refused(self, factor):
        with pytest.raises(ValueError, match=f"{factor} x {factor}"):
            augment.patch_crop(torch.zeros(1, 1, 32, 32), 0, factor=factor)
