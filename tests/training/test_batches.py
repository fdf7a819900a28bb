"""Batches of images and views against images cut and blended by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from networks import CPU, PREPARE
from samples import augmented_views_bundle, grid_views_bundle, make_bundle, with_arrays
from torch import Tensor

from ddlabel.commands.evaluate.experiment import loss_for
from ddlabel.core.config import EvaluateOptions
from ddlabel.core.errors import IncompatibleError
from ddlabel.data import formats
from ddlabel.data.bundle import Bundle
from ddlabel.data.schema import LabelMeta
from ddlabel.methods.augmentations import none
from ddlabel.methods.nets import build
from ddlabel.training.batches import BatchTransform, ViewIndex, image_batches, view_batches
from ddlabel.training.device_data import DeviceBundle

SIDE = 8
TRANSFORM = BatchTransform(prepare=PREPARE, augment=none)


def unit_images(bundle: Bundle) -> Tensor:
    return torch.from_numpy(np.array(bundle.images)).float() / 255


def cut(image: Tensor, box: np.ndarray) -> Tensor:
    """The part of an image [C, H, W] in a box of fractions, at the size of the image."""
    top, left, bottom, right = (box * SIDE).round().astype(int)
    part = image[None, :, top:bottom, left:right]
    return F.interpolate(part, (SIDE, SIDE), mode="bilinear", align_corners=False)[0]


class TestImageBatches:
    def test_images_come_with_their_labels(self):
        bundle = make_bundle(images=9)
        data = DeviceBundle.of(bundle, CPU)
        batch = image_batches(data, TRANSFORM, data.soft_target, batch_size=4, seed=3)
        images, target = batch(1)
        prepared = (unit_images(bundle) - 0.5) / 0.25
        for image, values, hard in zip(images, target.values, target.hard, strict=True):
            (row,) = [row for row in range(9) if torch.equal(prepared[row], image)]
            assert values.tolist() == bundle.soft.values[row].tolist()
            assert hard == bundle.hard_labels[row]

    def test_online_labels_are_those_of_the_images_of_the_step(self):
        data = DeviceBundle.of(make_bundle(images=9), CPU)
        seen = []

        def online(images, step):
            seen.append((images, step))
            return torch.full((len(images), 3), float(step))

        batch = image_batches(
            data, TRANSFORM, data.hard_target, batch_size=4, seed=3, online=online
        )
        images, target = batch(1)
        ((labelled, step),) = seen
        assert torch.equal(labelled, images)
        assert step == 1
        assert target.logits.tolist() == [[1.0] * 3] * 4


class TestViewBatches:
    @pytest.mark.parametrize("whole", ["hard", "soft"])
    def test_summed_batches_give_ladds_equation_5(self, whole):
        bundle = grid_views_bundle()
        options = EvaluateOptions(
            labels="dense", dense_batches="sum", global_labels=whole, net="convnet-d1:width=4"
        )
        data = DeviceBundle.of(bundle, CPU)
        batch = view_batches(ViewIndex(data, whole), TRANSFORM, together=True, batch_size=6, seed=0)
        network = build(options.net, PREPARE, channels=1, size=SIDE, num_classes=3, seed=0)
        images, target = batch(0)
        loss = loss_for(options, data)(network.body(images), target, 0)

        expected = torch.zeros(())
        for row, image in enumerate(unit_images(bundle)):
            whole_label = torch.tensor(bundle.hard_labels[row])
            if whole == "soft":
                whole_label = torch.from_numpy(bundle.soft.values[row]).softmax(0)
            expected += F.cross_entropy(network(image[None])[0], whole_label)
            for view, box in enumerate(bundle.views.boxes):
                view_label = torch.from_numpy(bundle.dense.values[row, view]).softmax(0)
                expected += F.cross_entropy(network(cut(image, box)[None])[0], view_label)
        torch.testing.assert_close(loss, expected / 6, rtol=1e-4, atol=1e-5)

    @pytest.mark.parametrize(("whole", "items_per_image"), [("hard", 5), ("none", 4)])
    def test_mixed_batches_take_every_view_and_image_once_in_a_pass(self, whole, items_per_image):
        index = ViewIndex(DeviceBundle.of(grid_views_bundle(), CPU), whole)
        assert index.items_per_image == items_per_image
        batch = view_batches(index, TRANSFORM, together=False, batch_size=7, seed=0)
        num_steps = math.ceil(6 * items_per_image / 7)
        images = torch.cat([batch(step)[0] for step in range(num_steps)])
        num_distinct = len(images.flatten(1).unique(dim=0))
        assert len(images) == num_distinct == 6 * items_per_image


class TestAugmentedViews:
    @pytest.fixture(params=["flip", "mixup", "cutmix"])
    def kind(self, request) -> str:
        return request.param

    @pytest.fixture
    def stored(self, kind, tmp_path) -> Bundle:
        """A bundle of two augmented views per image, written to a file and read."""
        formats.write(str(tmp_path / "b.safetensors"), augmented_views_bundle(kind))
        return formats.read(str(tmp_path / "b.safetensors"))

    def view_by_hand(self, bundle: Bundle, row: int, view: int) -> Tensor:
        """One view before it is blended: cut out and flipped."""
        image = cut(unit_images(bundle)[row], bundle.views.boxes[row, view])
        return image.flip(2) if bundle.views.flip[row, view] else image

    def blend_by_hand(self, kind: str, bundle: Bundle, row: int, view: int) -> tuple:
        """One view and the share of each class in it."""
        one_hot = np.eye(3, dtype=np.float32)[bundle.hard_labels]
        image = self.view_by_hand(bundle, row, view)
        if kind == "flip":
            return image, one_hot[row]
        partner = bundle.views.mix[row, view]
        other = self.view_by_hand(bundle, partner, view)
        shares = 0.75 * one_hot[row] + 0.25 * one_hot[partner]
        if kind == "mixup":
            return 0.75 * image + 0.25 * other, shares
        blended = image.clone()
        blended[:, 2:6, 4:8] = other[:, 2:6, 4:8]
        return blended, shares

    @pytest.mark.parametrize("whole", ["none", "hard"])
    def test_views_are_replayed_as_they_were_made(self, kind, stored, whole):
        index = ViewIndex(DeviceBundle.of(stored, CPU), whole)
        num_whole = 1 if whole == "hard" else 0
        items = torch.arange(6 * (2 + num_whole))
        images = index.images(items)
        shares = index.target(items).hard
        for item in items.tolist():
            row, number = divmod(item, 2 + num_whole)
            if number < num_whole:
                expected = unit_images(stored)[row]
                expected_shares = np.eye(3)[stored.hard_labels[row]]
            else:
                expected, expected_shares = self.blend_by_hand(
                    kind, stored, row, number - num_whole
                )
            torch.testing.assert_close(images[item], expected, rtol=1e-5, atol=1e-5)
            if kind != "flip":
                assert shares[item].tolist() == pytest.approx(expected_shares.tolist())
            else:
                assert shares[item] == stored.hard_labels[row]


class TestRefusals:
    def test_a_bundle_without_views(self):
        with pytest.raises(IncompatibleError, match="dense"):
            ViewIndex(DeviceBundle.of(make_bundle(), CPU), "none")

    def test_directions_with_distributions(self):
        bundle = with_arrays(grid_views_bundle(), soft=LabelMeta(space="direction"))
        index = ViewIndex(DeviceBundle.of(bundle, CPU), "soft")
        with pytest.raises(IncompatibleError, match="direction"):
            index.target(torch.arange(3))
