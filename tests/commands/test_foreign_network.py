"""What `import-expert` finds out about a network: the size of its images, and models of timm."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from networks import build_network
from samples import make_bundle

import ddlabel
from ddlabel.commands.reporter import Reporter
from ddlabel.core.errors import UsageError

OPTIONS = {"class_names": "class 0,class 1,class 2", "normalise": "half"}


class Notes(Reporter):
    """Keeps what was reported."""

    def __init__(self):
        self.lines = []

    def note(self, text):
        self.lines.append(text)


def save_network(path, spec, **shape):
    torch.save(build_network(spec, classes=3, **shape).body.state_dict(), path)
    return path


# The linear layer of a ConvNet has one weight for each pixel of the last map.
@pytest.mark.parametrize("size", [64, 96])
def test_the_size_is_told_by_the_weights_of_a_convnet(size, tmp_path):
    path = save_network(tmp_path / "m.pth", "convnet-d3:width=4", size=size)
    (run,) = ddlabel.import_expert(path, tmp_path / "run", net="convnet-d3:width=4", **OPTIONS)
    assert run.about.size == size


@pytest.mark.parametrize(("channels", "size", "other"), [(3, 32, 28), (1, 28, 32)])
def test_of_two_sizes_with_the_same_weights_the_likelier_is_taken_and_said(
    channels, size, other, tmp_path
):
    net = "convnet-d3:width=4"
    path = save_network(tmp_path / "m.pth", net, size=other, channels=channels)
    notes = Notes()
    (run,) = ddlabel.import_expert(path, tmp_path / "run", net=net, reporter=notes, **OPTIONS)
    assert run.about.size == size
    assert f"images of {other} px would fit too (--size)" in notes.lines[0]
    (given,) = ddlabel.import_expert(path, tmp_path / "given", net=net, size=other, **OPTIONS)
    assert given.about.size == other


def test_a_size_that_the_weights_do_not_tell_is_asked_for(tmp_path):
    path = save_network(tmp_path / "m.pth", "resnet18")
    with pytest.raises(UsageError, match=r"several sizes \(.*32, 64.*add --size"):
        ddlabel.import_expert(path, tmp_path / "run", net="resnet18", **OPTIONS)


def test_labels_of_a_model_of_timm_are_those_of_timm(tmp_path):
    timm = pytest.importorskip("timm")
    bundle = make_bundle(images=6, size=32)
    model = timm.create_model("test_vit", num_classes=3, in_chans=1, img_size=32).eval()
    torch.save(model.state_dict(), tmp_path / "m.pth")
    run = ddlabel.import_expert(tmp_path / "m.pth", tmp_path / "r", net="timm:test_vit", **OPTIONS)
    labels = ddlabel.relabel(bundle, expert=run, epoch="last", device="cpu", precision="fp32")
    with torch.no_grad():
        expected = model(torch.from_numpy(bundle.images).float() / 127.5 - 1)
    np.testing.assert_allclose(labels.soft.values, expected, rtol=1e-4, atol=1e-5)
