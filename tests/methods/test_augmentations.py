"""Augmentations by spec: DSA and DiffAug, compositions, and the contract of every augmentation."""

from __future__ import annotations

import math

import pytest
import torch
from draws import is_even
from torch.utils._python_dispatch import TorchDispatchMode

from ddlabel.core import rng
from ddlabel.core.errors import UsageError
from ddlabel.methods import augmentations as augment
from ddlabel.methods import image_operations as operations
from ddlabel.methods.augmentations import augment_of, augmentations
from ddlabel.methods.image_operations import RandomNumbers

IMAGES = torch.rand(64, 3, 16, 16, generator=torch.Generator().manual_seed(0))
SIAMESE = ("colour", "crop", "cutout", "flip", "scale", "rotate")


def random(images=IMAGES, seed=3):
    return RandomNumbers(images, seed)


# GIFT, Table 14.
VALUES = {
    "flip_probability": 0.5,
    "scale_ratio": 1.2,
    "rotate_degrees": 15.0,
    "crop_pad": 0.125,
    "cutout_ratio": 0.5,
    "brightness_ratio": 1.0,
    "saturation_ratio": 2.0,
    "contrast_ratio": 0.5,
}


def apply_operations(seed, names, **changed):
    """Apply the operations of these names in turn, with numbers from one stream."""
    numbers = random(seed=seed)
    values = VALUES | changed

    def colour(x):
        x = operations.brightness(x, numbers, values["brightness_ratio"])
        x = operations.saturation(x, numbers, values["saturation_ratio"])
        return operations.contrast(x, numbers, values["contrast_ratio"])

    known = {
        "colour": colour,
        "crop": lambda x: operations.shift(x, numbers, round(16 * values["crop_pad"])),
        "cutout": lambda x: operations.cutout(x, numbers, values["cutout_ratio"]),
        "flip": lambda x: operations.flip(x, numbers, values["flip_probability"]),
        "scale": lambda x: operations.scale(x, numbers, values["scale_ratio"]),
        "rotate": lambda x: operations.rotate(x, numbers, values["rotate_degrees"]),
    }
    images = IMAGES
    for name in names:
        images = known[name](images)
    return images


class TestSiamese:
    @pytest.mark.parametrize(("seed", "name"), list(enumerate(SIAMESE)))
    def test_mode_s_applies_one_operation_to_the_whole_batch(self, seed, name):
        out = augmentations.resolve("dsa")(IMAGES, seed)
        assert torch.equal(out, apply_operations(seed, [name]))
        assert not any(
            torch.equal(out, apply_operations(seed, [other])) for other in SIAMESE if other != name
        )

    @pytest.mark.parametrize("seed", [7, 12])
    def test_mode_m_applies_all(self, seed):
        assert torch.equal(
            augmentations.resolve("dsa:mode=m")(IMAGES, seed), apply_operations(seed, SIAMESE)
        )

    @pytest.mark.parametrize(("seed", "name"), [(9, "crop"), (10, "scale"), (11, "rotate")])
    def test_diffaug_applies_flip_colour_one_of_three_and_cutout(self, seed, name):
        expected = apply_operations(seed, ["flip", "colour", name, "cutout"])
        assert torch.equal(augmentations.resolve("diffaug")(IMAGES, seed), expected)

    def test_streams_choose_every_operation_equally_often(self):
        seeds = [rng.stream(0, "augment", step) for step in range(1200)]
        assert is_even([seed % 6 for seed in seeds], range(6))
        assert is_even([seed % 3 for seed in seeds], range(3))

    @pytest.mark.parametrize("option", VALUES)
    def test_each_option_reaches_its_operation(self, option):
        changed = {option: VALUES[option] / 2}
        spec = f"{option}={VALUES[option] / 2}"
        expected = apply_operations(1, SIAMESE, **changed)
        assert not torch.equal(expected, apply_operations(1, SIAMESE))
        assert torch.equal(augmentations.resolve(f"dsa:mode=m,{spec}")(IMAGES, 1), expected)
        for seed, name in enumerate(("crop", "scale", "rotate")):
            expected = apply_operations(seed, ["flip", "colour", name, "cutout"], **changed)
            assert torch.equal(augmentations.resolve(f"diffaug:{spec}")(IMAGES, seed), expected)

    def test_defaults_are_those_of_gifts_table_14(self):
        options = {entry.name: entry.options for entry in augmentations.entries()}
        assert options["dsa"] == {"mode": "s"} | VALUES
        assert options["diffaug"] == VALUES


