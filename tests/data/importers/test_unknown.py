"""What is said of a source that no importer reads."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from foreign_sources import UNIT, load, save_pt
from samples import make_bundle

from ddlabel.core.errors import InvalidInputError
from ddlabel.data import formats


def bundle_file(folder):
    formats.write(str(folder / "x.h5"), make_bundle())
    return folder / "x.h5"


def safetensors_of_others(folder):
    (folder / "x.safetensors").write_bytes(b"\x02" + bytes(7) + b"{}")
    return folder / "x.safetensors"


def picture(folder):
    (folder / "x.gif").write_bytes(b"GIF89a")
    return folder / "x.gif"


def expert_run(folder):
    (folder / "expert.json").write_text("{}")
    return folder


def replay_folder(folder):
    (folder / "replay_buffer_0.pt").write_bytes(b"")
    return folder


def state_dict(folder):
    return save_pt(folder / "x.pth", {"state_dict": torch.nn.Linear(2, 2).state_dict()})


def replay_buffer(folder):
    return save_pt(folder / "x.pt", [[[torch.zeros(2)], [torch.zeros(2)]]])


def other_dict(folder):
    return save_pt(folder / "x.pt", {"pictures": torch.zeros(2), "classes": 3})


def other_list(folder):
    return save_pt(folder / "x.pt", [torch.zeros(2), 3])


def results_file(folder):
    (folder / "r.jsonl").write_text("{}")
    return folder / "r.jsonl"


def images_alone(folder):
    return save_pt(folder / "x.pt", torch.tensor(UNIT))


def labels_alone(folder):
    np.save(folder / "x.npy", [0, 1])
    return folder / "x.npy"


def empty_folder(folder):
    return folder


def text_file(folder):
    (folder / "notes.md").write_text("hello")
    return folder / "notes.md"


SAID = {
    bundle_file: "already a bundle of",
    safetensors_of_others: "no bundle",
    picture: "one picture",
    expert_run: "an expert run",
    replay_folder: "import-expert",
    state_dict: "state dict (weight, bias): 'ddlabel import-expert'",
    replay_buffer: "a replay buffer of 1 experts: 'ddlabel import-expert'",
    other_dict: "with the keys pictures, classes, which are neither those of a result file of DC",
    other_list: "a list of 2 (Tensor, int): save images [N, C, H, W]",
    results_file: "'ddlabel compare'",
    images_alone: "images in one .pt file without a .pt file of labels",
    labels_alone: "'ddlabel import-labels'",
    empty_folder: "an empty folder",
    text_file: "of an unknown kind: 'ddlabel list formats'",
}


@pytest.mark.parametrize("make", SAID, ids=lambda make: make.__name__)
def test_a_source_of_no_kind_is_described(tmp_path, make):
    path = make(tmp_path)
    with pytest.raises(InvalidInputError) as caught:
        load(path)
    assert SAID[make] in str(caught.value)
