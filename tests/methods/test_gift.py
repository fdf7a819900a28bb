"""GIFT's refinement against numbers worked by hand."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ddlabel.core.errors import IncompatibleError
from ddlabel.data.schema import LabelMeta
from ddlabel.methods.labels.gift import gift, smooth

PROBS = LabelMeta(space="probs")
LOGITS = LabelMeta(space="logits")


def unit(vectors):
    return vectors / vectors.norm(dim=1, keepdim=True)


def test_smoothing_spreads_alpha_over_the_other_classes():
    # K = 5, α = 0.1: 0.9 for the class and 0.1/4 for each other class.
    smoothed = smooth(torch.tensor([1]), 5, alpha=0.1)
    assert smoothed[0].tolist() == pytest.approx([0.025, 0.9, 0.025, 0.025, 0.025])


def test_smoothing_over_all_classes_includes_the_class_itself():
    # K = 5, α = 0.1: every class gets 0.1/5, and the class keeps 0.9 as well.
    smoothed = smooth(torch.tensor([1]), 5, alpha=0.1, smoothing="all")
    assert smoothed[0].tolist() == pytest.approx([0.02, 0.92, 0.02, 0.02, 0.02])


def test_blended_views_are_refined_towards_both_classes():
    # γ = 1, α = 0: three quarters of class 0 and a quarter of class 2, divided by their sum.
    refined = gift(
        torch.ones(1, 3) / 3,
        PROBS,
        torch.tensor([[0.75, 0, 0.25]]),
        space="probs",
        gamma=1.0,
        alpha=0.0,
    )
    assert refined[0].tolist() == pytest.approx([0.75, 0, 0.25])


def test_refined_distribution_equals_the_values_worked_by_hand():
    # K = 2, α = 0, class 0: smooth = (1, 0). soft = (0.6, 0.8)/1.4 has the unit vector (0.6, 0.8).
    # γ = 0.5: (0.5·1 + 0.5·0.6, 0.5·0.8) = (0.8, 0.4), divided by its sum 1.2: (2/3, 1/3).
    soft = torch.tensor([[0.6, 0.8]]) / 1.4
    refined = gift(soft, PROBS, torch.tensor([0]), space="probs", gamma=0.5, alpha=0.0)
    assert refined[0].tolist() == pytest.approx([2 / 3, 1 / 3])


def test_refined_direction_equals_the_values_worked_by_hand():
    # Raw logits (3, −4) have the unit vector (0.6, −0.8): γ = 0.1 gives (0.1 + 0.54, −0.72).
    refined = gift(
        torch.tensor([[3.0, -4.0]]), LOGITS, torch.tensor([0]), space="logits", gamma=0.1, alpha=0.0
    )
    assert refined[0].tolist() == pytest.approx([0.64, -0.72])


def test_gamma_one_eleventh_is_the_sum_of_the_public_code():
    logits = torch.randn(6, 10, generator=torch.Generator().manual_seed(1))
    hard = torch.arange(6)
    public = unit(logits) + 0.1 * unit(smooth(hard, 10, alpha=0.1))
    ours = gift(logits, LOGITS, hard, space="logits", gamma=1 / 11, alpha=0.1)
    torch.testing.assert_close(unit(public), unit(ours))


@given(st.floats(0, 1), st.floats(0, 1), st.integers(2, 20))
def test_refined_probs_are_distributions(gamma, alpha, classes):
    logits = torch.linspace(-3, 3, classes).repeat(classes, 1)
    refined = gift(logits, LOGITS, torch.arange(classes), space="probs", gamma=gamma, alpha=alpha)
    assert (refined >= 0).all()
    torch.testing.assert_close(refined.sum(1), torch.ones(classes))


def test_gamma_zero_keeps_the_label():
    logits = torch.randn(3, 4, generator=torch.Generator().manual_seed(2))
    refined = gift(logits, LOGITS, torch.arange(3), space="probs", gamma=0.0, alpha=0.1)
    torch.testing.assert_close(refined, logits.softmax(1))


def test_gamma_one_is_the_smoothed_label():
    logits = torch.randn(3, 4, generator=torch.Generator().manual_seed(2))
    hard = torch.arange(3)
    refined = gift(logits, LOGITS, hard, space="probs", gamma=1.0, alpha=0.1)
    torch.testing.assert_close(refined, smooth(hard, 4, alpha=0.1))


def test_temperature_of_the_label_softens_it():
    logits = torch.tensor([[2.0, 0.0]])
    refined = gift(
        logits,
        LabelMeta(space="logits", temperature=2.0),
        torch.tensor([0]),
        space="probs",
        gamma=0.0,
        alpha=0.1,
    )
    assert refined[0, 0].item() == pytest.approx(math.e / (math.e + 1))


@pytest.mark.parametrize(
    ("label", "space"), [("direction", "probs"), ("direction", "logits"), ("probs", "logits")]
)
def test_labels_of_another_space_are_refused(label, space):
    with pytest.raises(IncompatibleError):
        gift(
            torch.ones(1, 2),
            LabelMeta(space=label),
            torch.tensor([0]),
            space=space,
            gamma=0.1,
            alpha=0.1,
        )