class TestSpecs:
    def test_a_composition_gives_each_part_its_own_stream(self):
        out = augment_of("flip + crop:padding=2", channels=3, size=16)(IMAGES, 5)
        flipped = augment.flip(IMAGES, rng.stream(5, "part", 0))
        assert torch.equal(out, augment.crop(flipped, rng.stream(5, "part", 1), padding=2))

    def test_a_single_part_gets_the_seed_itself(self):
        out = augment_of("flip", channels=3, size=16)(IMAGES, 5)
        assert torch.equal(out, augment.flip(IMAGES, 5))

    def test_a_plus_within_a_number_is_part_of_the_number(self):
        spec = "dsa:mode=m,rotate-degrees=1e+1"
        out = augment_of(f"{spec}+none", channels=3, size=16)(IMAGES, 5)
        seed = rng.stream(5, "part", 0)
        assert torch.equal(out, augment.dsa(IMAGES, seed, mode="m", rotate_degrees=10.0))

    @pytest.mark.parametrize(
        ("spec", "named"),
        [
            ("flip+nope", "'nope'"),
            ("flip+", r"'flip\+'"),
            ("flip:padding=2", "'padding'"),
            ("flip+patch-shuffle:factor=3", r"'flip\+patch-shuffle:factor=3'"),
            ("flip+dsa:crop-pad=-1", "crop-pad=-1"),
            ("dsa:crop-pad=-1+flip", "crop-pad=-1"),
            ("diffaug:crop-pad=-1", "crop-pad=-1"),
            ("diffaug:scale-ratio=0", "scale-ratio=0"),
            ("dsa:flip-probability=50", "flip-probability=50"),
            ("flip:probability=-0.1", "probability=-0.1"),
            ("crop:padding=-1", "padding=-1"),
        ],
    )
    def test_specs_that_cannot_work_are_refused(self, spec, named):
        with pytest.raises(UsageError, match=named):
            augment_of(spec, channels=3, size=32)


class NoSync(TorchDispatchMode):
    """Fails for operations that would wait for a device or copy to it."""

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
    def test_keeps_shape_and_type_and_depends_on_the_seed_only(self, name, channels, size):
        images = torch.randn(8, channels, size, size, generator=torch.Generator().manual_seed(2))
        function = augment_of(name, channels=channels, size=size)
        before = images.clone()
        state = torch.get_rng_state()
        for seed in range(6):
            out = function(images, seed)
            assert (out.shape, out.dtype) == (images.shape, images.dtype)
            assert out.isfinite().all()
            assert torch.equal(out, function(images, seed))
        assert torch.equal(images, before)
        assert torch.equal(torch.get_rng_state(), state)

    def test_differs_between_seeds_and_between_images(self, name):
        if name == "none":
            return
        images = IMAGES[:1].repeat(32, 1, 1, 1)
        function = augment_of(name, channels=3, size=16)
        for seed in range(6):
            out = function(images, seed)
            assert not torch.equal(out, function(images, seed + 6))
            assert len({image.numpy().tobytes() for image in out}) > 1

    def test_does_not_wait_for_the_device(self, name):
        if name == "rand-augment":
            pytest.skip("torchvision copies the six numbers of a matrix to the device")
        function = augment_of(name, channels=3, size=16)
        with NoSync():
            for seed in range(6):
                function(IMAGES, seed)


def test_waiting_for_the_device_would_be_noticed():
    with NoSync(), pytest.raises(AssertionError):
        bool(torch.ones(1))
    with NoSync(), pytest.raises(AssertionError):
        torch.tensor([math.pi])
