"""Folders of MTT and DATM: a pair of tensors, a learned rate, and hard labels beside logits."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from foreign_sources import UNIT, Hostile, save_npz, save_pt
from listener import Listener

import ddlabel
from ddlabel.core.config import ImportOptions
from ddlabel.core.errors import InvalidInputError, UnsafeInputError, UsageError
from ddlabel.data import importers

# Row 0 has its largest entry at class 2, although it stands at the place of class 0.
LOGITS = np.array([[0.5, -1, 2], [4, 3, -2], [0, 1, 0.5]], np.float32)
IMAGES = np.concatenate([UNIT, UNIT[:1]])


def save_datm(folder, rate=0.03125, logits=LOGITS):
    """What DATM saves: images and logits that require gradients, and the learned rate."""
    folder.mkdir(exist_ok=True)
    save_pt(folder / "images_best.pt", torch.tensor(IMAGES))
    save_pt(folder / "labels_best.pt", torch.tensor(logits, requires_grad=True))
    if rate is not None:
        save_pt(folder / "lr_best.pt", torch.tensor(rate))
    return folder


def imported(*paths, **options) -> importers.Imported:
    return importers.load(list(paths), ImportOptions(pixels="unit", **options))


def test_a_folder_of_datm_has_logits_and_the_learned_rate(tmp_path):
    folder = save_datm(tmp_path / "datm")
    bundle, facts = imported(folder)
    assert bundle.images.tolist() == IMAGES.tolist()
    assert bundle.soft.values.tolist() == LOGITS.tolist()
    assert bundle.soft.meta.space == "logits"
    assert facts["learned_lr"] == 0.03125
    said = Listener()
    kept = ddlabel.import_images(str(folder), pixels="unit", reporter=said)
    assert kept.history[-1].facts["learned_lr"] == 0.03125
    assert "a folder of DATM" in said.notes[0]
    assert any("0.03125" in note for note in said.notes)


def test_the_files_of_datm_may_be_named_in_any_order(tmp_path):
    folder = save_datm(tmp_path / "datm")
    files = sorted(folder.iterdir(), reverse=True)
    assert imported(*files).facts["learned_lr"] == 0.03125
    assert imported(*files[1:]).bundle.soft.values.tolist() == LOGITS.tolist()


@pytest.mark.parametrize("rate", [float("nan"), 0.0, -1.0, float("inf")])
def test_a_learned_rate_that_is_none_is_refused(tmp_path, rate):
    with pytest.raises(InvalidInputError, match="learned rate"):
        imported(save_datm(tmp_path / "datm", rate=rate))


def test_code_in_the_rate_is_unsafe_and_does_not_run(tmp_path, marker):
    folder = save_datm(tmp_path / "datm", rate=None)
    save_pt(folder / "lr_best.pt", Hostile(marker))
    with pytest.raises(UnsafeInputError, match="lr_best"):
        imported(folder)
    assert not marker.exists()


def test_a_folder_of_other_tensors_says_what_is_missing(tmp_path):
    (tmp_path / "x").mkdir()
    save_pt(tmp_path / "x" / "images_500.pt", torch.tensor(IMAGES))
    with pytest.raises(InvalidInputError, match=r"images_500\.pt.*without images_best\.pt"):
        imported(tmp_path / "x")


def test_hard_labels_that_are_largest_entries_are_said_so(tmp_path):
    said = Listener()
    folder = save_datm(tmp_path / "datm")
    bundle = ddlabel.import_images(str(folder), pixels="unit", reporter=said)
    assert bundle.hard_labels.tolist() == [2, 0, 1]
    (warning,) = said.warnings
    assert "--class-sorted" in warning
    described = ddlabel.describe(bundle, reporter=said)
    assert (described["accuracy"], described["hard_labels_are_derived"]) == (1, True)
    ddlabel.refine(bundle, reporter=said)
    assert "corrects no label" in said.warnings[-1]


def test_hard_labels_of_a_third_file_are_the_classes(tmp_path):
    """Row 0 is of class 0, and its label says 2: agreement is 2 of 3, and refining corrects it."""
    folder = save_datm(tmp_path / "datm")
    hard = save_pt(tmp_path / "hard.pt", torch.tensor([0, 0, 1]))
    said = Listener()
    files = [str(file) for file in (*folder.iterdir(), hard)]
    bundle = ddlabel.import_images(files, pixels="unit", reporter=said)
    assert bundle.hard_labels.tolist() == [0, 0, 1]
    described = ddlabel.describe(bundle)
    assert described["accuracy"] == pytest.approx(2 / 3)
    assert not described["hard_labels_are_derived"]
    ddlabel.refine(bundle, reporter=said)
    assert said.warnings == []


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".csv", ".txt", ".pt"])
def test_hard_labels_are_read_from_any_file(tmp_path, suffix):
    path = tmp_path / f"hard{suffix}"
    hard = np.array([0, 0, 1])
    if suffix == ".npy":
        np.save(path, hard)
    elif suffix == ".npz":
        save_npz(path, labels=hard)
    elif suffix == ".pt":
        save_pt(path, torch.tensor(hard))
    else:
        path.write_text("label\n0\n0\n1\n" if suffix == ".csv" else "0\n0\n1\n")
    said = Listener()
    bundle = ddlabel.import_images(
        str(save_datm(tmp_path / "datm")), pixels="unit", hard_labels=str(path), reporter=said
    )
    assert (bundle.hard_labels.tolist(), said.warnings) == ([0, 0, 1], [])
    (given,) = [each for each in bundle.history[0].inputs if each.role == "hard-labels"]
    assert given.name == path.name


def test_images_sorted_by_class_need_no_file(tmp_path):
    """Three images of three classes are one of each, in order."""
    bundle, facts = imported(save_datm(tmp_path / "datm"), class_sorted=True)
    assert bundle.hard_labels.tolist() == [0, 1, 2]
    assert "hard_labels" not in facts


BAD_HARD = {
    "another length": (np.array([0, 1]), "2 hard labels for 3 images"),
    "soft": (LOGITS, "holds no hard labels"),
    "too large": (np.array([0, 1, 3]), "go up to 3"),
    "NaN": (np.array([0, np.nan, 1]), "finite"),
    "negative": (np.array([0, -1, 1]), "classes 0, 1, 2"),
}


@pytest.mark.parametrize("bad", BAD_HARD)
def test_hard_labels_that_do_not_fit_are_refused(tmp_path, bad):
    values, message = BAD_HARD[bad]
    np.save(tmp_path / "hard.npy", values)
    with pytest.raises(InvalidInputError, match=message):
        imported(save_datm(tmp_path / "datm"), hard_labels=str(tmp_path / "hard.npy"))


def test_hard_labels_are_not_given_twice(tmp_path):
    np.save(tmp_path / "hard.npy", np.array([0, 0, 1]))
    path = save_npz(tmp_path / "x.npz", images=IMAGES, labels=np.array([0, 1, 2]))
    with pytest.raises(UsageError, match="hard labels already"):
        imported(path, hard_labels=str(tmp_path / "hard.npy"))
    with pytest.raises(InvalidInputError, match="as many of each"):
        imported(save_datm(tmp_path / "a", logits=LOGITS[:, :2]), class_sorted=True)


def test_the_same_tensors_give_the_same_bundle_from_npz_and_pt(tmp_path):
    """Byte for byte, but for the names and digests of the sources in the history."""
    save_pt(tmp_path / "images.pt", torch.tensor(IMAGES))
    save_pt(tmp_path / "labels.pt", torch.tensor(LOGITS))
    save_pt(tmp_path / "hard.pt", torch.tensor([0, 0, 1]))
    npz = save_npz(tmp_path / "x.npz", images=IMAGES, soft_labels=LOGITS, hard_labels=[0, 0, 1])
    texts = []
    for number, sources in enumerate(
        ([str(npz)], [str(tmp_path / f"{name}.pt") for name in ("labels", "images", "hard")])
    ):
        out = tmp_path / f"{number}.safetensors"
        ddlabel.write(out, ddlabel.import_images(sources, pixels="unit"))
        header = ddlabel.read(out).header()
        inputs = header.history[0].inputs
        assert {each.role for each in inputs} == {"source"}
        body = out.read_bytes()
        length = int.from_bytes(body[:8], "little")
        stripped = {"arrays": header.arrays, "pixels": header.pixels, "soft": header.soft}
        history = [(entry.command, entry.options, entry.facts) for entry in header.history]
        texts.append((body[8 + length :], stripped, history, header.classes))
    assert texts[0] == texts[1]
