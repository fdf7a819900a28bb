"""Bundles on a device, and predictions for them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from networks import CPU, PREPARE
from samples import augmented_views_bundle, make_bundle, with_arrays

from ddlabel.core.errors import IncompatibleError
from ddlabel.methods.nets import build
from ddlabel.training.device_data import DeviceBundle, predict, to_device, to_unit
from ddlabel.training.stacking import stacked


def test_unit_images_are_float32_from_0_to_1():
    pixels = np.array([0, 51, 255], np.uint8)
    unit = to_unit(torch.from_numpy(pixels))
    assert unit.dtype == torch.float32
    assert unit.tolist() == pytest.approx([0, 0.2, 1])
    assert to_unit(torch.tensor([0.25], dtype=torch.float16)).tolist() == [0.25]


def test_a_read_only_array_is_copied():
    array = np.zeros(3)
    array.flags.writeable = False
    to_device(array, CPU).fill_(1)
    assert array.tolist() == [0, 0, 0]


def test_targets_are_the_rows_of_the_labels():
    bundle = make_bundle(images=5)
    data = DeviceBundle.of(bundle, CPU)
    rows = torch.tensor([3, 0])
    assert data.hard_target(rows).hard.tolist() == bundle.hard_labels[[3, 0]].tolist()
    assert data.soft_target(rows).values.tolist() == bundle.soft.values[[3, 0]].tolist()


def test_dense_targets_are_views_of_rows():
    bundle = augmented_views_bundle("flip")
    target = DeviceBundle.of(bundle, CPU).dense_target(torch.tensor([3, 0]), torch.tensor([1, 0]))
    assert target.values.tolist() == bundle.dense.values[[3, 0], [1, 0]].tolist()


def test_labels_that_are_not_there_are_refused():
    data = DeviceBundle.of(with_arrays(make_bundle(), soft_labels=None, soft=None), CPU)
    row = torch.tensor([0])
    with pytest.raises(IncompatibleError, match="soft"):
        data.soft_target(row)
    with pytest.raises(IncompatibleError, match="dense"):
        data.dense_target(row, row)


def test_taken_rows_keep_their_hard_labels_alone():
    bundle = make_bundle(images=5)
    data = DeviceBundle.of(bundle, CPU).take(torch.tensor([4, 1]))
    assert len(data) == 2
    assert data.hard.tolist() == bundle.hard_labels[[4, 1]].tolist()
    assert torch.equal(data.images, torch.from_numpy(bundle.images[[4, 1]]))
    assert data.soft is None


def test_predictions_are_those_of_the_networks_in_evaluation_mode():
    bundle = make_bundle(images=20, size=64)  # two chunks: 16 images of 64 px and 4
    networks = [
        build(
            "convnet-d1:norm=batch,width=4",
            PREPARE,
            channels=1,
            size=64,
            num_classes=3,
            seed=seed,
        )
        for seed in range(2)
    ]
    forward = stacked([network.body for network in networks])
    logits = predict(networks, forward, DeviceBundle.of(bundle, CPU))
    images = torch.from_numpy(bundle.images).float() / 255
    for network, network_logits in zip(networks, logits, strict=True):
        assert network.training
        with torch.no_grad():
            expected = network.eval()(images)
        torch.testing.assert_close(network_logits, expected, rtol=1e-4, atol=1e-5)
