"""Mixed batches pixel by pixel, and their shares and boxes against closed forms and torchvision's."""

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
LEVELS = (
    torch.arange(8.0).view(8, 1, 1, 1).repeat(1, 1, 16, 24)
)  # every image is one grey, and no two are the same
SEEDS = [rng.stream(0, "mix", step) for step in range(2000)]


def pasted(images, mixed):
    """Which pixels [H, W] are not the image's own."""
    return (mixed.images != images).any(1).any(0).numpy()


def box(mask):
    """Left, top, right and bottom of what is pasted: nothing is an empty box."""
    rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    return (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1) if len(rows) else (0, 0, 0, 0)


def test_none_leaves_every_image_by_itself():
    mixed = none(IMAGES, 3)
    assert torch.equal(mixed.images, IMAGES)
    assert mixed.partner.tolist() == list(range(16))
    assert mixed.share.tolist() == [1.0] * 16


class TestCutmix:
    @pytest.mark.parametrize("seed", range(8))
    def test_inside_one_box_pixels_are_the_partners_and_outside_the_images(self, seed):
        mixed = cutmix(IMAGES, seed)
        mask = pasted(IMAGES, mixed)
        left, top, right, bottom = box(mask)
        assert mask[top:bottom, left:right].all()
        for image, partner, own in zip(mixed.images, mixed.partner, IMAGES, strict=True):
            np.testing.assert_array_equal(image[:, mask], IMAGES[partner][:, mask])
            np.testing.assert_array_equal(image[:, ~mask], own[:, ~mask])

    @pytest.mark.parametrize("seed", range(8))
    def test_share_is_what_is_left_in_pixels(self, seed):
        mixed = cutmix(IMAGES, seed)
        kept = 1 - pasted(IMAGES, mixed).mean()
        np.testing.assert_allclose(mixed.share, [kept] * 16, rtol=1e-6)

    def test_boxes_are_whole_now_and_nothing_then(self):
        # The seeds above would prove little if all of their boxes were empty.
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
        theirs = np.array([figures["box"] for figures in params])
        shares = [float(batch.share[0]) for batch in mixed]
        assert (
            stats.ks_2samp(shares, [figures["lam_adjusted"] for figures in params]).pvalue > 0.001
        )
        for edge in range(4):
            filled = [boxes[boxes[:, 2] > boxes[:, 0]][:, edge] for boxes in (ours, theirs)]
            assert stats.ks_2samp(*filled).pvalue > 0.001


class TestMixup:
    @pytest.mark.parametrize("seed", range(4))
    def test_mixes_linearly(self, seed):
        mixed = mixup(IMAGES, seed)
        share = mixed.share.view(-1, 1, 1, 1)
        torch.testing.assert_close(
            mixed.images, share * IMAGES + (1 - share) * IMAGES[mixed.partner]
        )

    @pytest.mark.parametrize("alpha", [0.8, 2.0])
    def test_shares_are_beta_distributed(self, alpha):
        shares = np.array([mixup(LEVELS, seed, alpha=alpha).share.numpy() for seed in SEEDS])
        assert (shares == shares[:, :1]).all()
        assert stats.kstest(shares[:, 0], stats.beta(alpha, alpha).cdf).pvalue > 0.001


@pytest.mark.parametrize("mix", [cutmix, mixup])
class TestBoth:
    def test_partners_are_any_permutation(self, mix):
        orders = Counter(tuple(mix(LEVELS[:3], seed).partner.tolist()) for seed in SEEDS)
        assert {tuple(sorted(order)) for order in orders} == {(0, 1, 2)}
        assert len(orders) == 6
        assert stats.chisquare(list(orders.values())).pvalue > 0.001

    def test_partners_do_not_depend_on_shares(self, mix):
        drawn = [mix(LEVELS[:2], seed) for seed in SEEDS]
        swapped = np.array([int(mixed.partner[0]) for mixed in drawn])
        shares = np.array([float(mixed.share[0]) for mixed in drawn])
        assert stats.ks_2samp(shares[swapped == 0], shares[swapped == 1]).pvalue > 0.001

    def test_probability_is_how_often_a_batch_is_mixed(self, mix):
        batches = [mix(LEVELS, seed, probability=0.3) for seed in SEEDS]
        untouched = [batch for batch in batches if (batch.share == 1).all()]
        assert all(torch.equal(batch.images, LEVELS) for batch in untouched)
        # A box can be empty by chance: then a mixed batch counts as untouched.
        empty = np.mean([bool((mix(LEVELS, seed).share == 1).all()) for seed in SEEDS])
        expected = 0.7 + 0.3 * empty
        assert stats.binomtest(len(untouched), len(SEEDS), expected).pvalue > 0.001

    @pytest.mark.parametrize("spec", ["alpha=0", "alpha=-1", "probability=-0.1", "probability=1.5"])
    def test_values_out_of_range_are_refused(self, mix, spec):
        with pytest.raises(
            UsageError, match=r"does not work: .*expected alpha > 0, probability from 0 to 1"
        ):
            mix_of(f"{mix.__name__}:{spec}")


@pytest.mark.parametrize("name", mixes)
class TestEveryMixing:
    def test_is_a_function_of_its_seed_and_leaves_its_input_alone(self, name):
        mix, before, state = mix_of(name), IMAGES.clone(), torch.get_rng_state()
        first, second = mix(IMAGES, 5), mix(IMAGES, 5)
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
    with pytest.raises(UsageError, match="unknown mixing 'cutmx': did you mean 'cutmix'"):
        mix_of("cutmx")
