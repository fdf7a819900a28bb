"""The loss of batches of images with their views, against LADD's equation."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from networks import CPU, PREPARE
from view_samples import NUM_IMAGES, grid_bundle

from ddlabel.commands.evaluate.training_plan import student_loss
from ddlabel.core.config import EvaluateOptions
from ddlabel.methods.augmentations import none
from ddlabel.methods.nets import build
from ddlabel.training.batches import BatchTransform, ViewIndex, view_batches
from ddlabel.training.device_data import DeviceBundle


@pytest.mark.parametrize("whole", ["hard", "soft"])
def test_summed_batches_give_ladds_equation_5(whole):
    bundle = grid_bundle()
    options = EvaluateOptions(
        labels="dense",
        dense_batches="sum",
        global_labels=whole,
        net="convnet-d1:width=4",
        batch_size=NUM_IMAGES,
    )
    data = DeviceBundle.of(bundle, CPU)
    transform = BatchTransform(prepare=PREPARE, augment=none)
    index = ViewIndex(data, whole)
    batch = view_batches(index, transform, together=True, batch_size=NUM_IMAGES, seed=0)
    network = build(options.net, PREPARE, channels=1, size=8, num_classes=3, seed=0)
    images, target = batch(0)
    loss = student_loss(options, data)(network.body(images), target, 0)

    unit = torch.from_numpy(bundle.images).float() / 255
    soft = torch.from_numpy(bundle.soft.values).softmax(1)
    dense = torch.from_numpy(bundle.dense.values).softmax(2)
    hard = torch.from_numpy(bundle.hard_labels)
    labels = hard if whole == "hard" else soft
    expected = torch.zeros(())
    for row in range(NUM_IMAGES):
        image = unit[row : row + 1]
        expected += F.cross_entropy(network(image), labels[row : row + 1])
        for view, box in enumerate((bundle.views.boxes * 8).round().astype(int)):
            top, left, bottom, right = box
            part = image[:, :, top:bottom, left:right]
            cut = F.interpolate(part, (8, 8), mode="bilinear", align_corners=False)
            expected += F.cross_entropy(network(cut), dense[row, view : view + 1])
    torch.testing.assert_close(loss, expected / NUM_IMAGES, rtol=1e-4, atol=1e-5)
