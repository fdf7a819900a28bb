"""Figures: of labels, of students, over seeds, and of one label set against another."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from scipy.special import stdtr, stdtrit
from torch import Tensor

_BINS = 15


def correct(scores: Tensor, hard: Tensor) -> Tensor:
    """Number of rows of scores [B, K] whose largest entry is the class in hard [B]."""
    return (scores.argmax(1) == hard).sum()


def entropy(probs: Tensor) -> Tensor:
    """Entropy of each row of probs [B, K], in nats."""
    return -(probs * probs.clamp_min(1e-38).log()).sum(1)


def student_figures(logits: Tensor, hard: Tensor) -> dict[str, Any]:
    """Figures in [0, 1] of a student's logits [N, K] on images of classes [N].

    `accuracy`, `top5` where there are more classes, `calibration_error` (expected, 15 bins of equal width; Guo et al.
    2017) and `class_accuracy`, with None for a class that has no image.
    """
    classes = logits.shape[1]
    hits = logits.argmax(1) == hard
    images = hard.bincount(minlength=classes)
    of_class = hard[hits].bincount(minlength=classes).double() / images
    figures: dict[str, Any] = {"accuracy": int(hits.sum()) / len(hard)}
    if classes > 5:
        figures["top5"] = int((logits.topk(5, 1).indices == hard[:, None]).sum()) / len(hard)
    error = calibration_error(logits, hits)
    figures["calibration_error"] = (
        error if math.isfinite(error) else None
    )  # a student that diverged
    return figures | {
        "class_accuracy": [None if math.isnan(share) else share for share in of_class.tolist()]
    }


def calibration_error(logits: Tensor, hits: Tensor) -> float:
    """Mean over images of |accuracy − confidence| of the bin that the image's confidence lies in."""
    confidence = logits.double().softmax(1).amax(1)
    gaps = torch.zeros(_BINS, dtype=torch.float64, device=logits.device)
    gaps.index_add_(
        0, (confidence * _BINS).ceil().long().clamp(1, _BINS) - 1, hits.double() - confidence
    )
    return float(gaps.abs().sum()) / len(hits)


def confusion(logits: Tensor, hard: Tensor) -> list[list[int]]:
    """Number of images by true class (rows) and predicted class (columns)."""
    classes = logits.shape[1]
    pairs = hard * classes + logits.argmax(1)
    return list(pairs.bincount(minlength=classes**2).view(-1, classes).tolist())


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
    half = float(stdtrit(len(values) - 1, 0.975)) * deviation / math.sqrt(len(values))
    return Summary(n=len(values), mean=mean, deviation=deviation, interval=half)


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A paired difference, with the two-sided p-value of Student's t-test that it is 0; n = 1 has none."""

    difference: Summary
    p_value: float | None


def compare(first: Sequence[float], second: Sequence[float]) -> Comparison:
    """First minus second, pair by pair: the same seeds make much of the noise common to both."""
    difference = summarise([a - b for a, b in zip(first, second, strict=True)])
    if difference.deviation is None:
        return Comparison(difference=difference, p_value=None)
    if difference.deviation == 0:
        return Comparison(difference=difference, p_value=1.0 if difference.mean == 0 else 0.0)
    t = abs(difference.mean) / difference.deviation * math.sqrt(difference.n)
    return Comparison(difference=difference, p_value=2 * float(stdtr(difference.n - 1, -t)))


def dd_ranking(first: float, second: float, weight: float = 0.5) -> float:
    """(e^α − e⁻¹)/(e − e⁻¹) with α = weight·first + (1 − weight)·second: DD-Ranking's squash into [0, 1].

    The label-robust score has IOR and −HLR, the augmentation-robust score the gain over random images with and
    without augmentation; accuracies are fractions (its code has had percentages there).
    """
    alpha = weight * first + (1 - weight) * second
    return (math.exp(alpha) - math.exp(-1)) / (math.e - math.exp(-1))
