"""Labels of views, and the memory that labelling takes."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
import torch
from samples import augmented_views_bundle, make_bundle, with_arrays

from ddlabel.commands import train_expert
from ddlabel.commands.densify import densify_images as densify
from ddlabel.commands.labeling import label_images as relabel
from ddlabel.core.config import DensifyOptions, RelabelOptions, TrainExpertOptions
from ddlabel.core.errors import IncompatibleError, InvalidInputError
from ddlabel.data import formats
from ddlabel.data.expert_run import Checkpoint
from ddlabel.methods.labels.target import Target
from ddlabel.methods.losses import ce, losses
from ddlabel.training.batches import ViewIndex
from ddlabel.training.device_data import DeviceBundle
from ddlabel.training.labeler import Labeler

CPU = torch.device("cpu")


def test_blended_views_cannot_be_parted_from_their_partners():
    bundle = augmented_views_bundle("mixup")
    assert (
        bundle.take(np.arange(6)[::-1]).views.mix.tolist() == (5 - bundle.views.mix[::-1]).tolist()
    )
    with pytest.raises(IncompatibleError, match="would be left out"):
        bundle.take(np.arange(3))
    assert bundle.without_views().arrays.keys() == {"images", "hard_labels", "soft_labels"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"dense_flip": np.full((6, 2), 2, np.uint8)},
            "dense_flip, row 0: expected numbers from 0 to 1",
        ),
        ({"dense_mix": np.full((6, 2), 6)}, "dense_mix, row 0: expected numbers from 0 to 5"),
        ({"dense_mix_weight": np.full((6, 2), 1.5, np.float32)}, "numbers from 0 to 1"),
        ({"dense_mix_weight": None}, "dense_mix needs dense_mix_weight"),
        ({"dense_mix": None}, "dense_mix_weight needs dense_mix"),
        ({"dense_flip": np.zeros((6, 3), np.uint8)}, "dense_flip has V = 3: expected 2"),
        ({"dense_boxes": np.zeros((6, 4), np.float32)}, "V = 6"),
    ],
)
def test_recorded_views_that_have_no_meaning(change, message):
    with pytest.raises(InvalidInputError, match=message):
        with_arrays(augmented_views_bundle("mixup"), **change).check_values()


def test_soft_ce_of_hard_labels_is_ce():
    logits, hard = torch.randn(5, 3), torch.tensor([0, 1, 2, 1, 0])
    target = Target.of_classes(hard, 3)
    torch.testing.assert_close(losses.get("soft-ce")(logits, target), ce(logits, target))


@pytest.mark.parametrize(
    "layout", ["grid:n=2,r=0.75", "random:count=3", "fkd:count=3", "fkd:count=2,mix=mixup"]
)
def test_views_are_labelled_as_they_are_replayed(layout, expert):
    """To the bit: the pixels that a student trains on are those that the expert saw."""
    seen = {}

    class Spy(Labeler):
        def __call__(self, images):
            for image, logits in zip(images, found := super().__call__(images), strict=True):
                seen[logits.numpy().tobytes()] = image
            return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ddlabel.commands.labeling.Labeler", Spy)
        plain = replace(make_bundle(images=30), classes=expert.about.classes)
        options = DensifyOptions(epoch="last", views=layout, compile="off")
        dense = densify(plain, [Checkpoint(expert, expert.step_of("last"))], options)
    dense.check_values()
    items = ViewIndex(DeviceBundle.of(dense, CPU), "none")
    order = torch.randperm(30 * items.items_per_image, generator=torch.Generator().manual_seed(0))
    for chosen in order.split(7):
        for item, image in zip(chosen, items.images(chosen), strict=True):
            labels = dense.dense.values[item // items.items_per_image, item % items.items_per_image]
            assert torch.equal(seen[labels.tobytes()], image)


@pytest.mark.parametrize("layout", [None, "grid:n=2,r=0.75", "fkd:count=4"])
def test_memory_does_not_grow_with_the_number_of_images(layout, expert, tmp_path, monkeypatch):
    """numpy's memory at N and at 8 N: labels are written to files, chunk by chunk."""
    monkeypatch.setattr("ddlabel.data.scratch.IN_MEMORY_BYTES", 0)
    options = {"epoch": "last", "compile": "off"}
    peaks = []
    for images in (1500, 12000):
        formats.write(str(tmp_path / "b.safetensors"), make_bundle(images=images))
        bundle = formats.read(str(tmp_path / "b.safetensors"))
        picks = [Checkpoint(expert, expert.step_of("last"))]
        tracemalloc.start()
        if layout is None:
            relabel(bundle, picks, RelabelOptions(**options))
        else:
            densify(bundle, picks, DensifyOptions(views=layout, **options))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.5 * peaks[0]


@pytest.fixture(scope="module")
def expert(tmp_path_factory):
    real, path = make_bundle(images=30), tmp_path_factory.mktemp("runs") / "expert"
    options = TrainExpertOptions(
        net="convnet-d1:width=4", epochs=1, batch_size=10, compile="off", precision="fp32"
    )
    ((_, about),) = train_expert.plan(real, path, options, "digest")
    return train_expert.train_expert(real, None, path, about, options, lambda _: None)
