"""`doctor`: the command lines of its findings, carried out on bundles that were spoiled."""

from __future__ import annotations

import json
import shlex
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from foreign_sources import save_pt
from samples import with_arrays
from stub_experts import rows_bundle, rows_expert

import ddlabel
from ddlabel.commands.doctor.case import Case
from ddlabel.commands.doctor.pixels import normalisation, pixel_values
from ddlabel.core.normalisation import conventions
from ddlabel.data.bundle import Bundle
from ddlabel.data.provenance import Entry, Input
from ddlabel.data.schema import LabelMeta

FEW = "few.safetensors"
RIGHT = "cifar10-mtt"
WRONG = "imagenet"
NAMES = "ape,bee,cat,dog,emu"


def carry_out(cli, commands: tuple[str, ...]) -> Bundle:
    """Run the lines of a finding, and return the bundle that they make."""
    assert commands
    for line in commands:
        program, *words = shlex.split(line)
        if program == "ddlabel":
            cli(*words)
        elif program == "python":
            exec(words[1], {})
        else:
            subprocess.run(line, shell=True, check=True)
    return ddlabel.read("few-mended.safetensors")


def case_of(name: str = FEW) -> Case:
    return Case(bundle=ddlabel.read(name), name=name)


def save_normalised(bundle: Bundle, levels: np.ndarray | None = None) -> None:
    """Save the tensors of a bundle as MTT does, normalised by the right convention."""
    levels = bundle.images if levels is None else levels
    mean, std = (torch.tensor(each).view(-1, 1, 1) for each in conventions[RIGHT][1:3])
    images = (torch.tensor(levels).float() / 255 - mean) / std
    save_pt(Path("images_best.pt"), images)
    save_pt(Path("labels_best.pt"), torch.tensor(bundle.hard_labels))


def import_wrongly(cli) -> None:
    words = f"import images_best.pt labels_best.pt {FEW} --pixels normalised --class-names {NAMES}"
    cli(*words.split(), "--normalise", WRONG)


def normalised_expert(bundle: Bundle):
    convention = conventions[RIGHT]
    return replace(rows_expert(bundle), mean=convention.mean, std=convention.std)


@pytest.mark.parametrize("are_there", [True, False], ids=["sources", "no sources"])
def test_a_wrong_normalisation_is_mended_in_the_pixels_and_in_the_header(cli, are_there):
    bundle = rows_bundle()
    save_normalised(bundle)
    import_wrongly(cli)
    assert not np.allclose(ddlabel.read(FEW).images, bundle.images / 255, atol=0.01)
    if not are_there:
        Path("images_best.pt").unlink()
        Path("labels_best.pt").unlink()
    (finding,) = pixel_values(case_of())
    assert len(finding.commands) == (1 if are_there else 2)
    mended = carry_out(cli, finding.commands)
    assert np.allclose(mended.images, bundle.images / 255, atol=1e-5)
    assert mended.pixels.mean == conventions[RIGHT].mean
    assert mended.classes == tuple(NAMES.split(","))
    assert mended.hard_labels.tolist() == bundle.hard_labels.tolist()


def test_a_header_that_the_experts_numbers_contradict_gets_them_and_their_pixels(cli):
    # Learned pixels of low contrast, whose range tells nothing.
    bundle = rows_bundle()
    levels = 80 + bundle.images / 4 + np.random.default_rng(0).random(bundle.images.shape)
    save_normalised(bundle, levels)
    words = f"import images_best.pt labels_best.pt {FEW} --pixels normalised"
    cli(*words.split(), "--mean", "0.6,0.6,0.6", "--std", "0.1,0.1,0.1")
    assert pixel_values(case_of()) == []
    (finding,) = normalisation(case_of(), normalised_expert(bundle))
    assert "import them again" in finding.advice
    mended = carry_out(cli, finding.commands)
    assert np.allclose(mended.images, levels / 255, atol=1e-5)
    assert mended.pixels.std == conventions[RIGHT].std


def test_where_the_pixels_tell_their_normalisation_the_expert_is_not_asked(cli):
    bundle = rows_bundle()
    save_normalised(bundle)
    words = f"import images_best.pt labels_best.pt {FEW} --pixels normalised"
    cli(*words.split(), "--mean", "0.1,0.1,0.1", "--std", "0.5,0.5,0.5")
    assert pixel_values(case_of())
    assert normalisation(case_of(), normalised_expert(bundle)) == []


def test_labels_of_wrong_pixels_are_to_be_made_again(cli):
    bundle = rows_bundle()
    save_normalised(bundle)
    import_wrongly(cli)
    wrong = ddlabel.read(FEW)
    labelled = replace(wrong.history[0], command="relabel", bundle=wrong.digest, inputs=())
    Path(FEW).unlink()
    ddlabel.write(FEW, replace(wrong, history=(*wrong.history, labelled)))
    (finding,) = pixel_values(case_of())
    assert finding.advice.endswith(", then relabel again")
    assert "export" in finding.commands[0]


