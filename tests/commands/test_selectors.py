"""Selectors, against deciles and loops written out by hand."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from samples import make_bundle
from stub_experts import (
    Brightness,
    StubExperts,
    class_rows,
    features_of,
    rows_by_class,
    run_selector,
    two_layers,
)

from ddlabel.commands.selectors import selectors
from ddlabel.core import rng
from ddlabel.core.config import SelectOptions
from ddlabel.core.errors import UsageError
from ddlabel.data.bundle import Bundle
from ddlabel.data.schema import Pixels


def grey_bundle(num_images: int) -> Bundle:
    """Images of two classes in turn; each has one brightness, which no other image has."""
    levels = np.random.default_rng(5).permutation(num_images).astype(np.float32) / num_images
    images = np.broadcast_to(levels[:, None, None, None], (num_images, 1, 4, 4)).copy()
    pixels = Pixels(space="unit", mean=(0.5,), std=(0.25,))
    return replace(make_bundle(num_images, classes=2, size=4), images=images, pixels=pixels)


def easiest_first(bundle: Bundle) -> list[np.ndarray]:
    """Rows of each class of `grey_bundle`: bright images of the first, dark ones of the second."""
    levels = bundle.images[:, 0, 0, 0]
    first, second = class_rows(bundle, 0), class_rows(bundle, 1)
    return [first[np.argsort(-levels[first])], second[np.argsort(levels[second])]]


def select_rows(
    spec: str, bundle: Bundle, experts: StubExperts | None = None, **options
) -> list[np.ndarray]:
    """The rows that a selector takes of each class."""
    selected = run_selector(spec, bundle, experts or StubExperts(Brightness()), **options)
    assert (np.diff(selected.hard_labels) >= 0).all()
    return rows_by_class(selected)


class TestRandom:
    def test_every_class_is_drawn_from_its_own_stream(self, bundle):
        selected = selectors.get("random")(bundle, SelectOptions(ipc=2, seed=3))
        for number, rows in enumerate(rows_by_class(selected)):
            generator = np.random.default_rng(rng.stream(3, "select", number))
            expected = class_rows(bundle, number)[generator.permutation(4)[:2]]
            assert rows.tolist() == expected.tolist()
        assert selected.hard_labels.tolist() == [0, 0, 1, 1, 2, 2]
        assert np.array_equal(selected.images, bundle.images[selected.source_index])

    def test_a_smaller_ipc_is_a_part_of_a_larger_one(self, bundle):
        few, more = (
            selectors.get("random")(bundle, SelectOptions(ipc=ipc)).source_index.reshape(3, ipc)
            for ipc in (2, 4)
        )
        assert np.array_equal(few, more[:, :2])


class TestDeciles:
    @pytest.mark.parametrize(
        ("spec", "decile"), [("", 1), (":rank=hardest", 10), (":decile=3", 3), (":decile=10", 10)]
    )
    def test_a_decile_is_a_tenth_of_the_class_by_rank(self, spec, decile):
        bundle, experts = grey_bundle(80), StubExperts(Brightness())
        rows_of_classes = select_rows(f"cross-entropy{spec}", bundle, experts, ipc=4)
        for rows, ranked in zip(rows_of_classes, easiest_first(bundle), strict=True):
            assert set(rows) == set(ranked[4 * (decile - 1) : 4 * decile])
        assert experts.num_labelled == 80

    def test_fewer_than_a_decile_are_drawn_at_random_in_it(self):
        bundle = grey_bundle(1200)
        easiest = easiest_first(bundle)[0][:60]
        draws = [select_rows("cross-entropy", bundle, ipc=5, seed=seed)[0] for seed in range(20)]
        different = set(np.concatenate(draws))
        assert different <= set(easiest)
        assert len(different) > 40
        assert len({tuple(sorted(draw)) for draw in draws}) > 10

    @pytest.mark.parametrize(
        ("spec", "ranks"),
        [
            ("", range(7)),
            (":rank=hardest", range(33, 40)),
            (":decile=3", range(6, 13)),
            (":decile=2", range(2, 9)),
            (":decile=9", range(30, 37)),
        ],
    )
    def test_too_small_a_decile_is_filled_from_its_neighbours(self, spec, ranks):
        bundle = grey_bundle(80)
        rows, _ = select_rows(f"cross-entropy{spec}", bundle, ipc=7)
        assert set(rows) == set(easiest_first(bundle)[0][list(ranks)])

    def test_images_that_an_expert_is_sure_of_keep_their_order(self):
        # Margins of 20 to 30: in float32 the cross-entropy of every one of them is 0.
        bundle = grey_bundle(80)
        sign = np.where(bundle.hard_labels == 0, 1, -1)[:, None, None, None]
        levels = 0.2 + 0.1 * bundle.images
        bundle = replace(bundle, images=(0.5 + sign * levels).astype(np.float32))
        selected = select_rows("cross-entropy", bundle, StubExperts(Brightness(50)), ipc=4)
        certainty = np.abs(bundle.images[:, 0, 0, 0] - 0.5)
        for number, rows in enumerate(selected):
            of_class = class_rows(bundle, number)
            assert set(rows) == set(of_class[np.argsort(-certainty[of_class])][:4])

    @pytest.mark.parametrize(
        "spec", ["decile=11", "decile=0", "decile=2,rank=hardest", "rank=easy"]
    )
    def test_a_decile_that_does_not_exist_is_refused(self, spec):
        with pytest.raises(UsageError):
            select_rows(f"cross-entropy:{spec}", grey_bundle(80), ipc=1)


class TestStratified:
    SPEC = "cross-entropy:rank=stratified"

    @pytest.mark.parametrize(
        ("num_images", "ipc"), [(80, 10), (80, 25), (80, 3), (46, 13), (46, 23), (14, 7)]
    )
    def test_as_many_of_each_decile_are_taken_as_it_has(self, num_images, ipc):
        bundle = grey_bundle(num_images)
        ranked = easiest_first(bundle)[1]
        rows = select_rows(self.SPEC, bundle, ipc=ipc)[1]
        assert len(set(rows)) == ipc
        ends = len(ranked) * np.arange(11) // 10
        rank_of_row = {row: rank for rank, row in enumerate(ranked)}
        num_taken, _ = np.histogram([rank_of_row[row] for row in rows], ends - 0.5)
        # A decile has fewer than another by more than one only if it is used up.
        is_used_up = num_taken == np.diff(ends)
        assert np.all((num_taken >= num_taken.max() - 1) | is_used_up)

    def test_a_remainder_goes_to_deciles_at_random(self):
        bundle = grey_bundle(80)
        rank_of_row = {row: rank for rank, row in enumerate(easiest_first(bundle)[0])}
        rows = [select_rows(self.SPEC, bundle, ipc=1, seed=seed)[0][0] for seed in range(30)]
        assert len({rank_of_row[row] // 4 for row in rows}) > 5


class TestKCenter:
    def test_each_image_is_the_farthest_from_those_before_it(self):
        bundle, networks = make_bundle(36), [two_layers(0), two_layers(1)]
        selected = select_rows("k-center", bundle, StubExperts(*networks), ipc=5)
        points = np.concatenate([features_of(bundle, network) for network in networks], 1)
        for number, rows in enumerate(selected):
            of_class = class_rows(bundle, number)
            of_mean = np.linalg.norm(points[of_class] - points[of_class].mean(0), axis=1)
            distances = np.linalg.norm(points[of_class, None] - points[of_class], axis=2)
            expected = [int(of_mean.argmin())]
            for _ in range(4):
                expected.append(int(distances[:, expected].min(1).argmax()))
            assert rows.tolist() == of_class[expected].tolist()

    def test_its_radius_is_at_most_twice_the_best_of_all(self):
        bundle, network = make_bundle(30), two_layers()
        points = features_of(bundle, network)
        selected = select_rows("k-center", bundle, StubExperts(network), ipc=3)
        for number, rows in enumerate(selected):
            of_class = class_rows(bundle, number)
            distances = np.linalg.norm(points[of_class, None] - points[of_class], axis=2)

            def radius(centres, distances=distances):
                return distances[:, list(centres)].min(1).max()

            best = min(radius(centres) for centres in combinations(range(10), 3))
            assert best <= radius(np.searchsorted(of_class, rows)) <= 2 * best

    def test_no_image_is_taken_twice_where_all_are_alike(self):
        bundle = make_bundle(12)
        alike = replace(bundle, images=np.repeat(bundle.images[:1], 12, 0))
        selected = select_rows("k-center", alike, StubExperts(two_layers()), ipc=4)
        assert [len(set(rows)) for rows in selected] == [4, 4, 4]


def test_herding_brings_the_mean_of_the_chosen_nearest_to_that_of_the_class():
    bundle, network = make_bundle(1530), two_layers()
    points = features_of(bundle, network)
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    selected = select_rows("herding", bundle, StubExperts(network), ipc=6)
    for number, rows in enumerate(selected):
        of_class = class_rows(bundle, number)
        mean = points[of_class].mean(0)
        expected: list[int] = []
        for _ in range(6):
            candidates = [row for row in of_class if row not in expected]
            means = np.stack([points[[*expected, row]].mean(0) for row in candidates])
            expected.append(candidates[np.linalg.norm(means - mean, axis=1).argmin()])
        assert rows.tolist() == expected


@pytest.mark.parametrize(
    "spec", ["k-center", "herding", "cross-entropy", "cross-entropy:rank=stratified"]
)
def test_a_smaller_ipc_is_a_part_of_a_larger_one(spec):
    bundle = make_bundle(150)
    few, more = (select_rows(spec, bundle, StubExperts(two_layers()), ipc=ipc) for ipc in (2, 5))
    assert [rows.tolist() for rows in few] == [rows[:2].tolist() for rows in more]
