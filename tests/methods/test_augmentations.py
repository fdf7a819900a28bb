"""Each operation against its formula, its drawn numbers against their distribution, and what all of them keep."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from scipy import ndimage, stats
from torch.utils._python_dispatch import TorchDispatchMode
from torchvision.transforms import RandomResizedCrop, functional

from ddlabel.core import rng
from ddlabel.core.errors import UsageError
from ddlabel.methods import augmentations as augment
from ddlabel.methods.augmentations import _Random, augment_of, augmentations

IMAGES = torch.rand(64, 3, 16, 16, generator=torch.Generator().manual_seed(0))
MANY = torch.rand(4000, 3, 4, 4, generator=torch.Generator().manual_seed(1))
SIAMESE = ("colour", "crop", "cutout", "flip", "scale", "rotate")


def draw(images=IMAGES, seed=3):
    return _Random(images, seed)


def uniforms(images=IMAGES, seed=3):
    """The first numbers that an operation draws."""
    return draw(images, seed).uniform()


def coordinates(count, height, width=None):
    """Images whose two channels say in which row and in which column a pixel stood, counted from 1."""
    rows, columns = torch.meshgrid(
        torch.arange(height), torch.arange(width or height), indexing="ij"
    )
    return torch.stack([rows, columns]).float().add(1).repeat(count, 1, 1, 1)


def is_uniform(values, low, high):
    return stats.kstest(np.asarray(values), stats.uniform(low, high - low).cdf).pvalue > 0.001


def is_even(outcomes, possible):
    """Whether each possible outcome came about as often as any other, and nothing else did."""
    counts = Counter(outcomes)
    assert set(counts) <= set(possible)
    return stats.chisquare([counts[outcome] for outcome in possible]).pvalue > 0.001


@contextmanager
def torchvision_seed(seed):
    """Torchvision draws from torch's global generator."""
    with torch.random.fork_rng(devices=[]):
        torch.set_rng_state(torch.Generator().manual_seed(seed).get_state())
        yield


class TestOperations:
    def test_brightness_adds_a_shift(self):
        torch.testing.assert_close(
            augment._brightness(IMAGES, draw(), 1.0), IMAGES + uniforms() - 0.5
        )

    def test_saturation_scales_distances_from_the_grey_image(self):
        grey = IMAGES.mean(1, keepdim=True)
        out = augment._saturation(IMAGES, draw(), 2.0)
        torch.testing.assert_close(out, IMAGES * 2 * uniforms() + grey * (1 - 2 * uniforms()))
        torch.testing.assert_close(out.mean(1, keepdim=True), grey)

    def test_contrast_scales_distances_from_the_mean(self):
        factor = 0.5 + uniforms()
        mean = IMAGES.mean((1, 2, 3), keepdim=True)
        torch.testing.assert_close(
            augment._contrast(IMAGES, draw(), 0.5), IMAGES * factor + mean * (1 - factor)
        )

    def test_flip_mirrors_some_images(self):
        flipped = uniforms().flatten() < 0.3
        out = augment._flip(IMAGES, draw(), 0.3)
        assert torch.equal(
            out[flipped], torch.from_numpy(IMAGES[flipped].numpy()[..., ::-1].copy())
        )
        assert torch.equal(out[~flipped], IMAGES[~flipped])
        assert 0 < flipped.sum() < len(flipped)

    def test_shift_crops_the_padded_image(self):
        out = augment._shift(IMAGES, draw(), 2)
        generator = draw()
        dy, dx = generator.integer(-2, 2).flatten(), generator.integer(-2, 2).flatten()
        padded = np.pad(IMAGES.numpy(), ((0, 0), (0, 0), (2, 2), (2, 2)))
        for before, after, y, x in zip(padded, out.numpy(), 2 + dy, 2 + dx, strict=True):
            np.testing.assert_array_equal(after, before[:, y : y + 16, x : x + 16])

    def test_cutout_removes_a_square_around_any_centre(self):
        out = augment._cutout(torch.ones(500, 1, 8, 8), draw(torch.ones(500, 1, 8, 8)), 0.5)
        holes = (out == 0).flatten(1).sum(1)
        # Centres are 0 … 8 in each direction, the square is 4 × 4: 2, 3 or 4 of its rows and columns are inside.
        assert set(holes.tolist()) == {a * b for a in (2, 3, 4) for b in (2, 3, 4)}

    def test_rotate_is_torchvisions_affine(self):
        out = augment._rotate(IMAGES, draw(), 15.0)
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

    def test_scale_stretches_about_the_centre_as_scipy_does(self):
        out = augment._scale(IMAGES, draw(), 1.2)
        generator = draw()
        down, across = (1 / 1.2 + (1.2 - 1 / 1.2) * generator.uniform().flatten() for _ in range(2))
        for before, after, *factors in zip(IMAGES.numpy(), out.numpy(), down, across, strict=True):
            matrix = np.array([1.0, *factors])
            offset = np.array([0.0, 7.5, 7.5]) * (1 - matrix)
            expected = ndimage.affine_transform(
                before, matrix, offset, order=1, mode="grid-constant"
            )
            np.testing.assert_allclose(after, expected, atol=1e-4)


