"""Views as FKD records them, in a bundle: taking some images, and arrays without a meaning."""

from __future__ import annotations

import numpy as np
import pytest
from samples import with_arrays
from view_samples import recorded_views

from ddlabel.core.errors import IncompatibleError, InvalidInputError


def test_the_partners_of_reordered_images_are_renumbered():
    bundle = recorded_views("mixup")
    reversed_rows = np.arange(6)[::-1]
    partners = bundle.take(reversed_rows).views.mix
    assert partners.tolist() == (5 - bundle.views.mix[::-1]).tolist()


def test_blended_views_cannot_be_taken_without_their_partners():
    with pytest.raises(IncompatibleError):
        recorded_views("mixup").take(np.arange(3))


def test_views_can_be_left_out():
    bundle = recorded_views("mixup").without_views()
    assert bundle.arrays.keys() == {"images", "hard_labels", "soft_labels"}


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"dense_flip": np.full((6, 2), 2, np.uint8)}, "dense_flip"),
        ({"dense_mix": np.full((6, 2), 6)}, "dense_mix"),
        ({"dense_mix_weight": np.full((6, 2), 1.5, np.float32)}, "dense_mix_weight"),
        ({"dense_mix_weight": None}, "dense_mix_weight"),
        ({"dense_mix": None}, "dense_mix"),
        ({"dense_flip": np.zeros((6, 3), np.uint8)}, "dense_flip"),
        ({"dense_boxes": np.zeros((6, 4), np.float32)}, "dense"),
    ],
)
def test_views_without_a_meaning_are_refused_by_name(change, name):
    with pytest.raises(InvalidInputError, match=name):
        with_arrays(recorded_views("mixup"), **change).check_values()
