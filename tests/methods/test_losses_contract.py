"""The contract of every registered loss: finite values, invariances, and refusals."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from loss_oracles import (
    CORNERS,
    HARD,
    SPECS,
    STUDENT,
    STUDENTS,
    TAKE_DIRECTIONS,
    TEACHER,
    accepted_labels,
    name_of,
    needs_logits,
    target,
    value_and_gradient,
    value_of,
    value_of_lists,
)

from ddlabel.core.errors import IncompatibleError
from ddlabel.methods.losses import loss_of

EXTREME_LABELS = {
    "logits right": ("logits", CORNERS),
    "logits wrong": ("logits", CORNERS.roll(1, 1)),
    "logits ±100": ("logits", torch.eye(3) * 200 - 100),
    "logits ±20": ("logits", torch.eye(3) * 40 - 20),
    "logits even": ("logits", torch.zeros(3, 3)),
    "logits all −10,000": ("logits", torch.full((3, 3), -1e4)),
    "probs one-hot": ("probs", torch.eye(3)),
    "probs one-hot and wrong": ("probs", torch.eye(3).roll(1, 1)),
    "probs even": ("probs", torch.full((3, 3), 1 / 3)),
    "probs with a 0": (
        "probs",
        torch.tensor([[0.7, 0.3, 0.0], [0.5, 0.0, 0.5], [0.0, 1e-30, 1.0]]),
    ),
}


@pytest.mark.parametrize("spec", SPECS)
class TestExtremes:
    def test_value_and_gradient_are_finite(self, spec):
        for kind in accepted_labels(spec, EXTREME_LABELS):
            space, values = EXTREME_LABELS[kind]
            labels = target(values, space, hard=torch.arange(3))
            for name, student in STUDENTS.items():
                for num_images in (3, 1):  # the last batch may have one image
                    rows = torch.arange(num_images)
                    value, gradient = value_and_gradient(spec, student[rows], labels.take(rows))
                    assert math.isfinite(value), (kind, name)
                    assert gradient.isfinite().all(), (kind, name)

    def test_float32_agrees_with_float64(self, spec):
        kinds = ["logits ±20", "logits even", "probs one-hot", "probs with a 0"]
        for kind in accepted_labels(spec, kinds):
            space, values = EXTREME_LABELS[kind]
            single = target(values, space, hard=torch.arange(3))
            double = target(values.double(), space, hard=torch.arange(3))
            for student in (STUDENTS["usual"], STUDENTS["usual"] * 100):
                value, gradient = value_and_gradient(spec, student, single)
                exact, expected = value_and_gradient(spec, student.double(), double)
                assert value.item() == pytest.approx(exact.item(), rel=1e-4, abs=1e-5), kind
                np.testing.assert_allclose(gradient, expected, rtol=1e-3, atol=1e-4, err_msg=kind)


@pytest.mark.parametrize("spec", ["dkd:temperature=1,warm-up=0", "nkd"])
def test_the_other_classes_count_where_the_teacher_is_certain(spec):
    student = torch.tensor([[1.0, 0.0, 0.0]])
    label = torch.tensor([[200.0, 1.0, 0.0]])
    hard = torch.tensor([0])
    exact = value_of(spec, student.double(), target(label.double(), hard=hard))
    assert value_of(spec, student, target(label, hard=hard)) == pytest.approx(exact, rel=1e-4)


def test_dkd_is_finite_for_a_probability_rounded_above_one():
    value = value_of_lists("dkd:temperature=1", [[1, 0]], [[1.00005, 0]], [0])
    assert math.isfinite(value)


@pytest.mark.parametrize("spec", SPECS)
class TestInvariance:
    def test_permuting_classes_changes_nothing(self, spec):
        order = torch.tensor([2, 0, 4, 1, 3])
        renamed = target(TEACHER[:, order], hard=torch.argsort(order)[HARD])
        value, gradient = value_and_gradient(spec, STUDENT, target())
        same, permuted = value_and_gradient(spec, STUDENT[:, order], renamed)
        assert same.item() == pytest.approx(value.item())
        torch.testing.assert_close(permuted, gradient[:, order])

    def test_permuting_images_changes_nothing(self, spec):
        order = torch.tensor([3, 1, 0, 2])
        value, gradient = value_and_gradient(spec, STUDENT, target())
        same, permuted = value_and_gradient(spec, STUDENT[order], target().take(order))
        assert same.item() == pytest.approx(value.item())
        torch.testing.assert_close(permuted, gradient[order])


@pytest.mark.parametrize("spec", ["cosine", "cosine:space=logits", "gift", "gift:space=logits"])
def test_scaling_the_logits_does_not_change_an_angle(spec):
    for factor in (1e-3, 7.0, 1e4):
        assert value_of(spec, STUDENT * factor, target()) == pytest.approx(
            value_of(spec, STUDENT, target())
        )


def test_temperatures_of_label_and_loss_multiply():
    soft = value_of("kl:temperature=3", STUDENT, target(temperature=2.0))
    assert soft == pytest.approx(value_of("kl:temperature=3", STUDENT, target(TEACHER / 2)))


@pytest.mark.parametrize("spec", [spec for spec in SPECS if name_of(spec) != "dkd"])
def test_every_loss_but_dkd_is_independent_of_the_epoch(spec):
    loss = loss_of(spec, steps_per_epoch=2)
    values = {loss(STUDENT, target(), step).item() for step in (0, 1, 2, 50)}
    assert len(values) == 1


@pytest.mark.parametrize("spec", sorted(set(SPECS) - TAKE_DIRECTIONS))
def test_directions_are_refused_by_losses_that_need_probabilities(spec):
    with pytest.raises(IncompatibleError, match="direction"):
        value_of(spec, STUDENT, target(space="direction"))


@pytest.mark.parametrize("spec", sorted(TAKE_DIRECTIONS))
def test_only_the_angle_of_directions_counts(spec):
    value = value_of(spec, STUDENT, target(TEACHER, "direction"))
    scaled = value_of(spec, STUDENT, target(TEACHER / 9, "direction"))
    assert value == pytest.approx(scaled)


def test_ce_ignores_directions():
    value = value_of("ce", STUDENT, target(TEACHER, "direction"))
    assert value == value_of("ce", STUDENT, target())


@pytest.mark.parametrize("spec", ["cosine", "cosine:space=logits"])
def test_cosine_takes_directions_as_they_are(spec):
    value = value_of(spec, STUDENT, target(TEACHER, "direction"))
    assert value == pytest.approx(value_of("cosine:space=logits", STUDENT, target()))


@pytest.mark.parametrize("spec", [spec for spec in SPECS if needs_logits(spec)])
def test_probabilities_are_refused_where_logits_are_needed(spec):
    with pytest.raises(IncompatibleError, match="logits"):
        value_of(spec, STUDENT, target(target().probs(), "probs"))
