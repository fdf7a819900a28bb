"""Experts without runs, for tests of selectors."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from networks import cpu_runtime
from samples import make_bundle
from torch import Tensor, nn

from ddlabel.commands.doctor.case import Expert
from ddlabel.commands.selectors import selectors
from ddlabel.core.config import SelectOptions
from ddlabel.data.bundle import Bundle


class StubExperts:
    """Networks with the attributes of a Labeler that selectors use; counts labelled images."""

    def __init__(self, *bodies: nn.Module) -> None:
        self.bodies = [body.eval() for body in bodies]
        self.experts = [(nn.Identity(), body) for body in bodies]
        self.runtime = cpu_runtime()
        self.num_labelled = 0

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        self.num_labelled += len(images)
        return torch.stack([body(images) for body in self.bodies]).mean(0)


class Brightness(nn.Module):
    """Two classes: bright images are of the first, dark ones of the second.

    The logits are plus and minus `scale` × (mean pixel − ½).
    """

    def __init__(self, scale: float = 3) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, images: Tensor) -> Tensor:
        logit = self.scale * (images.double().mean((1, 2, 3)) - 0.5)
        return torch.stack([logit, -logit], 1).float()


def two_layers(seed: int = 0, *, num_inputs: int = 64, num_classes: int = 3) -> nn.Module:
    """A network whose last linear layer has six features as its input."""
    with torch.random.fork_rng():
        torch.default_generator.manual_seed(seed)
        return nn.Sequential(
            nn.Flatten(), nn.Linear(num_inputs, 6), nn.ReLU(), nn.Linear(6, num_classes)
        )


def features_of(bundle: Bundle, network: nn.Module) -> np.ndarray:
    """The features [N, 6] of `two_layers`, by numpy."""
    weight, bias = (parameter.detach().double().numpy() for parameter in network[1].parameters())
    flat = (bundle.images / 255.0).reshape(len(bundle), -1)
    return np.maximum(flat @ weight.T + bias, 0)


def run_selector(spec: str, bundle: Bundle, experts: StubExperts, **options) -> Bundle:
    """The bundle that a selector makes with stub experts."""
    return selectors.resolve(spec)(bundle, SelectOptions(**options), experts=experts)


def rows_by_class(selected: Bundle) -> list[np.ndarray]:
    """The rows that were taken of each class, in their order."""
    classes = range(selected.num_classes)
    return [selected.source_index[selected.hard_labels == number] for number in classes]


def class_rows(bundle: Bundle, number: int) -> np.ndarray:
    """The rows of a class in the bundle."""
    return np.flatnonzero(bundle.hard_labels == number)


def rows_expert(bundle: Bundle, *, classes: tuple[str, ...] | None = None) -> Expert:
    """An expert for `doctor` that knows `rows_bundle`: class k is bright in row k.

    It compares pixels with ½, so that it needs them in unit space.
    """

    def label(images: Tensor) -> Tensor:
        return 8 * (images.mean((1, 3)) - 0.5).clamp(-1, 1)[:, : bundle.num_classes]

    return Expert(
        run="expert",
        classes=classes or bundle.classes,
        mean=bundle.pixels.mean,
        std=bundle.pixels.std,
        label=label,
    )


def rows_bundle(images: int = 60, classes: int = 5, channels: int = 3) -> Bundle:
    """Images of noise of 8 px in which row k is bright for class k."""
    generator = np.random.default_rng(7)
    pixels = generator.integers(0, 120, (images, channels, 8, 8), np.uint8)
    hard_labels = np.arange(images) % classes
    for row, number in enumerate(hard_labels):
        pixels[row, :, number] += 130
    pixels[:, :, 7, :2] = (0, 255)
    return replace(
        make_bundle(images=images, classes=classes, channels=channels),
        images=pixels,
        hard_labels=hard_labels,
        soft=None,
    )
