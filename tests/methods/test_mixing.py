"""Mixed batches pixel by pixel; their shares and boxes against closed forms and torchvision."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from scipy import stats
from torchvision.transforms import v2

from ddlabel.core import rng
from ddlabel.core.errors import UsageError
from ddlabel.methods.mixing import cutmix, mix_of, mixes, mixup, none

IMAGES = torch.rand(16, 3, 12, 20, generator=torch.Generator().manual_seed(0))
# Every image has one grey value, and no two images the same.
LEVELS = torch.arange(8.0).view(8, 1, 1, 1).repeat(1, 1, 16, 24)
SEEDS = [rng.stream(0, "mix", step) for step in range(2000)]


def pasted(images, mixed):
    """Return which pixels [H, W] are not from the image itself."""
    return (mixed.images != images).any(1).any(0).numpy()


def box(mask):
    """Return left, top, right and bottom of the pasted box, which can be empty."""
    rows = np.flatnonzero(mask.any(1))
    columns = np.flatnonzero(mask.any(0))
    if len(rows) == 0:
        return (0, 0, 0, 0)
    return (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)


def test_none_leaves_every_image_unmixed():
    mixed = none(IMAGES, 3)
    assert torch.equal(mixed.images, IMAGES)
    assert mixed.partner.tolist() == list(range(16))
    assert mixed.share.tolist() == [1.0] * 16


class TestCutmix:
    @pytest.mark.parametrize("seed", range(8))
    def test_pixels_inside_one_box_are_the_partners_and_outside_the_images(self, seed):
        mixed = cutmix(IMAGES, seed)
        mask = pasted(IMAGES, mixed)
        left, top, right, bottom = box(mask)
        assert mask[top:bottom, left:right].all()
        for after, partner, before in zip(mixed.images, mixed.partner, IMAGES, strict=True):
            np.testing.assert_array_equal(after[:, mask], IMAGES[partner][:, mask])
            np.testing.assert_array_equal(after[:, ~mask], before[:, ~mask])

    @pytest.mark.parametrize("seed", range(8))
    def test_share_is_the_fraction_of_pixels_that_remain(self, seed):
        mixed = cutmix(IMAGES, seed)
        kept = 1 - pasted(IMAGES, mixed).mean()
        np.testing.assert_allclose(mixed.share, [kept] * 16, rtol=1e-6)

    def test_boxes_of_the_tested_seeds_differ_in_size(self):
        # The tests above would prove little if all of their boxes were empty.
        areas = [pasted(IMAGES, cutmix(IMAGES, seed)).mean() for seed in range(8)]
        assert np.count_nonzero(areas) > 4
        assert np.ptp(areas) > 0.3

    @pytest.mark.parametrize("alpha", [1.0, 0.3])
    def test_boxes_are_distributed_as_torchvisions(self, alpha):
        mixed = [cutmix(LEVELS, seed, alpha=alpha) for seed in SEEDS]
        ours = np.array([box(pasted(LEVELS, batch)) for batch in mixed])
        with torch.random.fork_rng(devices=[]):  # torchvision draws from torch's global generator
            torch.set_rng_state(torch.Generator().manual_seed(1).get_state())
            transform = v2.CutMix(alpha=alpha, num_classes=8)
            params = [transform.make_params([LEVELS]) for _ in SEEDS]
        theirs = np.array([param["box"] for param in params])
        our_shares = [float(batch.share[0]) for batch in mixed]
        their_shares = [param["lam_adjusted"] for param in params]
        assert stats.ks_2samp(our_shares, their_shares).pvalue > 0.001
        our_filled = ours[ours[:, 2] > ours[:, 0]]
        their_filled = theirs[theirs[:, 2] > theirs[:, 0]]
        for edge in range(4):
            result = stats.ks_2samp(our_filled[:, edge], their_filled[:, edge])
            assert result.pvalue > 0.001


class TestMixup:
    @pytest.mark.parametrize("seed", range(4))
    def test_images_are_means_weighted_by_the_share(self, seed):
        mixed = mixup(IMAGES, seed)
        share = mixed.share.view(-1, 1, 1, 1)
        expected = share * IMAGES + (1 - share) * IMAGES[mixed.partner]
        torch.testing.assert_close(mixed.images, expected)

    @pytest.mark.parametrize("alpha", [0.8, 2.0])
    def test_shares_are_beta_distributed(self, alpha):
        shares = np.array([mixup(LEVELS, seed, alpha=alpha).share.numpy() for seed in SEEDS])
        assert (shares == shares[:, :1]).all()
        assert stats.kstest(shares[:, 0], stats.beta(alpha, alpha).cdf).pvalue > 0.001


@pytest.mark.parametrize("mix", [cutmix, mixup])
class TestBoth:
    def test_every_permutation_of_partners_is_equally_likely(self, mix):
        orders = Counter(tuple(mix(LEVELS[:3], seed).partner.tolist()) for seed in SEEDS)
        assert {tuple(sorted(order)) for order in orders} == {(0, 1, 2)}
        assert len(orders) == 6
        assert stats.chisquare(list(orders.values())).pvalue > 0.001

    def test_partners_do_not_depend_on_shares(self, mix):
        drawn = [mix(LEVELS[:2], seed) for seed in SEEDS]
        swapped = np.array([int(mixed.partner[0]) for mixed in drawn])
        shares = np.array([float(mixed.share[0]) for mixed in drawn])
        assert stats.ks_2samp(shares[swapped == 0], shares[swapped == 1]).pvalue > 0.001

    def test_probability_is_the_share_of_mixed_batches(self, mix):
        batches = [mix(LEVELS, seed, probability=0.3) for seed in SEEDS]
        untouched = [batch for batch in batches if (batch.share == 1).all()]
        assert all(torch.equal(batch.images, LEVELS) for batch in untouched)
        # A box can be empty by chance: then a mixed batch counts as untouched, too.
        empty = np.mean([bool((mix(LEVELS, seed).share == 1).all()) for seed in SEEDS])
        expected = 0.7 + 0.3 * empty
        assert stats.binomtest(len(untouched), len(SEEDS), expected).pvalue > 0.001

    @pytest.mark.parametrize("spec", ["alpha=0", "alpha=-1", "probability=-0.1", "probability=1.5"])
    def test_values_out_of_range_are_refused(self, mix, spec):
        with pytest.raises(UsageError, match=spec):
            mix_of(f"{mix.__name__}:{spec}")


@pytest.mark.parametrize("name", mixes)
class TestEveryMixing:
    def test_depends_on_the_seed_only_and_leaves_its_input_unchanged(self, name):
        mix = mix_of(name)
        before = IMAGES.clone()
        state = torch.get_rng_state()
        first = mix(IMAGES, 5)
        second = mix(IMAGES, 5)
        for field in ("images", "partner", "share"):
            assert torch.equal(getattr(first, field), getattr(second, field))
        assert torch.equal(IMAGES, before)
        assert torch.equal(torch.get_rng_state(), state)
        if name != "none":
            other = mix(IMAGES, 6)
            assert not torch.equal(first.images, other.images)
            assert not torch.equal(first.partner, other.partner)
            assert not torch.equal(first.share, other.share)

    @pytest.mark.parametrize("channels", [1, 3])
    @pytest.mark.parametrize("size", [28, 32, 64])
    def test_keeps_shapes_and_types(self, name, channels, size):
        images = torch.randn(5, channels, size, size, generator=torch.Generator().manual_seed(2))
        mixed = mixes.resolve(name)(images, 4)
        assert (mixed.images.shape, mixed.images.dtype) == (images.shape, images.dtype)
        assert mixed.images.isfinite().all()
        assert (mixed.partner.shape, mixed.partner.dtype) == ((5,), torch.int64)
        assert (mixed.share.shape, mixed.share.dtype) == ((5,), torch.float32)
        assert ((mixed.share >= 0) & (mixed.share <= 1)).all()


def test_an_unknown_mixing_is_refused_by_name():
    with pytest.raises(UsageError, match="cutmx"):
        mix_of("cutmx")
