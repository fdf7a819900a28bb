"""Bundles whose classes are reordered or renamed, and how messages tell the two apart."""

from __future__ import annotations

import re

import numpy as np
import pytest
from samples import make_bundle, with_arrays

from ddlabel.core.errors import IncompatibleError, UsageError
from ddlabel.data.bundle import check_same_task
from ddlabel.data.class_lists import rename_classes, reorder_classes, reorder_labels
from ddlabel.data.class_names import describe_difference
from ddlabel.data.schema import LabelMeta

ORDER = ("class 2", "class 0", "class 1")


def complete_bundle():
    """Soft logits, and dense labels of two views in float16."""
    labels = np.random.default_rng(1).dirichlet(np.ones(3), (12, 2)).astype(np.float16)
    return with_arrays(
        make_bundle(),
        dense_labels=labels,
        dense_boxes=np.array([[0, 0, 1, 1]] * 2, np.float32),
        dense=LabelMeta(space="probs"),
    )


def by_name(bundle, field):
    """The labels of each class by its name."""
    probs = bundle.labels(field).probs()
    return {name: probs[..., number].tolist() for number, name in enumerate(bundle.classes)}


def test_reordered_labels_are_the_same_labels_by_name():
    bundle = complete_bundle()
    found = reorder_classes(bundle, ORDER)
    assert found.classes == ORDER
    names = [found.classes[number] for number in found.hard_labels]
    assert names == [bundle.classes[number] for number in bundle.hard_labels]
    for field in ("soft", "dense"):
        # The sum of a softmax in another order differs in the last bit.
        for name, column in by_name(bundle, field).items():
            np.testing.assert_allclose(by_name(found, field)[name], column, rtol=1e-6)
        assert found.labels(field).values.dtype == bundle.labels(field).values.dtype
    found.check_values()
    assert np.array_equal(reorder_classes(found, bundle.classes).dense.values, bundle.dense.values)


def test_labels_of_some_classes_are_reordered_by_their_index():
    index = np.array([[0, 2]] * 12, np.uint8)
    values = np.array([[0.75, 0.25]] * 12, np.float32)
    bundle = with_arrays(
        make_bundle(), soft_labels=values, soft_index=index, soft=LabelMeta(space="probs")
    )
    found = reorder_classes(bundle, ORDER)
    assert found.soft.index.dtype == np.uint8
    assert by_name(found, "soft") == by_name(bundle, "soft")
    found.check_values()


def test_labels_in_another_order_than_the_classes_are_mended():
    right = make_bundle()
    wrong = right.with_labels("soft", right.soft.reorder(np.array([2, 0, 1])))
    found = reorder_labels(wrong, "soft", ORDER)
    assert np.array_equal(found.soft.values, right.soft.values)
    assert found.classes == right.classes
    assert np.array_equal(found.hard_labels, right.hard_labels)


def test_renamed_classes_keep_their_numbers():
    bundle = complete_bundle()
    found = rename_classes(bundle, ("a", "b", "c"))
    assert found.classes == ("a", "b", "c")
    assert np.array_equal(found.soft.values, bundle.soft.values)
    with pytest.raises(UsageError, match="2 names for 3 classes"):
        rename_classes(bundle, ("a", "b"))


def test_another_order_is_told_apart_from_other_classes():
    classes = ("ape", "cat")
    cases = {
        ("cat", "ape"): "another order.*--class-order run",
        ("new000", "new001"): "numbers of SRe2L.*--class-names run",
        ("n01440764", "n02102040"): "wnids.*--class-names run",
        ("ape", "dog"): "other classes than the bundle: number 1 is 'dog', expected 'cat'",
        ("ape",): "1 of them, expected 2",
    }
    for found, message in cases.items():
        assert re.search(message, describe_difference(found, classes, "run"))
    first = make_bundle()
    with pytest.raises(IncompatibleError, match="the test set has the same classes in another"):
        check_same_task("the test set", first, reorder_classes(first, ORDER))
