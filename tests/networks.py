"""Networks for tests: small ones of 8 px images with one channel, and those of the registry."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from ddlabel.core.config import RuntimeOptions
from ddlabel.core.errors import UsageError
from ddlabel.methods.nets import Network, build
from ddlabel.methods.nets.prepare import normalisation
from ddlabel.training.runtime import Runtime

CPU = torch.device("cpu")
SHAPE = (1, 8, 8)
NUM_CLASSES = 3
PREPARE = normalisation([0.5], [0.25])

# The smallest images of the networks that do not take all of the field's, with their refusals.
SMALLEST = {
    "convnet-d6": (64, "64 px"),
    "torchvision-alexnet": (63, "stem=small"),
    "torchvision-vgg11": (32, "32 px"),
    "torchvision-swin-t": (32, "32 px"),
    "torchvision-swin-v2-t": (32, "32 px"),
    "torchvision-vit-b-16": (32, "16 px"),
}


def build_body(spec: str = "convnet-d1:width=8", *, seed: int = 0, size: int = 8) -> nn.Module:
    """A network with fresh weights."""
    return build(spec, PREPARE, channels=1, size=size, num_classes=NUM_CLASSES, seed=seed).body


def cpu_runtime(**options: str) -> Runtime:
    """A runtime on the CPU, in float32 and uncompiled unless `options` say otherwise."""
    settings = {"device": "cpu", "compile": "off", "precision": "fp32"} | options
    return Runtime.of(RuntimeOptions(**settings))


def random_images(*shape: int) -> Tensor:
    """The same normal noise whenever it is asked for."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def build_network(
    spec: str, *, channels: int = 3, size: int = 32, classes: int = 10, seed: int = 0
) -> Network:
    """A network of the registry with fresh weights."""
    return build(
        spec,
        normalisation((0.5,) * channels, (0.2,) * channels),
        channels=channels,
        size=size,
        num_classes=classes,
        seed=seed,
    )


def num_parameters(network: nn.Module) -> int:
    """The number of trained weights."""
    return sum(parameter.numel() for parameter in network.parameters())


def check_training(spec: str, *, size: int, channels: int, classes: int = 7) -> None:
    """Check that a step of SGD on a few images changes every parameter.

    The biases of a ConvNet or a VGG are exempt: the norm after them removes their effect.
    """
    smallest, refusal = SMALLEST.get(spec, (0, ""))
    if size < smallest:
        with pytest.raises(UsageError, match=refusal):
            build_network(spec, size=size, channels=channels)
        return
    network = build_network(spec, size=size, channels=channels, classes=classes)
    for module in network.modules():
        # No dropout and no stochastic depth: with so few images, either can silence a whole layer.
        if hasattr(module, "p"):
            module.p = 0.0
    before = {name: parameter.detach().clone() for name, parameter in network.named_parameters()}
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01)
    # Batch norm of two values, of maps of one pixel, passes no gradient on.
    num_images = 3 if spec.startswith("torchvision-") else 2
    images = torch.rand(
        num_images, channels, size, size, generator=torch.Generator().manual_seed(0)
    )
    # Where a layer starts at zero, the layers before it change from the second step on.
    for _ in range(2 if spec.startswith(("vit", "timm")) else 1):
        logits = network(images)
        assert logits.shape == (num_images, classes)
        loss = torch.nn.functional.cross_entropy(logits, torch.arange(num_images))
        assert torch.isfinite(loss)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert all(torch.isfinite(parameter).all() for parameter in network.parameters())
    unchanged = {name for name, now in network.named_parameters() if torch.equal(before[name], now)}
    if spec.startswith(("convnet", "vgg11")):
        unchanged = {name for name in unchanged if not name.endswith("bias")}
    assert unchanged == set()
