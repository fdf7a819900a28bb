"""A bundle on a device, and predictions for it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from networks import CPU, NUM_CLASSES, PREPARE
from samples import make_bundle, with_arrays

from ddlabel.core.errors import IncompatibleError
from ddlabel.methods.nets import build
from ddlabel.training.chunking import images_of_chunk
from ddlabel.training.device_data import DeviceBundle, predict, to_unit
from ddlabel.training.stacking import stacked


def test_bytes_become_fractions_of_255():
    images = torch.tensor([0, 51, 255], dtype=torch.uint8)
    assert to_unit(images).tolist() == pytest.approx([0, 0.2, 1])


def test_floating_point_images_are_in_unit_space_already():
    images = torch.tensor([-0.5, 0.25], dtype=torch.float16)
    assert to_unit(images).tolist() == [-0.5, 0.25]


def test_taken_rows_have_their_hard_labels_alone():
    bundle = make_bundle(images=9)
    taken = DeviceBundle.of(bundle, CPU).take(torch.tensor([5, 2]))
    assert taken.hard.tolist() == bundle.hard_labels[[5, 2]].tolist()
    assert np.array_equal(taken.images.numpy(), bundle.images[[5, 2]])
    assert taken.soft is None


def test_labels_that_are_not_there_are_refused():
    data = DeviceBundle.of(with_arrays(make_bundle(), soft_labels=None, soft=None), CPU)
    rows = torch.arange(2)
    with pytest.raises(IncompatibleError, match="soft"):
        data.soft_target(rows)
    with pytest.raises(IncompatibleError, match="dense"):
        data.dense_target(rows, rows)


def test_predictions_are_those_of_the_network_in_evaluation_mode():
    bundle = make_bundle(images=20, size=64)  # two chunks
    spec = "convnet-d1:norm=batch,width=4"
    network = build(spec, PREPARE, channels=1, size=64, num_classes=NUM_CLASSES, seed=0)
    logits = predict([network], stacked([network.body]), DeviceBundle.of(bundle, CPU))[0]
    assert network.training  # as it was before
    with torch.no_grad():
        expected = network.eval()(torch.from_numpy(bundle.images).float() / 255)
    torch.testing.assert_close(logits, expected)


def test_a_stack_predicts_fewer_images_at_once_than_one_network():
    bundle = make_bundle(images=20, size=64)
    networks = [
        build(
            "convnet-d1:width=4", PREPARE, channels=1, size=64, num_classes=NUM_CLASSES, seed=seed
        )
        for seed in range(3)
    ]
    data = DeviceBundle.of(bundle, CPU)
    forward = stacked([network.body for network in networks])
    sizes = []

    def spy(images: torch.Tensor) -> torch.Tensor:
        sizes.append(images.shape[1])
        return forward(images)

    logits = predict(networks, spy, data)
    assert max(sizes) * 3 <= images_of_chunk(data.images.shape, CPU)
    for number, network in enumerate(networks):
        (alone,) = predict([network], stacked([network.body]), data)
        torch.testing.assert_close(logits[number], alone)
