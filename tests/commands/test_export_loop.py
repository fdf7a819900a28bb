"""Exported labels in a plain PyTorch loop reach the accuracy of `evaluate`."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from documents import code_blocks
from samples import SHARED, make_bundle, with_arrays
from torch import nn

import ddlabel
from ddlabel.commands.guide import read_page
from ddlabel.data.schema import LabelMeta

EPOCHS = 60
BATCH_SIZE = 50


def train(few, test, seed: int) -> float:
    """Train a ConvNet-D3 of width 16 on an exported bundle: what a user of it would write."""
    mean, std = (torch.tensor(few[name]).float().view(-1, 1, 1) for name in ("mean", "std"))
    images, test_images = (
        (torch.tensor(arrays["images"]).float() / 255 - mean) / std for arrays in (few, test)
    )
    labels = torch.tensor(few["soft_labels"]).softmax(1)
    with torch.random.fork_rng():
        torch.default_generator.manual_seed(seed)
        layers: list[nn.Module] = []
        channels, padding = 1, 3
        for _ in range(3):
            layers += [nn.Conv2d(channels, 16, 3, padding=padding), nn.GroupNorm(16, 16)]
            layers += [nn.ReLU(), nn.AvgPool2d(2)]
            channels, padding = 16, 1
        network = nn.Sequential(*layers, nn.Flatten(), nn.Linear(16 * 16, 10))
        optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9)
        for _ in range(EPOCHS):
            for rows in torch.randperm(len(images)).split(BATCH_SIZE):
                loss = nn.functional.cross_entropy(network(images[rows]), labels[rows])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
    predicted = network(test_images).argmax(1)
    return float((predicted == torch.tensor(test["hard_labels"])).float().mean())


@pytest.mark.parametrize("normalise", [None, "header"])
@pytest.mark.parametrize("labels", ["logits", "probs"])
@pytest.mark.parametrize("space", ["uint8", "unit"])
def test_the_loop_of_the_guide_reads_pixels_and_labels_of_every_space(
    space, labels, normalise, tmp_path, monkeypatch
):
    """Oracle: normalised levels and distributions, written down here without the package."""
    monkeypatch.chdir(tmp_path)
    bundle = make_bundle(images=6)
    levels = bundle.images / np.float32(255)
    logits = np.array(bundle.soft.values) / 2
    probs = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    meta = LabelMeta(space=labels, temperature=2.0)
    soft = bundle.soft.values if labels == "logits" else probs
    bundle = replace(
        with_arrays(bundle, soft_labels=soft, soft=meta),
        images=bundle.images if space == "uint8" else levels,
        pixels=replace(bundle.pixels, space=space),
    )
    ddlabel.export(bundle, "soft.npz", normalise=normalise)
    (loop,) = [block for block in code_blocks(read_page("bundles"), "python") if "npz" in block]
    found: dict = {}
    with torch.random.fork_rng():
        exec(loop, found)
    assert np.allclose(found["images"], (levels - 0.5) / 0.25, atol=1e-5)
    assert np.allclose(found["labels"], probs, atol=1e-6)


@pytest.mark.slow
def test_a_loop_of_ones_own_reaches_the_accuracy_of_evaluate(tmp_path):
    source = SHARED / "data" / "fashion-mnist-small.npz"
    real, test = (ddlabel.import_images(source, split=split) for split in ("train", "test"))
    few = ddlabel.select(real, ipc=10)
    (run,) = ddlabel.train_expert(
        real, tmp_path / "expert", net="convnet-d3:width=16", epochs=3, augment="none"
    )
    soft = ddlabel.relabel(few, expert=str(run.folder), epoch="last")
    result = ddlabel.evaluate(
        soft,
        test=test,
        labels="soft",
        net="convnet-d3:width=16",
        epochs=EPOCHS,
        batch_size=BATCH_SIZE,
        optimizer="sgd:lr=0.01,momentum=0.9",
        schedule="constant",
        augment="none",
        seeds=12,
        precision="fp32",
        compile="off",
    )
    for name, bundle in (("few", soft), ("test", test)):
        ddlabel.export(bundle, tmp_path / f"{name}.npz")
    with np.load(tmp_path / "few.npz") as few_arrays, np.load(tmp_path / "test.npz") as test_arrays:
        accuracies = [100 * train(few_arrays, test_arrays, seed) for seed in range(12)]
    expected = result.cells[0].accuracy
    assert np.mean(accuracies) == pytest.approx(expected.mean, abs=expected.interval)
