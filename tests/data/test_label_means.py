"""Mean labels by class, worked by hand."""

from __future__ import annotations

import numpy as np
from samples import make_bundle, with_arrays

from ddlabel.data.label_means import class_means
from ddlabel.data.schema import LabelMeta


def test_labels_that_lost_probability_count_by_what_is_left_and_empty_ones_not_at_all():
    labels = np.array([[0.5, 0.25, 0], [0, 0, 0], [0, 0.125, 0.125], [0.25, 0, 0]], np.float32)
    bundle = with_arrays(make_bundle(images=4), soft_labels=labels, soft=LabelMeta(space="mass"))
    found = class_means(bundle, "soft")
    assert found.counts.tolist() == [2, 1, 0]
    assert np.allclose(found.means[0], [(2 / 3 + 1) / 2, 1 / 6, 0])
    assert found.means[1].tolist() == [0, 0.5, 0.5]
    assert np.isnan(found.means[2]).all()
