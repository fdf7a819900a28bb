"""`demo`: its steps, with few images, epochs and students."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

import numpy as np
import pytest
from listener import Listener
from PIL import Image
from samples import records

from ddlabel.cli.app import app
from ddlabel.commands import demo as module
from ddlabel.commands.demo import Demo, demo, shell_line
from ddlabel.core.errors import OutputExistsError


def few_images(folder: Path) -> Path:
    """Write twelve images of each class as the archive of the demo."""
    with np.load(module.IMAGES) as images:
        arrays = dict(images)
    for part in ("train", "test"):
        of_classes = [np.flatnonzero(arrays[f"{part}_labels"] == k)[:12] for k in range(10)]
        rows = np.concatenate(of_classes)
        for kind in ("images", "labels"):
            arrays[f"{part}_{kind}"] = arrays[f"{part}_{kind}"][rows]
    archive = folder / module.IMAGES.name
    np.savez(archive, **arrays)
    return archive


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> tuple[Path, Demo, Listener]:
    """The demo with few images and two short students of each kind."""
    folder = tmp_path_factory.mktemp("demo")
    config = re.sub(
        r"(epochs = 300|seeds = 5)", lambda found: f"{found[0].split()[0]} = 2", module._CONFIG
    )
    config = config.replace("width=32", "width=4")
    listener = Listener()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "IMAGES", few_images(folder))
        patch.setattr(module, "_CONFIG", f'precision = "fp32"\n{config}')
        patch.chdir(folder)
        outcome = demo("new folder", reporter=listener)
    return folder, outcome, listener


@pytest.fixture
def done(finished, monkeypatch) -> tuple[Demo, Listener]:
    folder, outcome, listener = finished
    monkeypatch.chdir(folder)
    return outcome, listener


def test_it_compares_three_kinds_of_labels_pair_by_pair(done):
    outcome, _ = done
    assert list(outcome.cells) == ["hard", "soft", "soft + dense"]
    assert [cell["labels"] for cell in outcome.cells.values()] == ["hard", "soft", "dense"]
    students = records(Path("new folder/results.jsonl"))
    accuracies = [student["result"]["accuracy"] for student in students]
    hard, soft, dense = np.array(accuracies).reshape(3, 2) * 100
    assert outcome.steps["soft"].difference.mean == pytest.approx(np.mean(soft - hard))
    assert outcome.steps["soft + dense"].difference.mean == pytest.approx(np.mean(dense - soft))
    assert all(student["options"]["select"] == "last" for student in students)


def test_its_commands_can_be_run_again_as_printed_and_so_can_the_next_ones(done, monkeypatch):
    outcome, listener = done
    prompts = [note.removeprefix("$ ") for note in listener.notes]
    assert shlex.split(prompts[0]) == ["cd", "new folder"]
    again = Path("again")
    again.mkdir()
    for name in (module.IMAGES.name, "demo.toml"):
        (again / name).write_bytes((outcome.folder / name).read_bytes())
    monkeypatch.chdir(again)
    for line in [*prompts[1:], *outcome.next_lines]:
        monkeypatch.setattr(sys, "argv", shlex.split(line))
        app(shlex.split(line)[1:], standalone_mode=False)
    first = Path("..") / outcome.folder
    for name in ("few", "soft", "dense"):
        file = f"{name}.safetensors"
        assert Path(file).read_bytes() == (first / file).read_bytes()


def test_it_ends_with_a_contact_sheet(done):
    outcome, _ = done
    with Image.open(outcome.sheet) as sheet:
        assert sheet.format == "PNG"
        assert sheet.width > 1000


def test_a_folder_that_exists_is_refused(tmp_path):
    with pytest.raises(OutputExistsError, match="give a new folder"):
        demo(tmp_path)


def test_it_ships_the_licence_of_its_images():
    text = (module.IMAGES.parent / "README.md").read_text()
    assert "Copyright © 2017 Zalando SE" in text


@pytest.mark.parametrize(
    ("name", "given", "line"),
    [
        (
            "import",
            {"sources": ["a.npz", "b.npz"], "out": "real.h5", "class_names": "cat,big dog"},
            "ddlabel import a.npz b.npz real.h5 --class-names 'cat,big dog'",
        ),
        (
            "train-expert",
            {"real": "real.h5", "out": "run", "save_every": 0.5},
            "ddlabel train-expert real.h5 run --save-every 0.5",
        ),
        (
            "relabel",
            {"bundle": "few.h5", "out": "soft.h5", "expert": ["a", "b"]},
            "ddlabel relabel few.h5 soft.h5 --expert a --expert b",
        ),
        (
            "evaluate",
            {"bundle": "soft.h5", "test": "test.h5", "out": "results.jsonl"},
            "ddlabel evaluate soft.h5 --test test.h5 --out results.jsonl",
        ),
    ],
)
def test_a_command_is_shown_as_a_user_would_type_it(name, given, line):
    assert shell_line(name, given) == line
