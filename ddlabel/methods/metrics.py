"""Metrics of labels and of students."""

import math
from typing import Any

import torch
from torch import Tensor

_NUM_BINS = 15


def correct(scores: Tensor, hard: Tensor) -> Tensor:
    """Count the rows of scores [B, K] whose largest entry is at the class in hard [B]."""
    return (scores.argmax(1) == hard).sum()


def entropy(probs: Tensor) -> Tensor:
    """Return the entropy [B] of each row of probs [B, K], in nats."""
    return -(probs * probs.clamp_min(1e-38).log()).sum(1)


def student_figures(logits: Tensor, hard: Tensor) -> dict[str, Any]:
    """Return the metrics, in [0, 1], of a student's logits [N, K] for images of classes hard [N].

    `accuracy`; `top5` if there are more than five classes; `calibration_error` (see
    `calibration_error`), None for a student that diverged; and `class_accuracy`, a list with None
    for a class without images.
    """
    num_images, num_classes = logits.shape
    hits = logits.argmax(1) == hard
    figures: dict[str, Any] = {"accuracy": int(hits.sum()) / num_images}
    if num_classes > 5:
        top5_hits = logits.topk(5, 1).indices == hard[:, None]
        figures["top5"] = int(top5_hits.sum()) / num_images
    error = calibration_error(logits, hits)
    figures["calibration_error"] = error if math.isfinite(error) else None
    figures["class_accuracy"] = _class_accuracy(hits, hard, num_classes)
    return figures


def _class_accuracy(hits: Tensor, hard: Tensor, num_classes: int) -> list[float | None]:
    """Share of hits [N] among the images of each class; None for a class without images."""
    images_per_class = hard.bincount(minlength=num_classes)
    hits_per_class = hard[hits].bincount(minlength=num_classes)
    accuracies = (hits_per_class.double() / images_per_class).tolist()
    return [None if math.isnan(accuracy) else accuracy for accuracy in accuracies]


def calibration_error(logits: Tensor, hits: Tensor) -> float:
    """Return the expected calibration error with 15 bins of equal width (Guo et al. 2017).

    The mean over images of |accuracy − confidence| of the bin in which the image's confidence lies,
    for logits [N, K] and whether each prediction is right, hits [N] bool.
    """
    _, num_hits, confidence = reliability_bins(logits, hits).T
    return float((num_hits - confidence).abs().sum()) / len(hits)


def reliability_bins(logits: Tensor, hits: Tensor) -> Tensor:
    """Return number of images, of hits and sum of confidences [15, 3] by bins of confidence.

    The bins are of equal width, for logits [N, K] and hits [N] as in `calibration_error`, float64.
    """
    confidence = logits.double().softmax(1).amax(1)
    bins = (confidence * _NUM_BINS).ceil().long().clamp(1, _NUM_BINS) - 1
    columns = torch.stack([torch.ones_like(confidence), hits.double(), confidence], 1)
    sums = torch.zeros(_NUM_BINS, 3, dtype=torch.float64, device=logits.device)
    return sums.index_add_(0, bins, columns)


def confusion(logits: Tensor, hard: Tensor) -> list[list[int]]:
    """Count images by true class (rows) and predicted class (columns)."""
    num_classes = logits.shape[1]
    pairs = hard * num_classes + logits.argmax(1)
    counts = pairs.bincount(minlength=num_classes**2).view(-1, num_classes)
    return list(counts.tolist())


def dd_ranking(first: float, second: float, weight: float = 0.5) -> float:
    """Return DD-Ranking's score (e^α − e⁻¹)/(e − e⁻¹), α = weight·first + (1 − weight)·second.

    For α in [−1, 1] the score is in [0, 1]. The label-robust score takes IOR and −HLR; the
    augmentation-robust score takes the gain over random images with and without augmentation.
    Accuracies are fractions (DD-Ranking's code has had percentages there).
    """
    alpha = weight * first + (1 - weight) * second
    return (math.exp(alpha) - math.exp(-1)) / (math.e - math.exp(-1))
