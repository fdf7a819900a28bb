"""`demo`: its steps, with few epochs and students."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from listener import Listener
from samples import records

from ddlabel.commands import demo as module
from ddlabel.commands.demo import demo, shell_line
from ddlabel.core.errors import OutputExistsError


@pytest.fixture
def quick(monkeypatch):
    """Two epochs and two students in place of hundreds."""
    config = re.sub(r"(epochs|experts|seeds) = \d+", r"\1 = 2", module._CONFIG)
    monkeypatch.setattr(module, "_CONFIG", f'precision = "fp32"\n{config}')


def test_demo_keeps_its_files_and_returns_the_accuracies_of_four_kinds_of_labels(
    quick, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    listener = Listener()
    cells = demo("new", reporter=listener)
    assert list(cells) == ["hard", "soft", "dense", "refined"]
    labels = [cell["labels"] for cell in cells.values()]
    assert labels == ["hard", "soft", "dense", "soft"]
    students = records(Path("new/results.jsonl"))
    accuracies = [accuracy for cell in cells.values() for accuracy in cell["accuracies"]]
    assert accuracies == [student["result"]["accuracy"] for student in students]
    assert len(listener.notes) == 11
    assert all(note.startswith("$ ddlabel ") for note in listener.notes)
    assert (Path.cwd(), Path("new/refined.safetensors").exists()) == (tmp_path, True)
    with pytest.raises(OutputExistsError, match="new"):
        demo("new")


def test_demo_leaves_no_file_without_a_folder(quick, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    demo()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "given", "line"),
    [
        (
            "import",
            {"sources": ["a.npz", "b.npz"], "out": "real.h5", "split": "train"},
            "ddlabel import a.npz b.npz real.h5 --split train",
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
