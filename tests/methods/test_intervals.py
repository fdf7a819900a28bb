"""Intervals and paired tests against scipy and printed tables."""

from __future__ import annotations

import pytest
from scipy import stats

from ddlabel.methods.intervals import compare, summarise, summarise_percent


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
    assert (same.difference.mean, same.difference.interval, same.p_value) == (0, None, None)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ([2.0, 3.0], [1.0, 2.0]),
        # Both are −4.67 points, but for the rounding of the numbers that they are computed of.
        ([100 * 0.2633, 100 * 0.2867], [100 * 0.31, 100 * 0.3334]),
        ([0.1 + 0.2, 100.0], [0.3, 100.0]),
    ],
)
def test_equal_differences_have_no_interval_and_no_p_value(first, second):
    found = compare(first, second)
    assert (found.difference.deviation, found.difference.interval, found.p_value) == (0, None, None)


def test_equal_values_have_no_interval():
    summary = summarise_percent([100 * 0.2633, 26.33, 26.330000000000002])
    assert (summary.deviation, summary.interval, summary.spread()) == (0, None, "")


def test_the_smallest_difference_of_two_accuracies_is_no_rounding():
    # One image of a million.
    assert summarise_percent([50.0, 50.0001]).interval == pytest.approx(12.706 * 5e-5, rel=1e-4)


def test_comparison_of_one_pair_has_no_p_value():
    assert compare([2.0], [1.0]).p_value is None


def test_the_interval_of_accuracies_stays_within_0_and_100():
    # The half-width is 12.706 · deviation / √2 = 12.706 · 0.5 = 6.353.
    high = summarise_percent([99.0, 100.0])
    assert (high.low, high.high) == (pytest.approx(99.5 - 6.353, abs=1e-3), 100.0)
    assert high.interval == pytest.approx(6.353, abs=1e-3)
    assert high.spread() == " [93.15, 100.00]"
    low = summarise_percent([0.0, 1.0])
    assert (low.low, low.spread(1)) == (0.0, " [0.0, 6.9]")
    inside = summarise_percent([40.0, 41.0])
    assert inside.spread() == " ± 6.35"
    assert summarise([99.0, 100.0]).high == pytest.approx(99.5 + 6.353, abs=1e-3)
    assert summarise_percent([99.0]).spread() == ""
