"""`describe`: figures of labels, their distance to other labels, and to those of every checkpoint of experts."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ddlabel.commands.checkpoints import pick_checkpoints as pick
from ddlabel.commands.labeling import label_images as relabel
from ddlabel.core.config import RelabelOptions, RuntimeOptions
from ddlabel.core.errors import IncompatibleError, UsageError
from ddlabel.data.bundle import Bundle, class_difference, image_chunks
from ddlabel.data.expert_run import ExpertRun
from ddlabel.data.scratch import scratch_array
from ddlabel.methods.labels.blocks import label_blocks, label_bytes, label_figures
from ddlabel.methods.labels.target import Target
from ddlabel.methods.metrics import entropy
from ddlabel.training.loop import Progress


def describe(bundle: Bundle, field: str) -> dict[str, Any]:
    """Accuracy, mean entropy in nats, mean largest probability, mean exp(entropy), class similarity, and size.

    `class_similarity` [K, K] has for each class the mean of the labels whose largest entry it is, or None (Label-Worth,
    appendix C.1 and Fig. 10, shown without the diagonal). Directions have accuracy and size alone.
    """
    figures = {**label_figures(bundle, field), "size": label_bytes(bundle, field)}
    if bundle.labels(field).meta.space == "direction":
        return figures
    size = len(bundle.classes)
    sums, counts = (
        torch.zeros(size, size, dtype=torch.float64),
        torch.zeros(size, dtype=torch.int64),
    )
    confidence = effective = 0.0
    for _, target in label_blocks(bundle, field):
        probs = _log_probs(target).exp()
        confidence += float(probs.amax(1).sum())
        effective += float(entropy(probs).exp().sum())
        probs = probs[probs.sum(1) > 0]  # a label that lost all its probability names no class
        sums.index_add_(0, probs.argmax(1), probs)
        counts += probs.argmax(1).bincount(minlength=size)
    rows = [
        (total / n).tolist() if n else None for total, n in zip(sums, counts.tolist(), strict=True)
    ]
    labelled = math.prod(bundle.arrays[f"{field}_labels"].shape[:-1])
    means = {"confidence": confidence / labelled, "effective_classes": effective / labelled}
    return figures | means | {"class_similarity": rows}


def compare(first: Bundle, second: Bundle, field: str) -> dict[str, float | None]:
    """Share of equal largest entries, mean Jensen-Shannon distance, and mean KL(first‖second) and the reverse, in nats.

    An infinite divergence is None. IncompatibleError unless both have labels [N, (V,) K] of the same classes.
    """
    if first.classes != second.classes:
        raise IncompatibleError(
            f"--against has other classes: {class_difference(first.classes, second.classes)}"
        )
    if getattr(second, field) is None:
        raise IncompatibleError(f"--against has no {field} labels to compare with")
    shape, other = (each.labels(field).shape[:-1] for each in (first, second))
    if shape != other:
        raise IncompatibleError(
            f"--against has labels of {list(other)} images (and views): expected {list(shape)}"
        )
    totals = torch.zeros(4, dtype=torch.float64)
    for (_, own), (_, theirs) in zip(
        label_blocks(first, field), label_blocks(second, field), strict=True
    ):
        p, q = _log_probs(own), _log_probs(theirs)
        same = (p.argmax(1) == q.argmax(1)).double()
        totals += torch.stack([same, _distance(p, q), _divergence(p, q), _divergence(q, p)]).sum(1)
    names, means = (
        ("same_class", "js_distance", "kl", "kl_reverse"),
        (totals / math.prod(shape)).tolist(),
    )
    return {
        name: mean if math.isfinite(mean) else None for name, mean in zip(names, means, strict=True)
    }


def by_epoch(
    bundle: Bundle, runs: Sequence[ExpertRun], options: RuntimeOptions, progress: Progress = iter
) -> dict[str, Any]:
    """Mean Jensen-Shannon distance of the soft labels to those of experts, an ensemble if several, at every epoch.

    `normalised` is the mean over images of the distance on a scale from the image's least (0) to its largest (1), and
    `nearest` the epoch where that mean is least (Label-Worth, section 5.2, Fig. 8 and appendix D.2).
    """
    if any(run.epoch for run in runs):
        raise UsageError("--expert: every checkpoint is asked here: leave out the @EPOCH")
    epochs = sorted(set.intersection(*({*run.epochs.values()} for run in runs)))
    if not epochs:
        raise IncompatibleError("--expert: the runs have no checkpoint, or none of the same epoch")
    distances = scratch_array((len(epochs), len(bundle)), np.float64)
    for number in progress(range(len(epochs))):
        labelled = relabel(
            bundle,
            pick(bundle, runs, repr(epochs[number])),
            RelabelOptions(**options.runtime_settings),
        )
        for (rows, own), (_, theirs) in zip(
            label_blocks(bundle, "soft"), label_blocks(labelled, "soft"), strict=True
        ):
            distances[number, rows] = _distance(_log_probs(own), _log_probs(theirs)).numpy()
    normalised = np.zeros(len(epochs))
    for rows in image_chunks(bundle):
        above = distances[:, rows] - distances[:, rows].min(0)
        normalised += (above / np.maximum(above.max(0), 1e-38)).sum(1) / len(bundle)
    each = {
        "epoch": epochs,
        "js_distance": distances.mean(1).tolist(),
        "normalised": normalised.tolist(),
    }
    return each | {"nearest": epochs[int(normalised.argmin())]}


def _log_probs(target: Target) -> Tensor:
    """Logarithms of label distributions [B, K] in float64; of labels that lost probability, of what is left of each."""
    if target.label.space == "direction":
        raise IncompatibleError(
            "directions have no distance as distributions: compare labels before 'ddlabel refine'"
        )
    logs = replace(target, values=target.values.double()).log_probs()
    return logs.log_softmax(1).nan_to_num(nan=-math.inf, neginf=-math.inf)


def _divergence(p: Tensor, q: Tensor) -> Tensor:
    """KL(p‖q) [B] in nats of distributions given by their logarithms."""
    return torch.where(p == -math.inf, 0.0, p.exp() * (p - q)).sum(1)


def _distance(p: Tensor, q: Tensor) -> Tensor:
    """Jensen-Shannon distance [B]: the root of the divergence in nats, from 0 to √ln 2 = 0.833."""
    middle = torch.logaddexp(p, q) - math.log(2)
    return ((_divergence(p, middle) + _divergence(q, middle)) / 2).clamp_min(0).sqrt()
