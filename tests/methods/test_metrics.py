"""Metrics against scipy and printed tables."""

from __future__ import annotations

import pytest
import torch
from scipy import stats
from scipy.stats import entropy as scipy_entropy

from ddlabel.methods.metrics import entropy, summarise


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
