"""The pixel space of bare arrays: stated or beyond doubt."""

from __future__ import annotations

import numpy as np
import pytest
from foreign_sources import UINT8, UNIT, correlated, load, save_npz, save_pair, whiten

from ddlabel.core.errors import (
    InvalidInputError,
    UsageError,
)


def test_floating_point_pixels_have_to_be_stated(tmp_path):
    paths = save_pair(tmp_path)
    with pytest.raises(UsageError, match="--pixels"):
        load(*paths)


def test_uint8_pixels_are_beyond_doubt(tmp_path):
    bundle = load(*save_pair(tmp_path, UINT8))
    assert (bundle.pixels.space, bundle.images.tolist()) == ("uint8", UINT8.tolist())


def test_whole_numbers_stated_as_uint8_become_uint8(tmp_path):
    bundle = load(*save_pair(tmp_path, UINT8.astype(np.float32)), pixels="uint8")
    assert (bundle.images.dtype, bundle.images.tolist()) == (np.uint8, UINT8.tolist())


@pytest.mark.parametrize("value", [-1.0, 256.0, np.nan, np.inf, -np.inf])
@pytest.mark.filterwarnings("ignore:invalid value")
def test_numbers_that_no_byte_holds_are_not_uint8(tmp_path, value):
    images = UINT8.astype(np.float32)
    images[1, 2, 1, 0] = value
    with pytest.raises(InvalidInputError):
        load(*save_pair(tmp_path, images), pixels="uint8")


def test_normalised_pixels_are_put_back_in_unit_space(tmp_path):
    mean, std = np.array([0.5, 0.25, 0.0]), np.array([0.25, 0.5, 1.0])
    normalised = (UNIT - mean.reshape(3, 1, 1)) / std.reshape(3, 1, 1)
    bundle = load(
        *save_pair(tmp_path, normalised), pixels="normalised", mean="0.5,0.25,0", std="0.25,0.5,1"
    )
    np.testing.assert_allclose(bundle.images, UNIT, atol=1e-6)
    assert (bundle.images.dtype, bundle.pixels.space) == (np.float32, "unit")
    assert (bundle.pixels.mean, bundle.pixels.std) == ((0.5, 0.25, 0.0), (0.25, 0.5, 1.0))


@pytest.mark.parametrize(
    ("mean", "std"),
    [
        (None, None),
        ("0.5,0.5,0.5", None),
        (None, "1,1,1"),
        ("a,b,c", "1,1,1"),
        ("0,0,0", "1,1"),
        ("0,0,0", "1,1,0"),
    ],
)
def test_normalised_pixels_need_the_numbers_of_each_channel(tmp_path, mean, std):
    with pytest.raises(UsageError):
        load(*save_pair(tmp_path), pixels="normalised", mean=mean, std=std)


def test_one_mean_and_std_stand_for_every_channel(tmp_path):
    normalised = (UNIT - 0.25) / 0.5
    bundle = load(*save_pair(tmp_path, normalised), pixels="normalised", mean="0.25", std="0.5")
    np.testing.assert_allclose(bundle.images, UNIT, atol=1e-6)
    assert (bundle.pixels.mean, bundle.pixels.std) == ((0.25,) * 3, (0.5,) * 3)


def test_a_convention_is_its_mean_and_std(tmp_path):
    given = {"mean": "0.5071,0.4867,0.4408", "std": "0.2675,0.2565,0.2761"}
    mean, std = (np.array(eval(text)).reshape(3, 1, 1) for text in given.values())
    paths = save_pair(tmp_path, ((UNIT - mean) / std).astype(np.float32))
    bundle = load(*paths, pixels="normalised", normalise="cifar-edc")
    np.testing.assert_allclose(bundle.images, UNIT, atol=1e-6)
    other = load(*paths, pixels="normalised", **given)
    assert (bundle.pixels, bundle.digest) == (other.pixels, other.digest)


def test_pixels_in_unit_space_keep_their_values_whatever_networks_do(tmp_path):
    for normalise, mean in (("none", (0.0,) * 3), ("imagenet", (0.485, 0.456, 0.406))):
        bundle = load(*save_pair(tmp_path), pixels="unit", normalise=normalise)
        assert bundle.images.tolist() == UNIT.tolist()
        assert bundle.pixels.mean == mean
    measured = load(*save_pair(tmp_path), pixels="unit", normalise="measured")
    np.testing.assert_allclose(measured.pixels.mean, UNIT.mean((0, 2, 3)), atol=1e-6)


