"""Small bundles and paths that many tests use."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from ddlabel.data.bundle import Bundle
from ddlabel.data.labels import Labels, Views
from ddlabel.data.schema import LabelMeta, Pixels

FIXTURES = Path(__file__).parent.parent / "fixtures"


TINY = ["--net", "convnet-d1:width=4", "--epochs", "2", "--precision", "fp32"]


SHARED = Path(__file__).parent.parent.parent / "shared"


VIEW_ARRAYS = ("flip", "mix", "mix_weight", "mix_box")


def make_bundle(
    images: int = 12, classes: int = 3, size: int = 8, channels: int = 1, seed: int = 0
) -> Bundle:
    """A small valid bundle of uint8 noise with logits for soft labels."""
    generator = np.random.default_rng(seed)
    return bundle_of(
        classes=tuple(f"class {i}" for i in range(classes)),
        pixels=Pixels(space="uint8", mean=(0.5,) * channels, std=(0.25,) * channels),
        images=generator.integers(0, 256, (images, channels, size, size), np.uint8),
        hard_labels=np.arange(images) % classes,
        soft_labels=generator.normal(size=(images, classes)).astype(np.float32),
        soft=LabelMeta(space="logits"),
    )


def records(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def records_without_cost(path: Path) -> list[dict]:
    """The records of a results file without what differs between equal runs: seconds, checksum."""
    return [record | {"cost": 0, "sha256": ""} for record in records(path)]


def bundle_of(**fields) -> Bundle:
    """A bundle from arrays under their names in a file, and LabelMeta as `soft` and `dense`."""
    for name in ("soft", "dense"):
        values, index = fields.pop(f"{name}_labels", None), fields.pop(f"{name}_index", None)
        meta = fields.pop(name, None)
        if values is not None and meta is not None:
            num_classes = len(fields["classes"])
            labels = Labels(values=values, meta=meta, index=index, num_classes=num_classes)
            fields[name] = labels
    views = {name: fields.pop(f"dense_{name}", None) for name in ("boxes", *VIEW_ARRAYS)}
    if views["boxes"] is not None or any(view is not None for view in views.values()):
        fields.setdefault("views", Views(**views))
    return Bundle(**fields)


def with_arrays(bundle: Bundle, **changes) -> Bundle:
    """The bundle with other arrays, given under their names in a file; None takes one out."""
    fields = dict(bundle.arrays) | {name: getattr(bundle, name) for name in ("classes", "pixels")}
    fields["history"] = bundle.history
    fields |= {n: getattr(bundle, n).meta for n in ("soft", "dense") if getattr(bundle, n)}
    return bundle_of(**{k: v for k, v in (fields | changes).items() if v is not None})
