"""Metrics against scipy and printed tables."""

from __future__ import annotations

import math

import pytest
import torch
from scipy import stats
from scipy.stats import entropy as scipy_entropy

from ddlabel.methods.metrics import (
    calibration_error,
    compare,
    confusion,
    dd_ranking,
    entropy,
    student_figures,
    summarise,
)


@pytest.mark.parametrize(
    ("count", "quantile"), [(2, 12.706), (3, 4.303), (5, 2.776), (10, 2.262), (31, 2.042)]
)
def test_intervals_have_the_quantiles_of_the_printed_tables(count, quantile):
    summary = summarise([float(i % 2) for i in range(count)])
    assert summary.interval == pytest.approx(quantile * summary.deviation / count**0.5, rel=2e-4)


def test_summary_is_scipys_interval():
    values = [41.2, 43.0, 42.1, 40.9, 43.3]
    summary = summarise(values)
    low, high = stats.t.interval(0.95, 4, loc=summary.mean, scale=stats.sem(values))
    ends = (summary.mean - summary.interval, summary.mean + summary.interval)
    assert ends == pytest.approx((low, high))


def test_one_value_has_no_interval():
    assert summarise([1.0]).interval is None


def test_entropy_is_scipys_also_with_zeros():
    probs = torch.tensor([[0.5, 0.5, 0.0], [1.0, 0.0, 0.0], [0.2, 0.3, 0.5]])
    expected = torch.from_numpy(scipy_entropy(probs.numpy(), axis=1))
    torch.testing.assert_close(entropy(probs), expected)


def test_comparison_is_scipys_paired_t_test():
    first = [61.2, 60.1, 63.0, 59.9, 62.2]
    second = [58.0, 60.0, 59.1, 58.8, 60.3]
    ours = compare(first, second)
    theirs = stats.ttest_rel(first, second)
    low, high = theirs.confidence_interval()
    assert ours.p_value == pytest.approx(theirs.pvalue)
    assert ours.difference.mean == pytest.approx((low + high) / 2)
    assert ours.difference.interval == pytest.approx((high - low) / 2)


def test_comparison_with_itself_finds_no_difference():
    same = compare([1.0, 2.0, 4.0], [1.0, 2.0, 4.0])
    assert (same.difference.mean, same.difference.interval, same.p_value) == (0, 0, 1)


def test_comparison_of_a_constant_difference_is_certain():
    assert compare([2.0, 3.0], [1.0, 2.0]).p_value == 0


def test_comparison_of_one_pair_has_no_p_value():
    assert compare([2.0], [1.0]).p_value is None


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
