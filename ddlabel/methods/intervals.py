"""Statistics over seeds: means with their intervals, and paired comparisons. They need no torch."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from scipy.special import stdtr, stdtrit


@dataclass(frozen=True, kw_only=True)
class Summary:
    """Mean, sample deviation and half-width of the 95 % t-interval of n values.

    The last two are None for n = 1.
    """

    n: int
    mean: float
    deviation: float | None
    interval: float | None


def summarise(values: Sequence[float]) -> Summary:
    """Summarise values, one per seed: mean, sample deviation (n − 1) and 95 % t-interval.

    Raises:
        statistics.StatisticsError: There are no values.
    """
    n = len(values)
    mean = statistics.fmean(values)
    if n < 2:
        return Summary(n=n, mean=mean, deviation=None, interval=None)
    deviation = statistics.stdev(values)
    quantile = float(stdtrit(n - 1, 0.975))
    interval = quantile * deviation / math.sqrt(n)
    return Summary(n=n, mean=mean, deviation=deviation, interval=interval)


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A paired difference and the two-sided p-value of Student's t-test that it is 0.

    The p-value is None for a single pair.
    """

    difference: Summary
    p_value: float | None


def compare(first: Sequence[float], second: Sequence[float]) -> Comparison:
    """Compare two sequences pair by pair, first minus second.

    Pairs of the same seed share much of their noise, which the difference removes.

    Raises:
        ValueError: The sequences differ in length.
    """
    difference = summarise([a - b for a, b in zip(first, second, strict=True)])
    return Comparison(difference=difference, p_value=_p_value(difference))


def _p_value(difference: Summary) -> float | None:
    if difference.deviation is None:
        return None
    if difference.deviation == 0:
        return 1.0 if difference.mean == 0 else 0.0
    t = abs(difference.mean) / difference.deviation * math.sqrt(difference.n)
    return 2 * float(stdtr(difference.n - 1, -t))
