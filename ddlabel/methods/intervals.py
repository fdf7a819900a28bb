"""Statistics over seeds: means with their intervals, and paired comparisons. They need no torch."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

# Of rounding, which is no deviation and cuts nothing off.
_TOLERANCE = 1e-9


def summarise_percent(values: Sequence[float]) -> "Summary":
    """Summarise values in per cent, which are from 0 to 100: see `summarise`."""
    return summarise(values, lowest=0.0, highest=100.0)


@dataclass(frozen=True, kw_only=True)
class Summary:
    """Mean, sample deviation, half-width of the 95 % t-interval of n values, and its ends.

    An end is never outside of the bounds that the values have, so that the half-width alone does
    not say where the interval is. All but n and the mean are None for n = 1. Of equal values the
    deviation is 0 and the interval is None: they do not say how far others would be from them.
    """

    n: int
    mean: float
    deviation: float | None
    interval: float | None
    low: float | None
    high: float | None

    @property
    def ends(self) -> tuple[float, float] | None:
        """The ends of the interval; None without one."""
        return None if self.low is None or self.high is None else (self.low, self.high)

    def spread(self, digits: int = 2) -> str:
        """Return the interval as text, to stand after the mean; empty without an interval.

        It is ` ± 1.20`, or ` [98.10, 100.00]` if it is cut off.
        """
        if self.interval is None or self.low is None or self.high is None:
            return ""
        is_cut_off = self.high - self.low < 2 * self.interval * (1 - _TOLERANCE)
        if is_cut_off:
            return f" [{self.low:.{digits}f}, {self.high:.{digits}f}]"
        return f" ± {self.interval:.{digits}f}"


def summarise(
    values: Sequence[float],
    *,
    lowest: float = -math.inf,
    highest: float = math.inf,
    scale: float | None = None,
) -> Summary:
    """Summarise values, one per seed: mean, sample deviation (n − 1) and 95 % t-interval.

    The interval is cut off at the bounds `lowest` and `highest` of the values. A deviation that is
    the rounding of numbers of size `scale` (by default the largest value) counts as 0.

    Raises:
        statistics.StatisticsError: There are no values.
    """
    n = len(values)
    mean = statistics.fmean(values)
    if n < 2:
        return Summary(n=n, mean=mean, deviation=None, interval=None, low=None, high=None)
    from scipy.special import stdtrit  # here, because commands without students need no scipy

    if scale is None:
        scale = max(map(abs, values))
    deviation = statistics.stdev(values)
    if deviation <= _TOLERANCE * scale:
        return Summary(n=n, mean=mean, deviation=0.0, interval=None, low=None, high=None)
    quantile = float(stdtrit(n - 1, 0.975))
    interval = quantile * deviation / math.sqrt(n)
    low, high = cut_off(mean, interval, lowest=lowest, highest=highest)
    return Summary(
        n=n,
        mean=mean,
        deviation=deviation,
        interval=interval,
        low=low,
        high=high,
    )


def cut_off(
    mean: float, interval: float, *, lowest: float = 0.0, highest: float = 100.0
) -> tuple[float, float]:
    """Return the ends of mean ± interval, cut off at bounds (by default those of per cent)."""
    return max(lowest, mean - interval), min(highest, mean + interval)


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A paired difference and the two-sided p-value of Student's t-test that it is 0.

    The p-value is None for a single pair, and where all pairs have the same difference: the test
    divides by its deviation.
    """

    difference: Summary
    p_value: float | None


def compare(first: Sequence[float], second: Sequence[float]) -> Comparison:
    """Compare two sequences pair by pair, first minus second.

    Pairs of the same seed share much of their noise, which the difference removes.

    Raises:
        ValueError: The sequences differ in length.
    """
    differences = [a - b for a, b in zip(first, second, strict=True)]
    difference = summarise(differences, scale=max(map(abs, [*first, *second]), default=0.0))
    return Comparison(difference=difference, p_value=_p_value(difference))


def _p_value(difference: Summary) -> float | None:
    if not difference.deviation:
        return None
    from scipy.special import stdtr

    t = abs(difference.mean) / difference.deviation * math.sqrt(difference.n)
    return 2 * float(stdtr(difference.n - 1, -t))
