"""What selectors go by: the images of every class, and the losses and features of experts."""

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ddlabel.core import rng
from ddlabel.core.config import SelectOptions
from ddlabel.core.errors import UsageError
from ddlabel.data.bundle import Bundle
from ddlabel.data.labels import Array
from ddlabel.training.device_data import to_device, to_unit
from ddlabel.training.labeler import Labeler
from ddlabel.training.runtime import pick_device


class ClassImages(NamedTuple):
    """The rows [n] of a class in a bundle, and the generator of the draws from it."""

    rows: Array
    generator: np.random.Generator


def classes_of(
    bundle: Bundle, options: SelectOptions, *, patches_per_image: int = 1
) -> list[ClassImages]:
    """Return the images of every class.

    Raises:
        UsageError: A class has too few for `ipc` images of so many patches.
    """
    classes = []
    for number, name in enumerate(bundle.classes):
        rows = np.flatnonzero(bundle.hard_labels == number)
        if len(rows) < options.ipc * patches_per_image:
            largest = len(rows) // patches_per_image
            advice = f"ask for at most {largest}" if largest else "too few for one image"
            raise UsageError(
                f"--ipc is {options.ipc} and class {name!r} has {len(rows)} images: {advice}"
            )
        seed = rng.stream(options.seed, "select", number)
        classes.append(ClassImages(rows, np.random.default_rng(seed)))
    return classes


def unit_images(bundle: Bundle, rows: slice | Array, options: SelectOptions) -> Tensor:
    """Return images of some rows in unit space, on the device."""
    return to_unit(to_device(bundle.images[rows], pick_device(options.device)))


def losses_of(experts: Labeler, images: Tensor, hard: Array) -> Array:
    """Return the cross-entropy [B] with the hard labels [B].

    In float32 all images that an expert is sure of would have 0: it is computed in float64.
    """
    logits = experts(images).cpu().double()
    targets = torch.from_numpy(np.array(hard))
    return F.cross_entropy(logits, targets, reduction="none").numpy()


@torch.no_grad()
def features_of(experts: Labeler, images: Tensor) -> Tensor:
    """Return the inputs [B, D] of the last linear layer of every expert, side by side."""
    features: list[Tensor] = []

    def keep_input(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        features.append(inputs[0].flatten(1))

    for (prepare, _), body in zip(experts.experts, experts.bodies, strict=True):
        linear_layers = [layer for layer in body.modules() if isinstance(layer, nn.Linear)]
        hook = linear_layers[-1].register_forward_pre_hook(keep_input)
        with hook, experts.runtime.arithmetic():
            body(prepare(images))
    return torch.cat(features, 1)
