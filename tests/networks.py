"""Small networks of 8 px images with one channel, for tests of the engine."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ddlabel.core.config import RuntimeOptions
from ddlabel.methods.nets import build
from ddlabel.methods.nets.prepare import normalisation
from ddlabel.training.runtime import Runtime

CPU = torch.device("cpu")
SHAPE = (1, 8, 8)
NUM_CLASSES = 3
PREPARE = normalisation([0.5], [0.25])


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
