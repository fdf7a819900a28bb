"""Labels of known spaces, as codecs give them back."""

from __future__ import annotations

import numpy as np
from samples import make_bundle, with_arrays
from scipy.special import softmax

from ddlabel.data.bundle import Bundle
from ddlabel.data.codecs import codecs
from ddlabel.data.schema import LabelMeta

LOGITS = LabelMeta(space="logits", temperature=2.0)
PROBS = LabelMeta(space="probs")


def coded(spec: str, values, label=LOGITS):
    """Values as a codec gives them back, and what it stored."""
    stored = codecs.resolve(spec)(np.asarray(values, np.float32), label)
    return stored.decode(), stored


def probs_of(values, label) -> np.ndarray:
    """Oracle of the distribution that labels stand for."""
    return (
        softmax(np.float64(values) / label.temperature, -1)
        if label.space == "logits"
        else np.float64(values)
    )


def dense_bundle(images: int = 6, views: int = 4, classes: int = 5, **changes) -> Bundle:
    """Soft and dense logits at temperature 2, of a grid."""
    dense = np.random.default_rng(1).normal(size=(images, views, classes)).astype(np.float32) * 3
    boxes = np.array([[0, i / 10, 0.5, 0.5 + i / 10] for i in range(views)], np.float32)
    plain = make_bundle(images=images, classes=classes)
    return with_arrays(
        plain, soft=LOGITS, dense_labels=dense, dense_boxes=boxes, dense=LOGITS, **changes
    )
