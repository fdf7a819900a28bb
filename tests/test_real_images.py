"""Real images and the demo, which take minutes or need ../shared/data: run `pytest -m slow`."""

from __future__ import annotations

import json

import numpy as np
import pytest
from samples import SHARED

from ddlabel.data import formats

pytestmark = pytest.mark.slow
DATA = SHARED / "data"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="there is no folder ../shared/data")
IMAGENETTE_VAL = [387, 395, 357, 386, 409, 394, 389, 419, 399, 390]
NET = ("--net", "convnet-d3:width=32")
FLOAT32 = ("--precision", "fp32")


def test_in_the_demo_soft_labels_beat_hard_ones_and_dense_ones_beat_both(ddlabel):
    outcome = json.loads(ddlabel("demo", "--json").stdout)
    hard, soft, dense = (cell["percent"] for cell in outcome["cells"].values())
    for better, worse in ((soft, hard), (dense, soft)):
        assert better["mean"] - better["interval"] > worse["mean"] + worse["interval"]
    for step in outcome["steps"].values():
        assert step["difference"]["mean"] > step["difference"]["interval"]


@needs_data
@pytest.mark.parametrize(
    ("archive", "split", "images_per_class", "side"),
    [
        ("cifar10.zip", "train", [5000] * 10, 32),
        ("cifar10.zip", "test", [1000] * 10, 32),
        ("imagenette128.zip", "val", IMAGENETTE_VAL, 128),
    ],
)
def test_import_reads_the_whole_archive(cli, archive, split, images_per_class, side):
    cli("import", DATA / archive, "all.safetensors", "--split", split)
    bundle = formats.read("all.safetensors")
    assert bundle.images.shape == (sum(images_per_class), 3, side, side)
    assert np.bincount(bundle.hard_labels).tolist() == images_per_class
    assert list(bundle.classes) == sorted(bundle.classes)


@needs_data
def test_labels_of_an_early_expert_teach_more_than_hard_ones_at_one_image_per_class(cli):
    cli("import", DATA / "cifar10.zip", "real.safetensors")
    cli("import", DATA / "cifar10.zip", "test.safetensors", "--split", "test")
    optimizer = ("--optimizer", "sgd:lr=0.05,momentum=0,weight-decay=0")
    cli("train-expert", "real.safetensors", "expert", "--epochs", 1, *NET, *optimizer, *FLOAT32)
    cli("select", "real.safetensors", "few.safetensors", "--ipc", 1)
    cli("relabel", "few.safetensors", "soft.safetensors", "--expert", "expert", "--epoch", "last")
    means = {}
    for labels in ("hard", "soft"):
        options = ("--labels", labels, "--epochs", 200, "--seeds", 3, *NET, *FLOAT32, "--json")
        printed = cli("evaluate", "soft.safetensors", "--test", "test.safetensors", *options)
        (cell,) = json.loads(printed.out)["cells"]
        means[labels] = cell["percent"]["mean"]
    assert means["soft"] > means["hard"]
