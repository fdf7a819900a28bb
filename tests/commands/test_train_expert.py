"""The loop and what it trains on, against loops written out by hand."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from samples import make_bundle, with_arrays

from ddlabel.commands import train_expert
from ddlabel.commands.densify import densify_images as densify
from ddlabel.commands.evaluate.experiment import loss_for
from ddlabel.commands.labeling import label_images as relabel
from ddlabel.core.config import DensifyOptions, EvaluateOptions, RelabelOptions, TrainExpertOptions
from ddlabel.core.errors import IncompatibleError, InvalidInputError
from ddlabel.data import formats
from ddlabel.data.bundle import Bundle
from ddlabel.data.schema import LabelMeta
from ddlabel.methods.augmentations import none
from ddlabel.methods.labels import views
from ddlabel.methods.labels.target import Target
from ddlabel.methods.losses import ce, losses
from ddlabel.methods.nets import build
from ddlabel.methods.nets.prepare import normalisation
from ddlabel.training.batches import BatchTransform, ViewIndex, image_batches, view_batches
from ddlabel.training.device_data import DeviceBundle, predict
from ddlabel.training.labeler import Labeler
from ddlabel.training.stacking import stacked

CPU = torch.device("cpu")
PREPARE = normalisation((0.5,), (0.25,))
PICTURES = BatchTransform(prepare=PREPARE, augment=none)


def dense_bundle() -> Bundle:
    """Six images with logits for themselves and for the four views of a 2 × 2 grid."""
    plain = make_bundle(images=6)
    boxes = views.grid(6, 8, 8, 0, n=2, r=0.75).boxes
    labels = np.random.default_rng(1).normal(size=(6, 4, 3)).astype(np.float32)
    return with_arrays(
        plain, dense_labels=labels, dense_boxes=boxes, dense=LabelMeta(space="logits")
    )


@pytest.mark.parametrize("whole", ["hard", "soft"])
def test_summed_batches_give_ladds_equation_5(whole):
    bundle = dense_bundle()
    options = EvaluateOptions(
        labels="dense", dense_batches="sum", global_labels=whole, net="convnet-d1:width=4"
    )
    data = DeviceBundle.of(bundle, CPU)
    items = ViewIndex(data, whole)
    batch = view_batches(items, PICTURES, together=True, batch_size=6, seed=0)
    network = build(options.net, PREPARE, channels=1, size=8, num_classes=3, seed=0)
    images, target = batch(0)
    ours = loss_for(options, data)(network.body(images), target, 0)

    unit = torch.from_numpy(bundle.images).float() / 255
    expected = torch.zeros(())
    for i in range(6):
        if whole == "hard":
            expected += F.cross_entropy(
                network(unit[i : i + 1]), torch.tensor([bundle.hard_labels[i]])
            )
        else:
            soft = torch.from_numpy(bundle.soft.values[i : i + 1]).softmax(1)
            expected += F.cross_entropy(network(unit[i : i + 1]), soft)
        for j, (y0, x0, y1, x1) in enumerate((bundle.views.boxes * 8).round().astype(int)):
            cut = F.interpolate(
                unit[i : i + 1, :, y0:y1, x0:x1], (8, 8), mode="bilinear", align_corners=False
            )
            label = torch.from_numpy(bundle.dense.values[i, j : j + 1]).softmax(1)
            expected += F.cross_entropy(network(cut), label)
    torch.testing.assert_close(ours, expected / 6, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("whole", "items_per_image"), [("hard", 5), ("none", 4)])
def test_mixed_batches_take_every_view_and_image_once_in_a_pass(whole, items_per_image):
    data = DeviceBundle.of(dense_bundle(), CPU)
    items = ViewIndex(data, whole)
    batch = view_batches(items, PICTURES, together=False, batch_size=7, seed=0)
    steps = -(-6 * items_per_image // 7)
    seen = torch.cat([batch(step)[0] for step in range(steps)])
    assert items.items_per_image == items_per_image
    assert len(seen) == 6 * items_per_image == len(seen.flatten(1).unique(dim=0))


def recorded_views(kind: str) -> Bundle:
    """Six images with two augmented views each, as FKD stores them: own boxes, flips, and partners blended in."""
    generator = np.random.default_rng(3)
    corners = generator.integers(0, 3, (6, 2, 2)) / 8
    boxes = np.concatenate([corners, corners + generator.integers(4, 6, (6, 2, 2)) / 8], 2).astype(
        np.float32
    )
    more = {"dense_flip": generator.integers(0, 2, (6, 2)).astype(np.uint8)}
    if kind != "flip":
        more |= {
            "dense_mix": generator.integers(0, 6, (6, 2)),
            "dense_mix_weight": np.full((6, 2), 0.75, np.float32),
        }
    if kind == "cutmix":
        more["dense_mix_box"] = np.tile(np.array([0.25, 0.5, 0.75, 1.0], np.float32), (6, 2, 1))
    labels = generator.normal(size=(6, 2, 3)).astype(np.float32)
    dense = LabelMeta(space="logits")
    return with_arrays(
        make_bundle(images=6), dense_labels=labels, dense_boxes=boxes, dense=dense, **more
    )


@pytest.mark.parametrize("kind", ["flip", "mixup", "cutmix"])
@pytest.mark.parametrize("whole", ["none", "hard"])
def test_recorded_views_are_replayed_as_they_were_made(kind, whole, tmp_path):
    formats.write(str(tmp_path / "b.safetensors"), recorded_views(kind))
    bundle = formats.read(str(tmp_path / "b.safetensors"))
    items = ViewIndex(DeviceBundle.of(bundle, CPU), whole)
    wholes = int(whole != "none")
    unit = torch.from_numpy(np.array(bundle.images)).float() / 255

    def view(image: int, number: int) -> torch.Tensor:
        y0, x0, y1, x1 = (bundle.views.boxes[image, number] * 8).round().astype(int)
        cut = F.interpolate(
            unit[image : image + 1, :, y0:y1, x0:x1], (8, 8), mode="bilinear", align_corners=False
        )[0]
        return cut.flip(2) if bundle.views.flip[image, number] else cut

    chosen = torch.arange(6 * (2 + wholes))
    images, target = items.images(chosen), items.target(chosen)
    one_hot = np.eye(3, dtype=np.float32)[bundle.hard_labels]
    for item, (made, share) in enumerate(zip(images, target.hard, strict=True)):
        image, number = divmod(item, 2 + wholes)
        number -= wholes
        expected, hard = (
            (unit[image], one_hot[image]) if number < 0 else (view(image, number), one_hot[image])
        )
        if kind != "flip" and number >= 0:
            partner = bundle.views.mix[image, number]
            other, hard = view(partner, number), 0.75 * hard + 0.25 * one_hot[partner]
            if kind == "mixup":
                expected = 0.75 * expected + 0.25 * other
            else:
                expected = expected.clone()
                expected[:, 2:6, 4:8] = other[:, 2:6, 4:8]
        torch.testing.assert_close(made, expected, rtol=1e-5, atol=1e-5)
        if kind != "flip":
            assert share.tolist() == pytest.approx(hard.tolist())


def test_blended_views_cannot_be_parted_from_their_partners():
    bundle = recorded_views("mixup")
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
        with_arrays(recorded_views("mixup"), **change).check_values()


def test_directions_and_distributions_do_not_mix():
    bundle = with_arrays(dense_bundle(), soft=LabelMeta(space="direction"))
    items = ViewIndex(DeviceBundle.of(bundle, CPU), "soft")
    with pytest.raises(IncompatibleError, match="refine both"):
        items.target(torch.arange(3))


def test_images_come_with_their_own_labels():
    bundle = make_bundle(images=9)
    data = DeviceBundle.of(bundle, CPU)
    batch = image_batches(data, PICTURES, data.soft_target, batch_size=4, seed=3)
    images, target = batch(1)
    unit = (torch.from_numpy(bundle.images).float() / 255 - 0.5) / 0.25
    for image, values, hard in zip(images, target.values, target.hard, strict=True):
        row = next(i for i in range(9) if torch.equal(unit[i], image))
        assert values.tolist() == bundle.soft.values[row].tolist()
        assert hard == bundle.hard_labels[row]


def test_predict_is_the_network_in_evaluation_mode():
    bundle = make_bundle(images=20, size=64)  # two batches
    network = build(
        "convnet-d1:norm=batch,width=4", PREPARE, channels=1, size=64, num_classes=3, seed=0
    )
    out = predict([network], stacked([network.body]), DeviceBundle.of(bundle, CPU))[0]
    assert network.training
    with torch.no_grad():
        expected = network.eval()(torch.from_numpy(bundle.images).float() / 255)
    torch.testing.assert_close(out, expected)


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
        patch.setattr("ddlabel.commands.relabel.Labeler", Spy)
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
    """numpy's memory at N and at 8 N: what is made lies in files, of which a chunk is held at a time."""
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
