"""Small bundles and paths that many tests use."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from ddlabel.data.bundle import Bundle
from ddlabel.data.schema import LabelMeta, Pixels

FIXTURES = Path(__file__).parent.parent / "fixtures"


TINY = ["--net", "convnet-d1:width=4", "--epochs", "2", "--precision", "fp32"]


SHARED = Path(__file__).parent.parent.parent / "shared"


def make_bundle(
    images: int = 12, classes: int = 3, size: int = 8, channels: int = 1, seed: int = 0
) -> Bundle:
    """A small valid bundle of uint8 noise with logits for soft labels."""
    generator = np.random.default_rng(seed)
    return Bundle(
        classes=tuple(f"class {i}" for i in range(classes)),
        pixels=Pixels(space="uint8", mean=(0.5,) * channels, std=(0.25,) * channels),
        images=generator.integers(0, 256, (images, channels, size, size), np.uint8),
        hard_labels=np.arange(images) % classes,
        soft_labels=generator.normal(size=(images, classes)).astype(np.float32),
        soft=LabelMeta(space="logits"),
    )


def records(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]
