"""Losses against scipy and hand-worked numbers, and the contract that every registered loss keeps."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cosine as scipy_cosine
from scipy.special import rel_entr, softmax

from ddlabel.bundle import LabelSpace
from ddlabel.errors import IncompatibleError
from ddlabel.labels.target import Target
from ddlabel.losses import losses

LOGITS = torch.tensor([[1.0, 2.0, -0.5], [0.3, -1.0, 0.8]], dtype=torch.float64)
LABELS = torch.tensor([[2.0, 0.5, -1.0], [0.1, 0.2, 1.5]], dtype=torch.float64)
HARD = torch.tensor([0, 2])


def target(values=LABELS, space="logits", temperature=1.0, hard=HARD):
    return Target(hard=hard, values=values, label=LabelSpace(space=space, temperature=temperature))


def test_ce_is_minus_log_probability_of_the_class():
    expected = -np.mean(np.log(softmax(LOGITS.numpy(), axis=1)[[0, 1], [0, 2]]))
    assert losses.get("ce")(LOGITS, target()).item() == pytest.approx(expected)


def test_soft_ce_is_the_sum_of_label_times_log_probability():
    p, q = softmax(LABELS.numpy(), axis=1), softmax(LOGITS.numpy(), axis=1)
    assert losses.get("soft-ce")(LOGITS, target()).item() == pytest.approx(-np.mean((p * np.log(q)).sum(1)))


@pytest.mark.parametrize("temperature", [1.0, 4.0, 20.0])
def test_kl_is_scipys_relative_entropy_and_scale_multiplies_by_temperature_squared(temperature):
    p, q = (softmax(x.numpy() / temperature, axis=1) for x in (LABELS, LOGITS))
    expected = rel_entr(p, q).sum(1).mean()
    kl = losses.get("kl")
    assert kl(LOGITS, target(), temperature=temperature, scale=False).item() == pytest.approx(expected)
    assert kl(LOGITS, target(), temperature=temperature).item() == pytest.approx(expected * temperature**2)


def test_mse_between_logits_and_between_probabilities():
    mse = losses.get("mse")
    assert mse(LOGITS, target()).item() == pytest.approx(np.mean((LOGITS - LABELS).numpy() ** 2))
    difference = softmax(LOGITS.numpy(), axis=1) - softmax(LABELS.numpy(), axis=1)
    assert mse(LOGITS, target(), space="probs").item() == pytest.approx(np.mean(difference**2))


@pytest.mark.parametrize("space", ["probs", "logits"])
def test_cosine_is_scipys_distance_between_student_logits_and_label(space):
    labels = LABELS.numpy() if space == "logits" else softmax(LABELS.numpy(), axis=1)
    expected = np.mean([scipy_cosine(a, b) for a, b in zip(LOGITS.numpy(), labels, strict=True)])
    assert losses.get("cosine")(LOGITS, target(), space=space).item() == pytest.approx(expected)


def test_cosine_by_hand():
    # (1, 0) against (3, 4): cos = 3/5, so the loss is 2/5.
    student, label = torch.tensor([[1.0, 0.0]]), torch.tensor([[3.0, 4.0]])
    value = losses.get("cosine")(student, target(label, "direction", hard=torch.tensor([0])))
    assert value.item() == pytest.approx(0.4)


def test_a_labels_own_temperature_and_the_losss_multiply():
    kl = losses.get("kl")
    soft = kl(LOGITS, target(temperature=2.0), temperature=3.0, scale=False)
    assert soft.item() == pytest.approx(kl(LOGITS, target(LABELS / 2), temperature=3.0, scale=False).item())


def test_probabilities_soften_as_the_logits_they_came_from():
    from_logits = target().probs(5.0)
    from_probs = target(target().probs(), "probs").probs(5.0)
    torch.testing.assert_close(from_logits, from_probs)


@pytest.mark.parametrize("loss", ["soft-ce", "kl", "kl:temperature=20", "mse:space=probs"])
def test_directions_are_refused_where_probabilities_are_needed(loss):
    with pytest.raises(IncompatibleError, match="directions"):
        losses.resolve(loss)(LOGITS, target(space="direction"))


def test_mse_on_logits_refuses_probabilities():
    with pytest.raises(IncompatibleError, match="space=probs"):
        losses.get("mse")(LOGITS, target(target().probs(), "probs"))


@pytest.mark.parametrize("name", losses)
class TestContract:
    def test_finite_on_one_hot_uniform_and_extreme_logits(self, name):
        for values in (torch.eye(3) * 200 - 100, torch.zeros(3, 3), torch.full((3, 3), -1e4) + torch.eye(3) * 2e4):
            for student in (torch.eye(3) * 200 - 100, torch.zeros(3, 3) + 1e-3):
                student = student.clone().requires_grad_()
                value = losses.get(name)(student, target(values, hard=torch.arange(3)))
                value.backward()
                assert math.isfinite(value.item())
                assert torch.isfinite(student.grad).all()

    def test_gradient_agrees_with_finite_differences(self, name):
        student = LOGITS.clone().requires_grad_()
        assert torch.autograd.gradcheck(lambda x: losses.get(name)(x, target()), student)

    def test_does_not_change_when_classes_are_permuted(self, name):
        order = torch.tensor([2, 0, 1])
        inverse = torch.argsort(order)
        same = target(LABELS[:, order], hard=inverse[HARD])
        assert losses.get(name)(LOGITS[:, order], same).item() == pytest.approx(
            losses.get(name)(LOGITS, target()).item()
        )

    def test_gradient_vanishes_where_student_equals_label(self, name):
        if name == "ce":
            pytest.skip("its label is the hard class, which no finite logits equal")
        # The cosine's label is a distribution: the student that equals it is that distribution, or any multiple.
        student = (target().probs() * 3 if name == "cosine" else LABELS).clone().requires_grad_()
        losses.get(name)(student, target()).backward()
        assert student.grad.abs().max() < 1e-9
