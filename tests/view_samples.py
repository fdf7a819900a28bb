"""Bundles with views, for tests of batches and of bundles."""

from __future__ import annotations

import numpy as np
from samples import make_bundle, with_arrays

from ddlabel.data.bundle import Bundle
from ddlabel.data.schema import LabelMeta
from ddlabel.methods.labels import views

NUM_IMAGES = 6
MIX_WEIGHT = 0.75
# In pixels of the 8 px images: rows 2 to 5 and columns 4 to 7.
MIX_BOX = (0.25, 0.5, 0.75, 1.0)


def grid_bundle() -> Bundle:
    """Six images with logits for themselves and for the four views of a 2 × 2 grid."""
    boxes = views.grid(NUM_IMAGES, 8, 8, 0, n=2, r=0.75).boxes
    labels = np.random.default_rng(1).normal(size=(NUM_IMAGES, 4, 3)).astype(np.float32)
    return with_arrays(
        make_bundle(images=NUM_IMAGES),
        dense_labels=labels,
        dense_boxes=boxes,
        dense=LabelMeta(space="logits"),
    )


def recorded_views(kind: str) -> Bundle:
    """Six images with two augmented views each, as FKD stores them.

    Every view has its own box and flip; `kind` mixup and cutmix blend another image's view in.
    """
    generator = np.random.default_rng(3)
    shape = (NUM_IMAGES, 2)
    top_left = generator.integers(0, 3, (*shape, 2)) / 8
    bottom_right = top_left + generator.integers(4, 6, (*shape, 2)) / 8
    arrays = {
        "dense_boxes": np.concatenate([top_left, bottom_right], 2).astype(np.float32),
        "dense_flip": generator.integers(0, 2, shape).astype(np.uint8),
    }
    if kind != "flip":
        arrays["dense_mix"] = generator.integers(0, NUM_IMAGES, shape)
        arrays["dense_mix_weight"] = np.full(shape, MIX_WEIGHT, np.float32)
    if kind == "cutmix":
        arrays["dense_mix_box"] = np.tile(np.array(MIX_BOX, np.float32), (*shape, 1))
    arrays["dense_labels"] = generator.normal(size=(*shape, 3)).astype(np.float32)
    return with_arrays(make_bundle(images=NUM_IMAGES), dense=LabelMeta(space="logits"), **arrays)


def with_grid_views(bundle: Bundle) -> Bundle:
    """Four views of every image, with random logits."""
    boxes = views.grid(len(bundle), 8, 8, 0, n=2, r=0.75).boxes
    logits = np.random.default_rng(1).normal(size=(len(bundle), 4, 3)).astype(np.float32)
    return with_arrays(
        bundle, dense_labels=logits, dense_boxes=boxes, dense=LabelMeta(space="logits")
    )