class TestDraws:
    """The numbers that operations use, read off what they do to many images."""

    def test_brightness(self):
        shift = augment._brightness(MANY, draw(MANY), 0.8) - MANY
        assert is_uniform(shift[:, 0, 0, 0], -0.4, 0.4)

    def test_saturation(self):
        spread = [x.std(1).sum((1, 2)) for x in (augment._saturation(MANY, draw(MANY), 2.0), MANY)]
        assert is_uniform(spread[0] / spread[1], 0, 2)

    def test_contrast(self):
        factor = augment._contrast(MANY, draw(MANY), 0.5).std((1, 2, 3)) / MANY.std((1, 2, 3))
        assert is_uniform(factor, 0.5, 1.5)

    def test_flip(self):
        images = coordinates(4000, 4)
        flipped = augment._flip(images, draw(images), 0.3)[:, 1, 0, 0] == 4
        assert stats.binomtest(int(flipped.sum()), 4000, 0.3).pvalue > 0.001

    def test_shift(self):
        images = coordinates(4000, 5)
        centre = augment._shift(images, draw(images), 2)[:, :, 2, 2] - 3
        assert is_even(
            map(tuple, centre.int().tolist()), list(itertools.product(range(-2, 3), repeat=2))
        )

    @pytest.mark.parametrize(
        ("ratio", "centres"), [(0.5, 9), (0.375, 8)]
    )  # a square of 4 pixels, one of 3
    def test_cutout(self, ratio, centres):
        images = torch.ones(6000, 1, 8, 8)
        box = int(8 * ratio)
        hole = augment._cutout(images, draw(images), ratio)[:, 0] == 0
        # Rows and columns of each hole, of which centre c leaves those from c − box // 2 on that are in the image.
        spans = {
            tuple(row for row in range(8) if 0 <= row - centre + box // 2 < box): centre
            for centre in range(centres)
        }
        lines = [
            [tuple(np.flatnonzero(line)) for line in hole.any(axis).numpy()] for axis in (2, 1)
        ]
        pairs = [(spans[rows], spans[columns]) for rows, columns in zip(*lines, strict=True)]
        assert is_even(pairs, list(itertools.product(range(centres), repeat=2)))

    def test_scale_and_rotate(self):
        ramps = coordinates(4000, 5) - 3
        # One pixel right of the centre, and one pixel below it, show where they come from.
        scaled, rotated = (
            operation(ramps, draw(ramps), amount)
            for operation, amount in ((augment._scale, 1.2), (augment._rotate, 15.0))
        )
        assert is_uniform(scaled[:, 0, 3, 2], 1 / 1.2, 1.2)
        assert is_uniform(scaled[:, 1, 2, 3], 1 / 1.2, 1.2)
        assert abs(np.corrcoef(scaled[:, 0, 3, 2], scaled[:, 1, 2, 3])[0, 1]) < 0.06
        angles = torch.atan2(rotated[:, 0, 2, 3], rotated[:, 1, 2, 3])
        assert is_uniform(angles.rad2deg(), -15, 15)


VALUES = {  # GIFT, Table 14
    "flip_probability": 0.5,
    "scale_ratio": 1.2,
    "rotate_degrees": 15.0,
    "crop_pad": 0.125,
    "cutout_ratio": 0.5,
    "brightness_ratio": 1.0,
    "saturation_ratio": 2.0,
    "contrast_ratio": 0.5,
}


def operations(seed, names, **changed):
    """DSA's operations of these names, one after the other from one stream of numbers."""
    generator = draw(seed=seed)
    values = VALUES | changed

    def colour(x):
        x = augment._brightness(x, generator, values["brightness_ratio"])
        x = augment._saturation(x, generator, values["saturation_ratio"])
        return augment._contrast(x, generator, values["contrast_ratio"])

    known = {
        "colour": colour,
        "crop": lambda x: augment._shift(x, generator, round(16 * values["crop_pad"])),
        "cutout": lambda x: augment._cutout(x, generator, values["cutout_ratio"]),
        "flip": lambda x: augment._flip(x, generator, values["flip_probability"]),
        "scale": lambda x: augment._scale(x, generator, values["scale_ratio"]),
        "rotate": lambda x: augment._rotate(x, generator, values["rotate_degrees"]),
    }
    images = IMAGES
    for name in names:
        images = known[name](images)
    return images


class TestSiamese:
    @pytest.mark.parametrize(("seed", "name"), list(enumerate(SIAMESE)))
    def test_mode_s_applies_one_operation_to_the_whole_batch(self, seed, name):
        out = augmentations.resolve("dsa")(IMAGES, seed)
        assert torch.equal(out, operations(seed, [name]))
        assert not any(
            torch.equal(out, operations(seed, [other])) for other in SIAMESE if other != name
        )

    @pytest.mark.parametrize("seed", [7, 12])
    def test_mode_m_applies_all(self, seed):
        assert torch.equal(
            augmentations.resolve("dsa:mode=m")(IMAGES, seed), operations(seed, SIAMESE)
        )

    @pytest.mark.parametrize(("seed", "name"), [(9, "crop"), (10, "scale"), (11, "rotate")])
    def test_diffaug_applies_flip_colour_one_of_three_and_cutout(self, seed, name):
        expected = operations(seed, ["flip", "colour", name, "cutout"])
        assert torch.equal(augmentations.resolve("diffaug")(IMAGES, seed), expected)

    def test_streams_choose_each_operation_equally_often(self):
        seeds = [rng.stream(0, "augment", step) for step in range(1200)]
        assert is_even([seed % 6 for seed in seeds], range(6))
        assert is_even([seed % 3 for seed in seeds], range(3))

    @pytest.mark.parametrize("option", VALUES)
    def test_each_option_reaches_its_operation(self, option):
        changed = {option: VALUES[option] / 2}
        spec = f"{option}={VALUES[option] / 2}"
        expected = operations(1, SIAMESE, **changed)
        assert not torch.equal(expected, operations(1, SIAMESE))
        assert torch.equal(augmentations.resolve(f"dsa:mode=m,{spec}")(IMAGES, 1), expected)
        for seed, name in enumerate(("crop", "scale", "rotate")):
            expected = operations(seed, ["flip", "colour", name, "cutout"], **changed)
            assert torch.equal(augmentations.resolve(f"diffaug:{spec}")(IMAGES, seed), expected)

    def test_dsa_and_diffaug_show_the_options_of_the_paper(self):
        options = {entry.name: entry.options for entry in augmentations.entries()}
        assert options["dsa"] == {"mode": "s"} | VALUES
        assert options["diffaug"] == VALUES


def boxes_of(out):
    """Top, left, height and width of the boxes that were cut out of coordinates and resized."""
    top, left = out[:, 0, 0, 0] - 1, out[:, 1, 0, 0] - 1
    return torch.stack([top, left, out[:, 0, -1, -1] - top, out[:, 1, -1, -1] - left], 1)


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
        for figure in (
            lambda box: box[:, 0],
            lambda box: box[:, 1],
            lambda box: box[:, 2] * box[:, 3],
            lambda box: (box[:, 3] / box[:, 2]).log(),
        ):
            assert (
                stats.ks_2samp(figure(ours).numpy(), figure(theirs.float()).numpy()).pvalue > 0.001
            )

    def test_area_is_uniform_and_aspect_log_uniform_where_all_boxes_fit(self):
        box = boxes_of(
            augment.random_resized_crop(coordinates(800, 128), 5, low=0.1, high=0.5, ratio=2.0)
        )
        assert is_uniform(box[:, 2] * box[:, 3] / 128**2, 0.1, 0.5)
        assert is_uniform((box[:, 3] / box[:, 2]).log2(), -1, 1)

    def test_pixels_are_torchvisions(self):
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
        # A box of the whole area fits the first two never, the third only if its aspect is that of the image.
        out = boxes_of(augment.random_resized_crop(coordinates(50, height, width), 2, low=1.0))
        assert Counter(map(tuple, out.round().int().tolist())).most_common(1)[0][0] == tuple(box)
        assert box == list(
            RandomResizedCrop.get_params(torch.zeros(1, height, width), [9.0, 9.0], [3 / 4, 4 / 3])
        )

    @pytest.mark.parametrize("options", ["low=0", "low=0.5,high=0.4", "high=1.1", "ratio=0.9"])
    def test_impossible_ranges_are_refused(self, options):
        with pytest.raises(UsageError, match="expected 0 < low <= high <= 1 <= ratio"):
            augment_of(f"random-resized-crop:{options}", channels=3, size=32)


class TestPatchShuffle:
    @staticmethod
    def orders(factor, *, count=2400, strips=False):
        """Which patch stands where, for each image; refuses patches that were changed inside."""
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

    def test_strips_keep_rows_together(self):
        assert is_even(
            self.orders(2, strips=True), [(0, 1, 2, 3), (1, 0, 3, 2), (2, 3, 0, 1), (3, 2, 1, 0)]
        )

    def test_strips_shuffle_rows_and_columns_on_their_own(self):
        threes = list(itertools.permutations(range(3)))
        possible = [
            tuple(3 * y + x for y in rows for x in columns) for rows in threes for columns in threes
        ]
        assert is_even(self.orders(3, strips=True), possible)

    @pytest.mark.parametrize("strips", [False, True])
    def test_nine_patches_come_each_once(self, strips):
        assert {tuple(sorted(order)) for order in self.orders(3, count=100, strips=strips)} == {
            tuple(range(9))
        }

    def test_channels_and_sides_stay_together(self):
        out = augment.patch_shuffle(coordinates(20, 6, 10), 1)
        # In a patch of 3 × 5, rows and columns count on by one.
        assert (out[:, 0].diff(dim=1)[:, [0, 1, 3, 4]] == 1).all()
        assert (out[:, 1].diff(dim=2)[:, :, [0, 1, 2, 3, 5, 6, 7, 8]] == 1).all()

    @pytest.mark.parametrize("factor", [0, 3, 64])
    def test_patches_that_do_not_divide_the_image_are_refused(self, factor):
        with pytest.raises(
            ValueError, match=f"cannot be cut into {factor} x {factor} equal patches"
        ):
            augment.patch_shuffle(torch.zeros(1, 1, 32, 32), 0, factor=factor)


class TestSpecs:
    def test_a_composition_gives_each_part_its_own_stream(self):
        out = augment_of("flip + crop:padding=2", channels=3, size=16)(IMAGES, 5)
        flipped = augment.flip(IMAGES, rng.stream(5, "part", 0))
        assert torch.equal(out, augment.crop(flipped, rng.stream(5, "part", 1), padding=2))

    def test_a_single_part_gets_the_seed_itself(self):
        assert torch.equal(
            augment_of("flip", channels=3, size=16)(IMAGES, 5), augment.flip(IMAGES, 5)
        )

    def test_a_plus_in_a_number_joins_nothing(self):
        spec = "dsa:mode=m,rotate-degrees=1e+1"
        out = augment_of(f"{spec}+none", channels=3, size=16)(IMAGES, 5)
        assert torch.equal(
            out, augment.dsa(IMAGES, rng.stream(5, "part", 0), mode="m", rotate_degrees=10.0)
        )

    def test_flip_and_crop_are_the_operations(self):
        assert torch.equal(
            augment.flip(IMAGES, 3, probability=0.3), augment._flip(IMAGES, draw(), 0.3)
        )
        assert torch.equal(augment.crop(IMAGES, 3, padding=1), augment._shift(IMAGES, draw(), 1))

    @pytest.mark.parametrize(
        ("spec", "message"),
        [
            ("flip+nope", "unknown augmentation 'nope'"),
            ("flip+", "unknown augmentation 'flip\\+'"),
            ("flip:padding=2", "has no option 'padding'"),
            (
                "flip+patch-shuffle:factor=3",
                "'flip\\+patch-shuffle:factor=3' does not work on 32 px: 32 x 32 px cannot",
            ),
            ("flip+dsa:crop-pad=-1", "does not work on 32 px"),
            ("dsa:crop-pad=-1+flip", "does not work on 32 px"),
            ("diffaug:crop-pad=-1", "does not work on 32 px"),
            ("diffaug:scale-ratio=0", "does not work on 32 px"),
            ("dsa:flip-probability=50", "expected 0 to 1"),
            ("flip:probability=-0.1", "expected 0 to 1"),
            ("crop:padding=-1", "does not work on 32 px"),
        ],
    )
    def test_what_cannot_work_is_refused(self, spec, message):
        with pytest.raises(UsageError, match=message):
            augment_of(spec, channels=3, size=32)


class Waiting(TorchDispatchMode):
    """Refuses operations that would have to wait for a device, or copy to it."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        assert func.overloadpacket.__name__ not in (
            "_local_scalar_dense",
            "nonzero",
            "masked_select",
            "lift_fresh",
        )
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(
    "name", [*augmentations, "dsa:mode=m", "patch-shuffle:strips=true", "flip+crop"]
)
class TestEveryAugmentation:
    @pytest.mark.parametrize("channels", [1, 3])
    @pytest.mark.parametrize("size", [28, 32, 64])
    def test_keeps_shape_and_type_and_is_a_function_of_its_seed(self, name, channels, size):
        images = torch.randn(8, channels, size, size, generator=torch.Generator().manual_seed(2))
        function, before, state = (
            augment_of(name, channels=channels, size=size),
            images.clone(),
            torch.get_rng_state(),
        )
        for seed in range(6):
            out = function(images, seed)
            assert (out.shape, out.dtype) == (images.shape, images.dtype)
            assert out.isfinite().all()
            assert torch.equal(out, function(images, seed))
        assert torch.equal(images, before)
        assert torch.equal(torch.get_rng_state(), state)

    def test_seeds_and_images_differ(self, name):
        if name == "none":
            return
        images = IMAGES[:1].repeat(32, 1, 1, 1)
        function = augment_of(name, channels=3, size=16)
        for seed in range(6):
            out = function(images, seed)
            assert not torch.equal(out, function(images, seed + 6))
            assert len({image.numpy().tobytes() for image in out}) > 1

    def test_waits_for_no_device(self, name):
        function = augment_of(name, channels=3, size=16)
        with Waiting():
            for seed in range(6):
                function(IMAGES, seed)


def test_waiting_would_be_noticed():
    with Waiting(), pytest.raises(AssertionError):
        bool(torch.ones(1))
    with Waiting(), pytest.raises(AssertionError):
        torch.tensor([math.pi])