@pytest.mark.parametrize("normalise", ["measured", "none"])
def test_normalised_pixels_need_the_numbers_that_they_were_normalised_with(tmp_path, normalise):
    with pytest.raises(UsageError, match="a convention"):
        load(*save_pair(tmp_path), pixels="normalised", normalise=normalise)


def test_normalised_grey_images_become_three_channels_with_the_statistics_of_the_one(tmp_path):
    paths = save_pair(tmp_path, (UNIT[:, :1] - 0.25) / 0.5)
    bundle = load(*paths, pixels="normalised", rgb=True, mean="0.25", std="0.5")
    np.testing.assert_allclose(bundle.images, np.repeat(UNIT[:, :1], 3, axis=1), atol=1e-6)
    assert (bundle.pixels.mean, bundle.pixels.std) == ((0.25,) * 3, (0.5,) * 3)
    with pytest.raises(UsageError, match="--mean"):
        load(*paths, pixels="normalised", rgb=True, mean="0,0,0", std="1,1,1")


@pytest.mark.parametrize("space", ["unit", "normalised", "zca"])
def test_bytes_are_in_no_other_space(tmp_path, space, real):
    statistics = {"mean": "0", "std": "1"} if space == "normalised" else {}
    reference = {"zca_from": str(real)} if space == "zca" else {}
    with pytest.raises(UsageError, match="--pixels"):
        load(*save_pair(tmp_path, UINT8), pixels=space, **statistics, **reference)


def test_normalised_pixels_are_not_taken_for_unit_ones(tmp_path):
    with pytest.raises(InvalidInputError, match="--pixels"):
        load(*save_pair(tmp_path, UNIT * 6 - 2), pixels="unit")
    with pytest.raises(UsageError, match="--mean"):
        load(*save_pair(tmp_path), pixels="normalised", mean="128", std="50")


def test_a_bundle_to_unwhiten_with_belongs_to_whitened_pixels(tmp_path):
    with pytest.raises(UsageError, match="--zca-from"):
        load(*save_pair(tmp_path), pixels="unit", zca_from="real.h5")


def test_numbers_beyond_single_precision_are_refused_and_not_made_infinite(tmp_path):
    images = UNIT.astype(np.float64)
    images[0, 0, 0, 0] = 1e300
    with pytest.raises(InvalidInputError):
        load(
            save_npz(tmp_path / "x.npz", x=images, y=np.array([0, 1])),
            pixels="unit",
            mean="0",
            std="1",
        )


def test_whitened_images_are_imported_in_unit_space(tmp_path, real):
    images = correlated(4, seed=1)
    paths = save_pair(
        tmp_path, whiten(images, correlated()).astype(np.float32), labels=[0, 1, 2, 0]
    )
    bundle = load(*paths, pixels="zca", zca_from=str(real))
    np.testing.assert_allclose(bundle.images, images, atol=1e-4)
    assert (bundle.pixels.space, bundle.images.dtype) == ("unit", np.float32)


def test_whitened_images_are_normalised_like_the_real_ones(tmp_path, real):
    """The fixture `real` has these numbers in its header; few images would give others."""
    paths = save_pair(tmp_path, whiten(correlated(4, seed=1), correlated()), labels=[0, 1, 2, 0])
    whitened = {"pixels": "zca", "zca_from": str(real)}
    pixels = load(*paths, **whitened).pixels
    assert (pixels.mean, pixels.std) == ((0.5,) * 3, (0.3,) * 3)
    pixels = load(*paths, **whitened, mean="0.25", std="0.5").pixels
    assert (pixels.mean, pixels.std) == ((0.25,) * 3, (0.5,) * 3)


@pytest.mark.parametrize(
    ("images", "likely"), [(UNIT * 6 - 2, "normalised"), (UNIT * 300, "uint8"), (UNIT, "unit")]
)
def test_of_pixels_in_an_unknown_space_the_likeliest_is_named_first(tmp_path, images, likely):
    with pytest.raises(UsageError, match=f"--pixels {likely} .*likelier"):
        load(*save_pair(tmp_path, images))


def test_whitened_images_need_the_real_ones_of_the_same_shape(tmp_path, real):
    with pytest.raises(UsageError, match="--zca-from"):
        load(*save_pair(tmp_path), pixels="zca")
    with pytest.raises(InvalidInputError, match="real"):
        load(*save_pair(tmp_path), pixels="zca", zca_from=str(real))
    with pytest.raises(InvalidInputError, match=r"none\.h5"):
        load(*save_pair(tmp_path), pixels="zca", zca_from=str(tmp_path / "none.h5"))
