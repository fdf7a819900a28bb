"""Figures: of labels, of students, and over seeds."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor


def correct(scores: Tensor, hard: Tensor) -> Tensor:
    """Number of rows of scores [B, K] whose largest entry is the class in hard [B]."""
    return (scores.argmax(1) == hard).sum()


def entropy(probs: Tensor) -> Tensor:
    """Entropy of each row of probs [B, K], in nats."""
    return -(probs * probs.clamp_min(1e-38).log()).sum(1)


@dataclass(frozen=True, kw_only=True)
class Summary:
    """Mean, sample deviation and half-width of the 95 % t-interval of n values; n = 1 has neither of the last two."""

    n: int
    mean: float
    deviation: float | None
    interval: float | None


def summarise(values: Sequence[float]) -> Summary:
    """Mean, sample deviation (n − 1) and 95 % interval over seeds."""
    mean = statistics.fmean(values)
    if len(values) < 2:
        return Summary(n=len(values), mean=mean, deviation=None, interval=None)
    deviation = statistics.stdev(values)
    half = t_quantile(len(values) - 1) * deviation / math.sqrt(len(values))
    return Summary(n=len(values), mean=mean, deviation=deviation, interval=half)


def t_quantile(freedom: int, probability: float = 0.975) -> float:
    """Quantile of Student's t: exact for 1 and 2 degrees of freedom, else by bisection of the exact distribution."""
    if freedom == 1:
        return math.tan(math.pi * (probability - 0.5))
    if freedom == 2:
        return (2 * probability - 1) * math.sqrt(2 / (4 * probability * (1 - probability)))
    low, high = 0.0, 100.0
    while high - low > 1e-10:
        middle = (low + high) / 2
        low, high = (middle, high) if _t_probability(middle, freedom) < probability else (low, middle)
    return low


def _t_probability(t: float, freedom: int) -> float:
    """P(T ≤ t) for a whole number of degrees of freedom (Abramowitz & Stegun 26.7.3 and 26.7.4)."""
    angle = math.atan(t / math.sqrt(freedom))
    cos2 = math.cos(angle) ** 2
    term, total = (math.cos(angle), 0.0) if freedom % 2 else (1.0, 1.0)
    if freedom % 2:
        for k in range(1, freedom - 1, 2):
            total += term
            term *= cos2 * (k + 1) / (k + 2)
        area = 2 / math.pi * (angle + math.sin(angle) * total)
    else:
        for k in range(1, freedom - 2, 2):
            term *= cos2 * k / (k + 1)
            total += term
        area = math.sin(angle) * total
    return 0.5 + area / 2
