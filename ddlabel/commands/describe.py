"""`describe`: figures of labels, and their distance to other labels and to those of experts."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ddlabel.commands.checkpoints import pick_checkpoints
from ddlabel.commands.command import command
from ddlabel.commands.inputs import (
    BundleLike,
    check_one_standard_input,
    open_bundle,
    open_experts,
)
from ddlabel.commands.labeling import label_images
from ddlabel.commands.reporter import Reporter
from ddlabel.core.config import DescribeOptions, RelabelOptions, RuntimeOptions
from ddlabel.core.errors import IncompatibleError, UsageError
from ddlabel.data.bundle import Bundle, image_chunks
from ddlabel.data.class_names import describe_difference
from ddlabel.data.expert_run import ExpertRun
from ddlabel.data.label_means import class_means
from ddlabel.data.labels import Array
from ddlabel.data.provenance import hard_labels_are_derived
from ddlabel.data.scratch import scratch_array
from ddlabel.methods.labels.blocks import label_blocks, label_bytes, label_figures
from ddlabel.methods.labels.target import Target
from ddlabel.methods.metrics import entropy
from ddlabel.training.loop import Progress


@command("describe", DescribeOptions)
def describe(bundle: BundleLike, *, options: DescribeOptions, reporter: Reporter) -> dict[str, Any]:
    """Return figures of labels, and compare them with other labels and with those of experts.

    The figures are those of `describe_labels`, under `against` those of `compare_labels`, and under
    `experts` those of `distance_by_epoch`. `hard_labels_are_derived` is true if the hard labels are
    only the largest entries of imported labels: then the accuracy says nothing.

    Raises:
        InvalidInputError: An input cannot be read.
        IncompatibleError: The labels are missing, or belong to other images or classes.
        UsageError: An expert run names an epoch.
    """
    check_one_standard_input([bundle, options.against])
    source = open_bundle(bundle).bundle
    other = None if options.against is None else open_bundle(options.against).bundle
    runs = open_experts(options.expert, reporter)
    figures = describe_labels(source, options.field)
    figures["hard_labels_are_derived"] = hard_labels_are_derived(source.history)
    if other is not None:
        figures["against"] = compare_labels(source, other, options.field)
    if runs:
        figures["experts"] = distance_by_epoch(source, runs, options, reporter.progress)
    return figures


def describe_labels(bundle: Bundle, field: str) -> dict[str, Any]:
    """Return the figures of the `soft` or `dense` labels of a bundle.

    `accuracy` is the share that agrees with the hard labels and `entropy_nats` the mean entropy.
    `confidence` is the mean largest probability and `effective_classes` the mean exp(entropy).
    `class_similarity` [K, K] has for each class the mean of the labels whose largest entry it is,
    or None (Label-Worth, appendix C.1 and Fig. 10, where it is shown without the diagonal). `size`
    is that of `label_bytes`. Directions have accuracy and size alone.

    Raises:
        IncompatibleError: The bundle has no such labels.
    """
    figures = label_figures(bundle, field)
    figures["size"] = label_bytes(bundle, field)
    labels = bundle.labels(field)
    if labels.meta.space == "direction":
        return figures
    total_confidence = 0.0
    total_effective = 0.0
    for _, target in label_blocks(bundle, field):
        probs = _log_probs(target).exp()
        total_confidence += float(probs.amax(1).sum())
        total_effective += float(entropy(probs).exp().sum())
    num_labels = math.prod(labels.shape[:-1])
    figures["confidence"] = total_confidence / num_labels
    figures["effective_classes"] = total_effective / num_labels
    similarity = class_means(bundle, field)
    rows = zip(similarity.means.tolist(), similarity.counts, strict=True)
    figures["class_similarity"] = [row if count else None for row, count in rows]
    return figures


def compare_labels(first: Bundle, second: Bundle, field: str) -> dict[str, float | None]:
    """Return how far the labels of two bundles of the same images are apart.

    `same_class` is the share of labels with equal largest entries, `js_distance` the mean
    Jensen-Shannon distance, `kl` the mean KL(first‖second) and `kl_reverse` the mean
    KL(second‖first) in nats. An infinite divergence is None.

    Raises:
        IncompatibleError: The bundles have other classes, or not both have labels of these images.
    """
    shape = _common_shape(first, second, field)
    totals = torch.zeros(4, dtype=torch.float64)
    pairs = zip(label_blocks(first, field), label_blocks(second, field), strict=True)
    for (_, first_target), (_, second_target) in pairs:
        p = _log_probs(first_target)
        q = _log_probs(second_target)
        same_class = (p.argmax(1) == q.argmax(1)).double()
        figures = [same_class, _distance(p, q), _divergence(p, q), _divergence(q, p)]
        totals += torch.stack(figures).sum(1)
    means = (totals / math.prod(shape)).tolist()
    names = ("same_class", "js_distance", "kl", "kl_reverse")
    return {
        name: mean if math.isfinite(mean) else None for name, mean in zip(names, means, strict=True)
    }


def _common_shape(first: Bundle, second: Bundle, field: str) -> tuple[int, ...]:
    """Check that two bundles can be compared, and return [N] or [N, V] of their labels."""
    if first.classes != second.classes:
        difference = describe_difference(second.classes, first.classes)
        raise IncompatibleError(f"--against {difference}")
    if getattr(second, field) is None:
        raise IncompatibleError(f"--against has no {field} labels to compare with")
    expected = first.labels(field).shape[:-1]
    shape = second.labels(field).shape[:-1]
    if shape != expected:
        raise IncompatibleError(
            f"--against has labels of {list(shape)} images (and views): expected {list(expected)}"
        )
    return expected


def distance_by_epoch(
    bundle: Bundle, runs: Sequence[ExpertRun], options: RuntimeOptions, progress: Progress = iter
) -> dict[str, Any]:
    """Return the distance of the soft labels to those of experts at every epoch.

    Several experts are one ensemble. `epoch` lists the epochs, `js_distance` the mean
    Jensen-Shannon distance at each. `normalised` is the mean over images of the distance on a scale
    from the image's least (0) to its largest (1), and `nearest` the epoch where that mean is least
    (Label-Worth, section 5.2, Fig. 8 and appendix D.2).

    Raises:
        UsageError: A run names an epoch.
        IncompatibleError: The runs have no checkpoint of the same epoch, or other classes or images
            than the bundle.
    """
    if any(run.epoch for run in runs):
        raise UsageError("--expert: all checkpoints are compared with: leave out the @EPOCH")
    epochs = sorted(set.intersection(*(set(run.epochs.values()) for run in runs)))
    if not epochs:
        raise IncompatibleError("--expert: the runs have no checkpoint, or none of the same epoch")
    relabel_options = RelabelOptions(**options.runtime_settings)
    distances = scratch_array((len(epochs), len(bundle)), np.float64)
    for number in progress(range(len(epochs))):
        checkpoints = pick_checkpoints(bundle, runs, repr(epochs[number]))
        labelled = label_images(bundle, checkpoints, relabel_options)
        pairs = zip(label_blocks(bundle, "soft"), label_blocks(labelled, "soft"), strict=True)
        for (rows, target), (_, expert_target) in pairs:
            distance = _distance(_log_probs(target), _log_probs(expert_target))
            distances[number, rows] = distance.numpy()
    normalised = _normalised(distances, bundle)
    return {
        "epoch": epochs,
        "js_distance": distances.mean(1).tolist(),
        "normalised": normalised.tolist(),
        "nearest": epochs[int(normalised.argmin())],
    }


def _normalised(distances: Array, bundle: Bundle) -> Array:
    """Return the mean [E] over images of distances [E, N], each image's scaled to 0 … 1."""
    normalised = np.zeros(len(distances))
    for rows in image_chunks(bundle):
        above_least = distances[:, rows] - distances[:, rows].min(0)
        scaled = above_least / np.maximum(above_least.max(0), 1e-38)
        normalised += scaled.sum(1) / len(bundle)
    return normalised


def _log_probs(target: Target) -> Tensor:
    """Return the logarithms [B, K] of label distributions in float64.

    Of a label that lost probability, what is left of it divided by its sum counts.
    """
    if target.meta.space == "direction":
        raise IncompatibleError(
            "directions have no distance as distributions: compare labels before 'ddlabel refine'"
        )
    logs = replace(target, values=target.values.double()).log_probs()
    return logs.log_softmax(1).nan_to_num(nan=-math.inf, neginf=-math.inf)


def _divergence(p: Tensor, q: Tensor) -> Tensor:
    """Return KL(p‖q) [B] in nats of distributions [B, K] given by their logarithms."""
    return torch.where(p == -math.inf, 0.0, p.exp() * (p - q)).sum(1)


def _distance(p: Tensor, q: Tensor) -> Tensor:
    """Return the Jensen-Shannon distance [B] of distributions [B, K] given by their logarithms.

    It is the root of the divergence in nats, from 0 to √ln 2 = 0.833.
    """
    middle = torch.logaddexp(p, q) - math.log(2)
    divergence = (_divergence(p, middle) + _divergence(q, middle)) / 2
    return divergence.clamp_min(0).sqrt()
