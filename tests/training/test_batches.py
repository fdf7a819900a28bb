"""Batches of images and of views, against the arrays of the bundle and torch's own resizing."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from networks import CPU, PREPARE
from samples import make_bundle, with_arrays
from torch import Tensor
from view_samples import MIX_WEIGHT, NUM_IMAGES, grid_bundle, recorded_views

from ddlabel.core.errors import IncompatibleError
from ddlabel.data import formats
from ddlabel.data.bundle import Bundle
from ddlabel.data.schema import LabelMeta
from ddlabel.methods.augmentations import none
from ddlabel.training.batches import BatchTransform, ViewIndex, image_batches, view_batches
from ddlabel.training.device_data import DeviceBundle

TRANSFORM = BatchTransform(prepare=PREPARE, augment=none)


def unit_images(bundle: Bundle) -> Tensor:
    return torch.from_numpy(np.array(bundle.images)).float() / 255


class TestImageBatches:
    def test_images_come_with_their_own_labels(self):
        bundle = make_bundle(images=9)
        data = DeviceBundle.of(bundle, CPU)
        batch = image_batches(data, TRANSFORM, data.soft_target, batch_size=4, seed=3)
        images, target = batch(1)
        prepared = (unit_images(bundle) - 0.5) / 0.25
        assert len(images) == 4
        for image, values, hard in zip(images, target.values, target.hard, strict=True):
            row = next(i for i in range(9) if torch.equal(prepared[i], image))
            assert values.tolist() == bundle.soft.values[row].tolist()
            assert hard == bundle.hard_labels[row]

    def test_a_pass_has_every_image_once(self):
        bundle = make_bundle(images=9)
        data = DeviceBundle.of(bundle, CPU)
        batch = image_batches(data, TRANSFORM, data.hard_target, batch_size=4, seed=3)
        images = torch.cat([batch(step)[0] for step in range(3)])
        assert len(images) == len(images.flatten(1).unique(dim=0)) == 9


class TestViewBatches:
    @pytest.mark.parametrize(("whole", "items_per_image"), [("hard", 5), ("none", 4)])
    def test_mixed_batches_have_every_view_and_image_once_in_a_pass(self, whole, items_per_image):
        index = ViewIndex(DeviceBundle.of(grid_bundle(), CPU), whole)
        batch = view_batches(index, TRANSFORM, together=False, batch_size=7, seed=0)
        num_items = NUM_IMAGES * items_per_image
        images = torch.cat([batch(step)[0] for step in range(math.ceil(num_items / 7))])
        assert index.items_per_image == items_per_image
        assert len(images) == len(images.flatten(1).unique(dim=0)) == num_items

    def test_a_mixed_batch_is_no_larger_than_one_of_all_images(self):
        index = ViewIndex(DeviceBundle.of(grid_bundle(), CPU), "hard")
        batch = view_batches(index, TRANSFORM, together=False, batch_size=256, seed=0)
        assert len(batch(0)[0]) == NUM_IMAGES

    def test_together_a_batch_has_all_items_of_its_images(self):
        index = ViewIndex(DeviceBundle.of(grid_bundle(), CPU), "hard")
        batch = view_batches(index, TRANSFORM, together=True, batch_size=2, seed=0)
        images, target = batch(0)
        assert len(images) == 2 * 5
        assert target.hard[:5].unique().numel() == target.hard[5:].unique().numel() == 1

    def test_directions_and_distributions_cannot_be_in_one_target(self):
        bundle = with_arrays(grid_bundle(), soft=LabelMeta(space="direction"))
        index = ViewIndex(DeviceBundle.of(bundle, CPU), "soft")
        with pytest.raises(IncompatibleError):
            index.target(torch.arange(3))

    def test_a_bundle_without_dense_labels_is_refused(self):
        with pytest.raises(IncompatibleError):
            ViewIndex(DeviceBundle.of(make_bundle(), CPU), "none")


def cut_view(bundle: Bundle, image: int, view: int) -> Tensor:
    """A recorded view before it is blended."""
    top, left, bottom, right = (bundle.views.boxes[image, view] * 8).round().astype(int)
    part = unit_images(bundle)[image : image + 1, :, top:bottom, left:right]
    cut = F.interpolate(part, (8, 8), mode="bilinear", align_corners=False)[0]
    return cut.flip(2) if bundle.views.flip[image, view] else cut


def expected_view(bundle: Bundle, kind: str, image: int, view: int) -> tuple[Tensor, np.ndarray]:
    """A recorded view as it was labelled, and the share of each class in it."""
    one_hot = np.eye(3, dtype=np.float32)[bundle.hard_labels]
    pixels = cut_view(bundle, image, view)
    if kind == "flip":
        return pixels, one_hot[image]
    partner = bundle.views.mix[image, view]
    shares = MIX_WEIGHT * one_hot[image] + (1 - MIX_WEIGHT) * one_hot[partner]
    other = cut_view(bundle, partner, view)
    if kind == "mixup":
        return MIX_WEIGHT * pixels + (1 - MIX_WEIGHT) * other, shares
    pixels[:, 2:6, 4:8] = other[:, 2:6, 4:8]
    return pixels, shares


@pytest.mark.parametrize("kind", ["flip", "mixup", "cutmix"])
@pytest.mark.parametrize("num_whole", [0, 1])
def test_recorded_views_are_replayed_as_they_were_made(kind, num_whole, tmp_path):
    formats.write(str(tmp_path / "b.safetensors"), recorded_views(kind))
    bundle = formats.read(str(tmp_path / "b.safetensors"))
    index = ViewIndex(DeviceBundle.of(bundle, CPU), "hard" if num_whole else "none")
    items = torch.arange(NUM_IMAGES * (2 + num_whole))
    images, target = index.images(items), index.target(items)
    for item in items.tolist():
        image, number = divmod(item, 2 + num_whole)
        if number < num_whole:
            expected = unit_images(bundle)[image]
            shares = np.eye(3, dtype=np.float32)[bundle.hard_labels[image]]
        else:
            expected, shares = expected_view(bundle, kind, image, number - num_whole)
        torch.testing.assert_close(images[item], expected, rtol=1e-5, atol=1e-5)
        if kind == "flip":
            assert target.hard[item] == bundle.hard_labels[image]
        else:
            assert target.hard[item].tolist() == pytest.approx(shares.tolist())
