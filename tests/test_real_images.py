"""Real images and the demo: minutes, or ../shared/data; run with `pytest -m slow`."""

from __future__ import annotations

import json

import numpy as np
import pytest
from samples import SHARED

from ddlabel.data import formats

pytestmark = pytest.mark.slow
needs_data = pytest.mark.skipif(
    not (SHARED / "data").is_dir(), reason="no ../shared/data beside this checkout"
)


def test_demo_soft_labels_beat_hard_ones_by_more_than_the_intervals(ddlabel):
    outcome = {
        name: each["percent"] for name, each in json.loads(ddlabel("demo", "--json").stdout).items()
    }
    assert set(outcome) == {"hard", "soft", "dense", "refined"}
    hard, soft = outcome["hard"], outcome["soft"]
    assert soft["mean"] - soft["interval"] > hard["mean"] + hard["interval"]


@needs_data
@pytest.mark.parametrize(
    ("archive", "split", "counts", "side"),
    [
        ("cifar10.zip", "train", [5000] * 10, 32),
        ("cifar10.zip", "test", [1000] * 10, 32),
        ("imagenette128.zip", "val", [387, 395, 357, 386, 409, 394, 389, 419, 399, 390], 128),
    ],
)
def test_import_reads_the_whole_archive(cli, archive, split, counts, side):
    cli("import", SHARED / "data" / archive, "all.safetensors", "--split", split)
    bundle = formats.read("all.safetensors")
    assert bundle.images.shape == (sum(counts), 3, side, side)
    assert np.bincount(bundle.hard_labels).tolist() == counts
    assert list(bundle.classes) == sorted(bundle.classes)


@needs_data
def test_an_early_experts_labels_teach_more_than_hard_ones_at_one_image_per_class(cli):
    cli("import", SHARED / "data" / "cifar10.zip", "real.safetensors")
    cli("import", SHARED / "data" / "cifar10.zip", "test.safetensors", "--split", "test")
    expert = [
        "--epochs",
        1,
        "--net",
        "convnet-d3:width=32",
        "--optimizer",
        "sgd:lr=0.05,momentum=0,weight-decay=0",
    ]
    cli("train-expert", "real.safetensors", "expert", *expert)
    cli("select", "real.safetensors", "few.safetensors", "--ipc", 1)
    cli("relabel", "few.safetensors", "soft.safetensors", "--expert", "expert", "--epoch", "last")
    means = {}
    for labels in ("hard", "soft"):
        words = [
            "--labels",
            labels,
            "--test",
            "test.safetensors",
            "--epochs",
            200,
            "--seeds",
            3,
            "--json",
        ]
        outcome = json.loads(
            cli("evaluate", "soft.safetensors", *words, "--net", "convnet-d3:width=32").out
        )
        means[labels] = outcome["cells"][0]["percent"]["mean"]
    assert means["soft"] > means["hard"]
