"""Metrics against scipy and hand-worked figures."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.stats import entropy as scipy_entropy

from ddlabel.methods.metrics import (
    calibration_error,
    confusion,
    dd_ranking,
    entropy,
    student_figures,
)


def test_entropy_is_scipys_also_with_zeros():
    probs = torch.tensor([[0.5, 0.5, 0.0], [1.0, 0.0, 0.0], [0.2, 0.3, 0.5]])
    expected = torch.from_numpy(scipy_entropy(probs.numpy(), axis=1))
    torch.testing.assert_close(entropy(probs), expected)


def test_figures_of_a_student_by_hand():
    logits = torch.tensor(
        [[4.0, 0, 0, 0, 0, -1], [0, 3, 0, 0, 0, 0], [2, 0, 1, 0, 0, 0], [9, 8, 7, 6, 5, 4]]
    )
    hard = torch.tensor([0, 1, 2, 5])
    figures = student_figures(logits, hard)
    assert figures["accuracy"] == 0.5
    assert figures["top5"] == 0.75
    assert figures["class_accuracy"] == [1.0, 1.0, 0.0, None, None, 0.0]
    assert confusion(logits, hard)[2] == [1, 0, 0, 0, 0, 0]


def test_calibration_error_by_hand():
    # Confidence 0.9 twice, once right; confidence 0.6 once, right.
    probs = torch.tensor([[0.9, 0.1], [0.1, 0.9], [0.6, 0.4]])
    hits = torch.tensor([True, False, True])
    expected = (2 * abs(0.5 - 0.9) + abs(1 - 0.6)) / 3
    assert calibration_error(probs.log(), hits) == pytest.approx(expected)


def test_dd_ranking_is_0_and_1_at_the_ends_and_less_than_a_half_between():
    assert dd_ranking(-1.0, -1.0) == pytest.approx(0.0)
    assert dd_ranking(0.0, 0.0) == pytest.approx((1 - 1 / math.e) / (math.e - 1 / math.e))
    assert dd_ranking(1.0, 1.0) == pytest.approx(1.0)