@pytest.mark.parametrize("space", ["logits", "probs", "mass", "direction"])
def test_arrays_keep_labels_in_their_space_and_names_with_commas(cli, space):
    bundle = rows_bundle()
    soft = np.random.default_rng(0).random((len(bundle), 5)).astype(np.float32)
    soft = soft / soft.sum(1, keepdims=True) if space == "probs" else soft - (space == "direction")
    names = ("a,b", "c d", "e", "f", "g")
    images = (bundle.images / 255 * 2 - 1).astype(np.float32)
    pixels = replace(bundle.pixels, space="unit")
    spoiled = replace(bundle, classes=names, images=images, pixels=pixels)
    spoiled = with_arrays(spoiled, soft_labels=soft, soft=LabelMeta(space=space))
    ddlabel.write(FEW, spoiled)
    (finding,) = pixel_values(case_of())
    mended = carry_out(cli, finding.commands)
    assert np.allclose(mended.images, bundle.images / 255, atol=1e-5)
    assert mended.classes == names
    assert mended.soft.meta.space == space
    assert mended.soft.values.tolist() == soft.tolist()


def findings_of(cli, *words: str) -> dict[str, dict]:
    value = json.loads(cli("doctor", FEW, *words, "--json").out)
    return {each["check"]: each for each in value["findings"]}


def test_a_permuted_class_order_is_mended_by_the_line_that_is_printed(cli, digits):
    spec = {"net": "convnet-d1:width=16", "epochs": 6, "optimizer": "sgd:lr=0.05,momentum=0.9"}
    ddlabel.train_expert("real.safetensors", "good", batch_size=30, **spec)
    real = ddlabel.read("real.safetensors")
    order = np.array([3, 0, 4, 1, 2, 9, 8, 7, 6, 5])
    permuted = replace(real, hard_labels=order[real.hard_labels])
    # Labels and names are in the same order, which is not that of the expert.
    reversed_names = tuple(reversed(real.classes))
    renamed = replace(real, classes=reversed_names, hard_labels=9 - real.hard_labels)
    for spoiled, check, words in (
        (permuted, "class-order", ("--expert", "good")),
        (renamed, "class-order", ("--expert", "good")),
        (renamed, "classes-of-test", ("--test", "real.safetensors")),
    ):
        Path(FEW).unlink()
        Path("few-mended.safetensors").unlink(missing_ok=True)
        ddlabel.write(FEW, spoiled)
        mended = carry_out(cli, findings_of(cli, *words)[check]["commands"])
        assert mended.hard_labels.tolist() == real.hard_labels.tolist()
        assert mended.classes == real.classes


def test_images_that_are_named_are_taken_out(cli, digits):
    few, test = ddlabel.read(FEW), ddlabel.read("test.safetensors")
    images = np.array(few.images)
    images[3], images[5], images[7] = 9, images[6], test.images[0]
    Path(FEW).unlink()
    ddlabel.write(FEW, replace(few, images=images))
    found = findings_of(cli, "--test", "test.safetensors")
    for check, row in (("constant-images", 3), ("duplicated-images", 6), ("overlap-with-test", 7)):
        assert row in found[check]["rows"]
    while found:
        # One finding at a time has its command line.
        (finding,) = [each for each in found.values() if each["commands"]]
        num_before = len(ddlabel.read(FEW))
        mended = carry_out(cli, finding["commands"])
        assert len(mended) == num_before - len(finding["rows"])
        Path("few-mended.safetensors").replace(FEW)
        found = findings_of(cli, "--test", "test.safetensors")


def test_labels_are_mended(cli, digits):
    few = ddlabel.read(FEW)
    right = np.eye(10, dtype=np.float32)[few.hard_labels] * 0.8 + 0.02
    order = np.array([3, 0, 4, 1, 2, 9, 8, 7, 6, 5])
    Path(FEW).unlink()
    spoiled = with_arrays(few, soft_labels=right, soft=LabelMeta(space="logits"))
    ddlabel.write(FEW, spoiled)
    mended = carry_out(cli, findings_of(cli)["label-space"]["commands"])
    assert mended.soft.meta.space == "probs"
    Path(FEW).unlink()
    Path("few-mended.safetensors").unlink()
    probs = LabelMeta(space="probs")
    ddlabel.write(FEW, with_arrays(few, soft_labels=right[:, order], soft=probs))
    mended = carry_out(cli, findings_of(cli)["contradicted-labels"]["commands"])
    assert mended.soft.values.tolist() == right.tolist()


@pytest.mark.parametrize("name", ["/", "..", ".", "/dev/zero", ""])
def test_a_history_of_a_stranger_does_not_make_doctor_read_through_the_disk(cli, name):
    inputs = () if name == "" else (Input(role="source", name=name, sha256=""),)
    entry = Entry(command="import", version="1", inputs=inputs)
    bundle = replace(rows_bundle(), history=(entry,))
    assert Case(bundle=bundle, name=FEW).own_import is None
