"""Options and images for tests of `learn`; `linear` is the network of the fixture `linear_net`."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from samples import make_bundle

from ddlabel.commands.label_learning import learn_labels
from ddlabel.core.config import LearnOptions
from ddlabel.data.bundle import Bundle
from ddlabel.data.labels import Labels

FAST = {"net": "linear", "device": "cpu", "batch_size": 4}
# With this optimizer one iteration gives start − gradient.
STEEP = "sgd:lr=1,momentum=0,weight-decay=0"


def learned(bundle: Bundle, options: LearnOptions, **more: Any) -> Labels:
    """The soft labels that are learned."""
    return learn_labels(bundle, options, **more).bundle.soft


def real_and_mislabelled() -> tuple[Bundle, Bundle]:
    """Bright and dark images with noise, and four of them with the wrong hard labels."""
    generator = np.random.default_rng(0)
    real = make_bundle(images=100, classes=2, size=4)
    brightness = np.where(real.hard_labels == 0, 190, 60)[:, None, None, None]
    images = brightness + generator.integers(-40, 40, real.images.shape)
    real = replace(real, images=images.astype(np.uint8))
    few = real.take(np.arange(4))
    return real, replace(few, hard_labels=1 - few.hard_labels)
