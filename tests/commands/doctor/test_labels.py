"""`doctor`: labels and images that are wrong on purpose."""

from __future__ import annotations

import shlex
from dataclasses import replace

import numpy as np
import pytest
from samples import make_bundle, with_arrays
from stub_experts import rows_bundle
from view_samples import grid_bundle, recorded_views

import ddlabel
from ddlabel.commands.doctor.case import Case, HeldOut
from ddlabel.commands.doctor.images import constant_images, duplicated_images, saturated_images
from ddlabel.commands.doctor.labels import contradicted_labels, label_space, labels_of_views
from ddlabel.commands.doctor.overlap import overlap_with_test
from ddlabel.data.bundle import Bundle
from ddlabel.data.schema import LabelMeta

GENERATOR = np.random.default_rng(0)


def case_of(bundle: Bundle) -> Case:
    return Case(bundle=bundle, name="few.h5")


def softmax(values: np.ndarray) -> np.ndarray:
    exponentials = np.exp(values)
    return exponentials / exponentials.sum(-1, keepdims=True)


def with_soft(values: np.ndarray, space: str, bundle: Bundle | None = None) -> Bundle:
    bundle = bundle or make_bundle(images=len(values), classes=values.shape[1])
    meta = LabelMeta(space=space)
    return with_arrays(bundle, soft_labels=values.astype(np.float32), soft=meta)


LOGITS = GENERATOR.normal(size=(40, 5)) * 3


def test_distributions_that_are_declared_as_logits_are_found_and_mended(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    bundle = with_soft(softmax(LOGITS), "logits")
    (finding,) = label_space(case_of(bundle))
    assert finding.certainty == "certain"
    ddlabel.write("few.h5", bundle)
    exec(shlex.split(finding.commands[0])[2], {})
    mended = ddlabel.read("few-mended.h5")
    assert np.allclose(mended.soft.probs(), softmax(LOGITS), atol=1e-6)
    assert label_space(case_of(mended)) == []


@pytest.mark.parametrize("space", ["probs", "logits"])
def test_distributions_that_were_softmaxed_twice_are_found(space):
    twice = softmax(softmax(LOGITS))
    values = twice if space == "probs" else np.log(twice) + 3
    (finding,) = label_space(case_of(with_soft(values, space)))
    assert "it was applied twice" in finding.found


@pytest.mark.parametrize(
    ("values", "space"),
    [
        (LOGITS, "logits"),
        (softmax(LOGITS), "probs"),
        (softmax(LOGITS / 20), "probs"),
        (np.eye(5)[[0, 1, 2]], "probs"),
        (np.full((4, 5), 0.2), "probs"),
        (LOGITS, "direction"),
        (np.zeros((4, 5)), "mass"),
    ],
)
def test_labels_in_their_space_have_no_finding(values, space):
    assert label_space(case_of(with_soft(values, space))) == []


def labels_of(bundle: Bundle) -> np.ndarray:
    """Logits of which nine of ten have the class as the largest entry."""
    logits = GENERATOR.normal(size=(len(bundle), bundle.num_classes))
    shown = np.where(np.arange(len(bundle)) % 10, bundle.hard_labels, 0)
    logits[np.arange(len(bundle)), shown] += 5
    return logits


@pytest.mark.parametrize("space", ["logits", "direction"])
def test_labels_made_in_another_order_are_found_with_the_order(space):
    bundle = make_bundle(images=100, classes=5)
    made_in = np.array([2, 0, 3, 4, 1])
    bundle = with_soft(labels_of(bundle)[:, made_in], space, bundle)
    (finding,) = contradicted_labels(case_of(bundle))
    names = ",".join(f"class {number}" for number in made_in)
    assert finding.commands == (f"ddlabel edit few.h5 few-mended.h5 --label-order '{names}'",)


def test_labels_in_the_right_order_have_no_finding():
    bundle = make_bundle(images=100, classes=5)
    assert contradicted_labels(case_of(with_soft(labels_of(bundle), "logits", bundle))) == []
    assert contradicted_labels(case_of(replace(bundle, soft=None))) == []


def test_images_whose_label_is_sure_of_another_class_are_named():
    bundle = make_bundle(images=50, classes=5)
    logits = 9 * np.eye(5)[bundle.hard_labels]
    logits[[7, 30]] = 9 * np.eye(5)[[4, 1]]
    (finding,) = contradicted_labels(case_of(with_soft(logits, "logits", bundle)))
    assert finding.rows == (7, 30)
    assert "(the first: class 2, labelled class 4)" in finding.found


@pytest.mark.parametrize(("bundle", "is_mixed"), [(grid_bundle(), 0), (recorded_views("mixup"), 1)])
def test_views_whose_labels_disagree_are_found(bundle, is_mixed):
    shape = bundle.dense.values.shape
    own = np.broadcast_to(np.eye(3)[bundle.hard_labels][:, None], shape).copy()
    # The larger share of a blended view, three quarters, is its own class.
    right = with_arrays(bundle, dense_labels=own.astype(np.float32))
    assert labels_of_views(case_of(right)) == []
    other = np.roll(own, 1, axis=2)
    other[: len(bundle) // 3] = own[: len(bundle) // 3]
    wrong = with_arrays(bundle, dense_labels=other.astype(np.float32))
    (finding,) = labels_of_views(case_of(wrong))
    assert finding.found.startswith("33.3 %")


def test_images_of_one_colour_are_found():
    bundle = make_bundle(images=9, channels=3)
    images = np.array(bundle.images)
    images[4] = np.array([3, 90, 200], np.uint8).reshape(3, 1, 1)
    (finding,) = constant_images(case_of(replace(bundle, images=images)))
    assert finding.rows == (4,)
    assert finding.commands == ("ddlabel edit few.h5 few-mended.h5 --without-images 4",)
    assert constant_images(case_of(bundle)) == []


def test_images_that_were_cut_off_at_both_ends_are_found():
    normal = GENERATOR.normal(size=(20, 3, 8, 8))
    clipped = (np.clip(normal, 0, 1) * 255).astype(np.uint8)
    bundle = replace(make_bundle(images=20, channels=3), images=clipped)
    # A normal number is below 0 in half of the cases and above 1 in 16 %.
    (finding,) = saturated_images(case_of(replace(bundle, images=np.clip(clipped, 0, 255))))
    assert 0 < len(finding.rows) < 20
    digits = np.zeros((20, 3, 8, 8), np.uint8)
    digits[..., 3:5, 3:5] = 255
    assert saturated_images(case_of(replace(bundle, images=digits))) == []


def test_images_that_are_there_twice_and_test_images_among_them_are_found():
    bundle, test = rows_bundle(), make_bundle(images=30, channels=3, seed=5)
    images = np.array(bundle.images)
    images[40] = images[11]
    images[50] = test.images[3]
    case = case_of(replace(bundle, images=images))
    (twice,) = duplicated_images(case)
    assert twice.rows == (40,)
    assert "with another class than it: 1" in twice.found
    (shared,) = overlap_with_test(case, HeldOut(bundle=test, name="test.h5"))
    assert shared.rows == (50,)
    assert "50 (3 of the test set)" in shared.found
    assert overlap_with_test(case_of(bundle), HeldOut(bundle=test, name="test.h5")) == []
    assert duplicated_images(case_of(bundle)) == []
