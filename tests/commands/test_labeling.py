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
from ddlabel.commands.relabel import relabel
from ddlabel.core.config import DensifyOptions, RelabelOptions
from ddlabel.core.errors import ResourceError
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
        formats.write(path, make_bundle(images=num_images), force=True)
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


def test_labels_in_little_memory_are_the_same_bytes(checkpoint, monkeypatch):
    """With torch's own error for more than 4 images at once through the network."""
    bundle = make_bundle(images=30)
    options = RelabelOptions(**OPTIONS)
    plain = labeling.label_images(bundle, [checkpoint], options)
    label = Labeler._label

    def label_few(self, images):
        if len(images) > 4:
            torch.empty(1 << 60)
        return label(self, images)

    monkeypatch.setattr(Labeler, "_label", label_few)
    in_little_memory = labeling.label_images(bundle, [checkpoint], options)
    assert in_little_memory.soft.values.tobytes() == plain.soft.values.tobytes()


def test_a_labelling_that_does_not_fit_at_all_is_a_resource_error(checkpoint, monkeypatch):
    monkeypatch.setattr(Labeler, "_label", lambda *_: torch.empty(1 << 60))
    with pytest.raises(ResourceError) as caught:
        relabel(make_bundle(images=30), expert=checkpoint.run, **OPTIONS)
    assert "--batch-size" not in str(caught.value)
