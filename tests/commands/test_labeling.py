"""Labelling with experts: views are labelled as they are replayed, within bounded memory."""

from __future__ import annotations

import tracemalloc

import pytest
import torch
from experts import train_small_expert
from networks import CPU
from samples import make_bundle

from ddlabel.commands import labeling
from ddlabel.commands.densify import densify_images
from ddlabel.core.config import DensifyOptions, RelabelOptions
from ddlabel.data import formats
from ddlabel.data.expert_run import Checkpoint
from ddlabel.training.batches import ViewIndex
from ddlabel.training.device_data import DeviceBundle
from ddlabel.training.labeler import Labeler

OPTIONS = {"epoch": "last", "compile": "off", "precision": "fp32"}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Checkpoint:
    folder = tmp_path_factory.mktemp("runs") / "expert"
    run = train_small_expert(make_bundle(images=30), folder)
    return Checkpoint(run, run.step_of("last"))


@pytest.mark.parametrize(
    "layout", ["grid:n=2,r=0.75", "random:count=3", "fkd:count=3", "fkd:count=2,mix=mixup"]
)
def test_views_are_labelled_as_they_are_replayed(layout, checkpoint, monkeypatch):
    """To the bit: a student is trained on the pixels that the expert labelled."""
    labelled_images = {}

    class RecordingLabeler(Labeler):
        def __call__(self, images):
            all_logits = super().__call__(images)
            for image, logits in zip(images, all_logits, strict=True):
                labelled_images[logits.numpy().tobytes()] = image
            return all_logits

    monkeypatch.setattr(labeling, "Labeler", RecordingLabeler)
    options = DensifyOptions(views=layout, **OPTIONS)
    dense = densify_images(make_bundle(images=30), [checkpoint], options)
    dense.check_values()
    index = ViewIndex(DeviceBundle.of(dense, CPU), "none")
    num_views = index.items_per_image
    order = torch.randperm(30 * num_views, generator=torch.Generator().manual_seed(0))
    # Other batches than those in which the views were labelled.
    for items in order.split(7):
        for item, image in zip(items.tolist(), index.images(items), strict=True):
            labels = dense.dense.values[item // num_views, item % num_views]
            assert torch.equal(labelled_images[labels.tobytes()], image)


@pytest.mark.parametrize("layout", [None, "grid:n=2,r=0.75", "fkd:count=4"])
def test_memory_does_not_grow_with_the_number_of_images(layout, checkpoint, tmp_path, monkeypatch):
    """At N and 8 N images: large arrays lie in files, and a chunk of them is in memory."""
    monkeypatch.setattr("ddlabel.data.scratch.IN_MEMORY_BYTES", 0)
    path = str(tmp_path / "b.safetensors")
    peaks = []
    for num_images in (1500, 12000):
        formats.write(path, make_bundle(images=num_images))
        bundle = formats.read(path)
        tracemalloc.start()
        if layout is None:
            labeling.label_images(bundle, [checkpoint], RelabelOptions(**OPTIONS))
        else:
            densify_images(bundle, [checkpoint], DensifyOptions(views=layout, **OPTIONS))
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        peaks.append(peak)
    assert peaks[1] < 1.5 * peaks[0]
