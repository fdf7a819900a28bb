"""Counted costs against counts by hand."""

from __future__ import annotations

import copy
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from networks import CPU, SHAPE, build_body
from samples import with_arrays
from students import easy_bundle, experiment, student_records

from ddlabel.commands.evaluate.experiment import Experiment
from ddlabel.data.schema import LabelMeta
from ddlabel.methods.labels import views
from ddlabel.training.cost import convolution_rate, count_activations, flops


def test_activations_of_a_convnet_are_countable_by_hand():
    # Convolution, norm and ReLU at 8 × 8, pooling and flattening at 4 × 4, three classes; width 8.
    num_activations, num_layers = count_activations(build_body(), SHAPE)
    assert num_activations == 8 * (3 * 64 + 2 * 16) + 3 == 1795
    assert num_layers == 6


def test_flops_of_a_linear_layer_are_countable_by_hand():
    layer = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 3))
    assert flops(layer, SHAPE, backward=False) == 2 * 64 * 3
    # The images need no gradient: the backward pass is that of the weights.
    assert flops(layer, SHAPE, backward=True) == 2 * (2 * 64 * 3)


def test_counting_leaves_the_network_as_it_was():
    body = build_body("convnet-d1:norm=batch")
    before = copy.deepcopy(body.state_dict())
    count_activations(body, SHAPE)
    flops(body, SHAPE, backward=True)
    assert all(torch.equal(value, before[name]) for name, value in body.state_dict().items())
    assert all(parameter.grad is None for parameter in body.parameters())


def test_labels_are_made_without_torchvision_and_torchs_tracer():
    # Each of them takes as long to import as torch itself.
    program = """
import sys
from ddlabel.commands import relabel
from ddlabel.methods.nets import build
from ddlabel.methods.nets.prepare import normalisation
from ddlabel.training.cost import count_activations
prepare = normalisation([0.5], [0.25])
net = build("convnet-d1", prepare, channels=1, size=8, num_classes=3, seed=0)
count_activations(net.body, (1, 8, 8))
print([name for name in ("torchvision", "torch._dynamo", "scipy") if name in sys.modules])
"""
    words = [sys.executable, "-c", program]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_the_fastest_convolution_counts(monkeypatch):
    clock = iter([0.0, 0.3, 1.0, 1.2, 2.0, 2.4])  # convolutions of 0.3 s and 0.2 s
    monkeypatch.setattr("time.perf_counter", lambda: next(clock))
    convolution_rate.cache_clear()
    # 3 × 3 × 128 multiplications and additions for each of 16 × 128 × 32 × 32 outputs.
    operations = 2 * (3 * 3 * 128) * (16 * 128 * 32 * 32)
    assert convolution_rate(CPU, torch.float32) == pytest.approx(operations / 0.2)
    convolution_rate.cache_clear()


def test_students_of_the_same_options_cost_what_their_views_do():
    def with_views(views_per_side: int) -> Experiment:
        plain = easy_bundle()
        boxes = views.grid(len(plain), 8, 8, 0, n=views_per_side, r=0.625).boxes
        labels = np.zeros((len(plain), views_per_side**2, 3), np.float32)
        bundle = with_arrays(
            plain, dense_labels=labels, dense_boxes=boxes, dense=LabelMeta(space="logits")
        )
        settled = experiment(
            bundle, labels="dense", dense_batches="sum", loss="soft-ce", epochs=1, seeds=1
        )
        return replace(settled, digests={"bundle": str(views_per_side), "test": "t"})

    records = student_records(with_views(1), with_views(2))
    one_view, four_views = (record.cost["flops"] for record in records)
    assert four_views / one_view == (1 + 4) / (1 + 1)
