"""`relabel` and `densify`: labels from experts, for whole images and for views of them."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ddlabel import files
from ddlabel.bundle import Bundle, class_difference, image_chunks
from ddlabel.config import DensifyOptions, RelabelOptions
from ddlabel.errors import IncompatibleError
from ddlabel.expert import Run, early_stop
from ddlabel.header import LabelSpace
from ddlabel.labels import views
from ddlabel.labels.target import Target
from ddlabel.metrics import correct, entropy
from ddlabel.train.data import to_device, to_unit
from ddlabel.train.device import pick_device
from ddlabel.train.labeler import Labeler

Picks = Sequence[tuple[Run, int]]


def pick(bundle: Bundle, runs: Sequence[Run], epoch: str) -> Picks:
    """The checkpoint of every run that an `--epoch` names; auto suits it to the bundle's images per class.

    Raises:
        IncompatibleError: if an expert has other classes or takes other images.
        InvalidInputError: if there is no such checkpoint.
    """
    shape = bundle.images.shape[1:]
    for run in runs:
        if run.about.classes != bundle.classes:
            difference = class_difference(bundle.classes, run.about.classes)
            raise IncompatibleError(f"the expert {run.folder} has other classes than the bundle: {difference}")
        expected = (run.about.channels, run.about.size, run.about.size)
        if shape != expected:
            takes = f"{run.folder} takes {list(expected)}"
            raise IncompatibleError(f"the bundle has images {list(shape)} (C, H, W): {takes}")
    ipc = len(bundle) / len(bundle.classes)
    return [(run, early_stop(run, ipc) if epoch == "auto" else run.step_of(epoch)) for run in runs]


def source_of(picks: Picks) -> str:
    """The experts and their epochs, for the label's header: `expert@5.5`."""
    return " + ".join(f"{run.folder.resolve().name}@{run.epochs[step]:g}" for run, step in picks)


def relabel(bundle: Bundle, picks: Picks, options: RelabelOptions) -> Bundle:
    """Soft labels [N, K]: the experts' mean logits on the images as they are (Label-Worth, section 3.1).

    Raises:
        ResourceError: if the device is not there.
    """
    return label_views(bundle, None, picks, options)


def densify(bundle: Bundle, picks: Picks, options: DensifyOptions) -> Bundle:
    """Dense labels [N, V, K]: the experts' mean logits on N × N views of every image (LADD, Algorithm 1).

    Raises:
        UsageError: if N and R do not fit the images.
        ResourceError: if the device is not there.
    """
    return label_views(bundle, views.grid(n=options.n, r=options.r, size=bundle.images.shape[2:]), picks, options)


def label_views(bundle: Bundle, boxes: Tensor | None, picks: Picks, options: RelabelOptions) -> Bundle:
    """Dense labels [N, V, K] for the views in `boxes` [V, 4] of every image; without boxes soft labels [N, K]."""
    count = 1 if boxes is None else len(boxes)
    labels = files.scratch((len(bundle), count, len(bundle.classes)), np.float32)
    device = pick_device(options.device)
    labeler = Labeler(picks, device=device, compile=options.compile, images=len(bundle) * count)
    for rows in image_chunks(bundle):
        images = to_unit(to_device(bundle.images[rows], device))
        for number in range(count):
            cut = images if boxes is None else views.crop(images, boxes[number].to(device).expand(len(images), 4))
            labels[rows, number] = labeler(cut).cpu().numpy()
    space = LabelSpace(space="logits", temperature=options.temperature, source=source_of(picks))
    if boxes is None:
        return replace(bundle, soft_labels=labels[:, 0], soft=space)
    return replace(bundle.without_views(), dense_labels=labels, dense_boxes=boxes.numpy(), dense=space)


def label_blocks(bundle: Bundle, field: str) -> Iterator[tuple[slice, Target]]:
    """Soft or dense labels in blocks of images: which ones, and the labels of all their views one after another."""
    array, label = getattr(bundle, f"{field}_labels"), getattr(bundle, field)
    for rows in image_chunks(bundle):
        values = torch.from_numpy(np.array(array[rows])).float().flatten(0, -2)
        hard = torch.from_numpy(np.array(bundle.hard_labels[rows]))
        yield rows, Target(hard=hard.repeat_interleave(len(values) // len(hard)), values=values, label=label)


def label_figures(bundle: Bundle, field: str) -> dict[str, Any]:
    """Accuracy of labels against the hard labels, and their mean entropy in nats, which directions have none of."""
    right, nats, count = 0, 0.0, 0
    for _, target in label_blocks(bundle, field):
        right += int(correct(target.values, target.hard))
        nats += float(entropy(target.in_common_space().values).sum())
        count += len(target.hard)
    entropy_nats = None if getattr(bundle, field).space == "direction" else nats / count
    return {"accuracy": right / count, "entropy_nats": entropy_nats}
