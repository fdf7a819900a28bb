"""`relabel` and `densify`: labels from experts, for whole images and for views of them."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from ddlabel.commands.refine import refine
from ddlabel.core import rng
from ddlabel.core.config import DensifyOptions, RefineOptions, RelabelOptions
from ddlabel.core.errors import IncompatibleError, UsageError
from ddlabel.data.bundle import Bundle, class_difference, image_chunks
from ddlabel.data.early_stopping import early_stop
from ddlabel.data.expert_run import ExpertRun
from ddlabel.data.labels import Labels, Views
from ddlabel.data.schema import LabelMeta
from ddlabel.data.scratch import scratch_array
from ddlabel.methods.labels.views import layouts
from ddlabel.training import distributed as ranks
from ddlabel.training.batches import ViewIndex
from ddlabel.training.device_data import DeviceBundle, to_device, to_unit
from ddlabel.training.labeler import Labeler
from ddlabel.training.runtime import Runtime, pick_device

Checkpoints = Sequence[tuple[ExpertRun, int]]


def pick(bundle: Bundle, runs: Sequence[ExpertRun], epoch: str) -> Checkpoints:
    """The checkpoint of every run: the run's own epoch, else `epoch`; auto suits it to the images per class.

    IncompatibleError if an expert has other classes or takes other images, InvalidInputError if there is no such
    checkpoint.
    """
    shape = bundle.images.shape[1:]
    for run in runs:
        if run.about.classes != bundle.classes:
            difference = class_difference(bundle.classes, run.about.classes)
            raise IncompatibleError(
                f"the expert {run.folder} has other classes than the bundle: {difference}"
            )
        expected = (run.about.channels, run.about.size, run.about.size)
        if shape != expected:
            takes = f"{run.folder} takes {list(expected)}"
            raise IncompatibleError(f"the bundle has images {list(shape)} (C, H, W): {takes}")
    ipc, wanted = len(bundle) / len(bundle.classes), [run.epoch or epoch for run in runs]
    each = zip(runs, wanted, strict=True)
    picks = [(run, early_stop(run, ipc) if at == "auto" else run.step_of(at)) for run, at in each]
    if len({(run.folder.resolve(), step) for run, step in picks}) < len(picks):
        raise UsageError(
            "an expert's checkpoint is named twice, and would count twice: name each once"
        )
    return picks


def source_of(picks: Checkpoints) -> str:
    """The experts and their epochs, for the label's header: `expert@5.5`."""
    return " + ".join(f"{run.folder.resolve().name}@{run.epochs[step]:g}" for run, step in picks)


def relabel(bundle: Bundle, picks: Checkpoints, options: RelabelOptions) -> Bundle:
    """Soft labels [N, K]: the experts' logits on the images as they are (Label-Worth, section 3.1).

    UsageError for weights that are not one for each expert, ResourceError if the device is not there.
    """
    labeler, label = _labeler(picks, options, len(bundle))
    device = pick_device(options.device)
    values = scratch_array((len(bundle), len(bundle.classes)), np.float32)
    for rows in ranks.chunks_for_rank(image_chunks(bundle), values):
        values[rows] = labeler(to_unit(to_device(bundle.images[rows], device))).cpu().numpy()
    return bundle.with_labels("soft", Labels(values=values, meta=label))


def densify(bundle: Bundle, picks: Checkpoints, options: DensifyOptions) -> Bundle:
    """Dense labels [N, V, K]: the experts' logits on the views of a layout of every image (LADD, Algorithm 1; FKD).

    UsageError if the layout does not fit the images, else as `relabel`.
    """
    layout = layouts.resolve(options.views)
    views = layout(len(bundle), *bundle.images.shape[2:], rng.stream(options.seed, "views"))
    dense = label_views(bundle, views, picks, options)
    return refine(dense, RefineOptions(field="dense")) if options.refine else dense


def label_views(
    bundle: Bundle, views: Views, picks: Checkpoints, options: RelabelOptions
) -> Bundle:
    """The bundle with these views (its `dense_*` arrays but the labels) and their labels.

    A view is made by the same code and from the same arrays as when a student is trained on it.
    """
    count = views.num_views
    labeler, label = _labeler(picks, options, len(bundle) * count)
    values = scratch_array((len(bundle), count, len(bundle.classes)), np.float32)
    dense = replace(bundle, dense=Labels(values=values, meta=label), views=views)
    for rows in ranks.chunks_for_rank(image_chunks(bundle), values):
        block = replace(dense, soft=None).take(np.arange(len(bundle))[rows])
        items = ViewIndex(DeviceBundle.of(block, pick_device(options.device)), "none")
        first = torch.arange(len(block), device=items.boxes.device) * count
        for view in range(count):
            values[rows, view] = labeler(items.images(first + view)).cpu().numpy()
    return dense


def _labeler(picks: Checkpoints, options: RelabelOptions, images: int) -> tuple[Labeler, LabelMeta]:
    """The ensemble that is to label so many images, and what its labels are."""
    if isinstance(options.temperature, str):
        raise UsageError(
            "--temperature auto is chosen on real images: name them with --real, or give a number"
        )
    try:
        weights = (
            [float(weight) for weight in options.weights.split(",")]
            if options.weights
            else [1.0] * len(picks)
        )
    except ValueError:
        weights = []
    if options.weights is not None and len(picks) == 1:
        raise UsageError(
            "--weights is for an ensemble and there is one expert: leave it out, or name more"
        )
    if len(weights) != len(picks) or not all(0 < weight < math.inf for weight in weights):
        raise UsageError(
            f"--weights is {options.weights!r}: expected a number above 0 for each of {len(picks)} experts"
        )
    labeler = Labeler(
        picks,
        Runtime.of(options, training=False),
        num_images=images,
        mean=options.mean,
        weights=weights,
        temperature=options.temperature,
    )
    return labeler, LabelMeta(
        space="logits", temperature=options.temperature, source=source_of(picks)
    )
