"""Losses of blended targets, which have a share of each class."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from loss_oracles import (
    HARD,
    NEED_ONE_CLASS,
    SPECS,
    STUDENT,
    STUDENTS,
    TAKE_PROBS,
    TEACHER,
    name_of,
    needs_logits,
    target,
    value_and_gradient,
    value_of,
)
from scipy.spatial.distance import cosine as cosine_distance
from scipy.special import log_softmax, softmax

from ddlabel.core.errors import IncompatibleError
from ddlabel.data.schema import LabelMeta
from ddlabel.methods.labels.target import Target

PARTNER = torch.tensor([1, 2, 3, 0])
SHARE = torch.tensor([0.7, 1.0, 0.25, 0.0], dtype=torch.float64)
BLENDED = target().blended(PARTNER, SHARE)
TAKE_BLENDED = [spec for spec in TAKE_PROBS if name_of(spec) not in NEED_ONE_CLASS]


def blend(values):
    """Blend rows of a numpy array [B, ...] with those of the partners."""
    share = SHARE.numpy().reshape(-1, *(1,) * (values.ndim - 1))
    return share * values + (1 - share) * values[PARTNER]


def test_ce_is_the_ce_of_both_classes_weighted_by_their_shares():
    log_q = log_softmax(STUDENT.numpy(), 1)
    rows = range(4)
    own = -log_q[rows, HARD]
    partners = -log_q[rows, HARD[PARTNER]]
    share = SHARE.numpy()
    expected = np.mean(share * own + (1 - share) * partners)
    assert value_of("ce", STUDENT, BLENDED) == pytest.approx(expected)


def test_soft_ce_is_the_soft_ce_of_both_labels_weighted_by_their_shares():
    log_q = log_softmax(STUDENT.numpy(), 1)
    p = softmax(TEACHER.numpy(), 1)
    own = -(p * log_q).sum(1)
    partners = -(p[PARTNER] * log_q).sum(1)
    share = SHARE.numpy()
    expected = np.mean(share * own + (1 - share) * partners)
    assert value_of("soft-ce", STUDENT, BLENDED) == pytest.approx(expected)


def test_mse_gt_takes_the_class_of_the_image_that_was_blended_into():
    # As in EDC: the labels are an online teacher's logits, and the class is the image's own.
    online = replace(BLENDED, values=TEACHER, meta=LabelMeta(space="logits"))
    student = STUDENT.numpy()
    squares = np.mean((student - TEACHER.numpy()) ** 2)
    own = -log_softmax(student, 1)[range(4), HARD].mean()
    assert value_of("mse-gt:weight=0.5", STUDENT, online) == pytest.approx(squares + 0.5 * own)
    half = online.take(slice(2, 4))
    assert half.first_classes.tolist() == HARD[2:].tolist()


def test_gift_refines_blended_labels_towards_blended_smoothed_labels():
    # α = 0.1: 0.9 for the class and 0.1/4 for each of the other four. γ = 0.1.
    smooth = blend(np.where(np.eye(5)[HARD] == 1, 0.9, 0.1 / 4))
    soft = blend(softmax(TEACHER.numpy(), 1))
    smooth = smooth / np.linalg.norm(smooth, axis=1, keepdims=True)
    soft = soft / np.linalg.norm(soft, axis=1, keepdims=True)
    refined = 0.1 * smooth + 0.9 * soft
    distances = [cosine_distance(a, b) for a, b in zip(STUDENT.numpy(), refined, strict=True)]
    assert value_of("gift", STUDENT, BLENDED) == pytest.approx(np.mean(distances), rel=1e-7)


@pytest.mark.parametrize("spec", TAKE_BLENDED)
@pytest.mark.parametrize(("share", "rows"), [(1.0, torch.arange(4)), (0.0, PARTNER)])
def test_share_1_gives_the_image_and_share_0_its_partner(spec, share, rows):
    shares = torch.full((4,), share, dtype=torch.float64)
    value, gradient = value_and_gradient(spec, STUDENT, target().blended(PARTNER, shares))
    expected_value, expected_gradient = value_and_gradient(spec, STUDENT, target().take(rows))
    assert value.item() == pytest.approx(expected_value.item(), rel=1e-7)
    torch.testing.assert_close(gradient, expected_gradient, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("spec", TAKE_BLENDED)
def test_value_and_gradient_are_finite_for_blended_hard_labels(spec):
    hard = Target.of_classes(torch.arange(3), 3)
    blended = hard.blended(torch.tensor([1, 2, 0]), torch.tensor([0.0, 1.0, 0.4]))
    for name, student in STUDENTS.items():
        value, gradient = value_and_gradient(spec, student, blended)
        assert math.isfinite(value), name
        assert gradient.isfinite().all(), name


@pytest.mark.parametrize("spec", [spec for spec in SPECS if name_of(spec) in NEED_ONE_CLASS])
def test_blended_targets_are_refused_where_one_class_is_needed(spec):
    with pytest.raises(IncompatibleError, match="--mix"):
        value_of(spec, STUDENT, BLENDED)


@pytest.mark.parametrize("spec", [spec for spec in SPECS if needs_logits(spec)])
def test_blended_targets_are_refused_where_logits_are_needed(spec):
    with pytest.raises(IncompatibleError, match="logits"):
        value_of(spec, STUDENT, BLENDED)
