"""`relabel` and `densify`: labels from experts, for whole images and for views of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from ddlabel import files
from ddlabel.bundle import Bundle, class_difference, image_chunks
from ddlabel.config import DensifyOptions, RelabelOptions
from ddlabel.errors import IncompatibleError
from ddlabel.expert import Run, early_stop
from ddlabel.header import LabelSpace
from ddlabel.labels import views
from ddlabel.metrics import entropy
from ddlabel.train.data import to_device, to_unit
from ddlabel.train.device import pick_device
from ddlabel.train.labeler import Labeler

# Images at once: some 100 MB of activations for a ConvNet at 32 px.
_CHUNK = 500

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
            raise IncompatibleError(
                f"the bundle has images {list(shape)} (C, H, W): {run.folder} takes {list(expected)}"
            )
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
    labels = files.scratch((len(bundle), len(bundle.classes)), np.float32)
    device = pick_device(options.device)
    labeler = Labeler(picks, device=device, compile=options.compile, images=len(bundle))
    for rows in image_chunks(bundle, _CHUNK):
        labels[rows] = labeler(to_unit(to_device(bundle.images[rows], device))).cpu().numpy()
    return replace(bundle, soft_labels=labels, soft=_space(picks, options))


def densify(bundle: Bundle, picks: Picks, options: DensifyOptions) -> Bundle:
    """Dense labels [N, V, K]: the experts' mean logits on N × N views of every image (LADD, Algorithm 1).

    Raises:
        UsageError: if N and R do not fit the images.
        ResourceError: if the device is not there.
    """
    _, height, width = bundle.images.shape[1:]
    boxes = views.grid(n=options.n, r=options.r, size=(height, width))
    labels = files.scratch((len(bundle), len(boxes), len(bundle.classes)), np.float32)
    device = pick_device(options.device)
    labeler = Labeler(picks, device=device, compile=options.compile, images=len(bundle) * len(boxes))
    for rows in image_chunks(bundle, _CHUNK):
        images = to_unit(to_device(bundle.images[rows], device))
        for number, box in enumerate(boxes.to(device)):
            cut = views.crop(images, box.expand(len(images), 4))
            labels[rows, number] = labeler(cut).cpu().numpy()
    return replace(bundle, dense_labels=labels, dense_boxes=boxes.numpy(), dense=_space(picks, options))


def _space(picks: Picks, options: RelabelOptions) -> LabelSpace:
    return LabelSpace(space="logits", temperature=options.temperature, source=source_of(picks))


def label_figures(bundle: Bundle, field: str) -> tuple[float, float]:
    """Accuracy of labels against the hard labels, and their mean entropy in nats (nan for directions)."""
    array, space = getattr(bundle, f"{field}_labels"), getattr(bundle, field)
    right, nats, count = 0, 0.0, 0
    for rows in image_chunks(bundle, _CHUNK):
        values = torch.from_numpy(np.array(array[rows])).float()
        hard = torch.from_numpy(np.array(bundle.hard_labels[rows]))
        hard = hard.view(-1, *[1] * (values.ndim - 2)).expand(values.shape[:-1])
        right += int((values.argmax(-1) == hard).sum())
        flat = values.flatten(0, -2)
        probs = torch.softmax(flat / space.temperature, dim=1) if space.space == "logits" else flat
        nats += float(entropy(probs).sum())
        count += hard.numel()
    return right / count, nats / count if space.space != "direction" else float("nan")
