"""Checks of random numbers, and images that show where their pixels came from."""

from __future__ import annotations

from collections import Counter

import numpy as np
import torch
from scipy import stats

# Tests with fixed seeds: a p-value below this is no accident.
SIGNIFICANCE = 0.001


def is_uniform(values, low, high):
    """Return whether the values look uniform in low … high (Kolmogorov-Smirnov)."""
    distribution = stats.uniform(low, high - low)
    return stats.kstest(np.asarray(values), distribution.cdf).pvalue > SIGNIFICANCE


def is_even(outcomes, possible):
    """Return whether all possible outcomes, and no others, look equally likely (chi-squared)."""
    counts = Counter(outcomes)
    assert set(counts) <= set(possible)
    observed = [counts[outcome] for outcome in possible]
    return stats.chisquare(observed).pvalue > SIGNIFICANCE


def coordinates(num_images, height, width=None):
    """Return images of two channels that hold each pixel's row and column, counted from 1."""
    rows, columns = torch.meshgrid(
        torch.arange(height), torch.arange(width or height), indexing="ij"
    )
    return torch.stack([rows, columns]).float().add(1).repeat(num_images, 1, 1, 1)
