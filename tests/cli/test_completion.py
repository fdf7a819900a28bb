"""Completion of values: what a shell is given when Tab is pressed behind an option."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from experts import write_run
from reference import names
from samples import make_bundle

from ddlabel.cli.completion import KIND_OF_OPTION
from ddlabel.commands.guide import names_in_specs
from ddlabel.data import formats

EPOCH = "relabel few.safetensors soft.safetensors --expert run --epoch"


@pytest.fixture
def completed(cli, monkeypatch):
    """The words that bash is offered for the last word of a line."""

    def complete(line: str) -> list[str]:
        words = f"ddlabel {line}".split(" ")
        monkeypatch.setenv("_DDLABEL_COMPLETE", "complete_bash")
        monkeypatch.setenv("COMP_WORDS", " ".join(words))
        monkeypatch.setenv("COMP_CWORD", str(len(words) - 1))
        return cli().out.decode().split("\n")[:-1]

    return complete


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("trai", ["train-expert"]),
        ("evaluate --loss soft", ["soft-ce"]),
        ("evaluate --loss gift,soft", ["gift,soft-ce"]),
        ("evaluate --augment crop+fl", ["crop+flip"]),
        ("evaluate --net convnet-d3", ["convnet-d3"]),
        ("evaluate --labels de", ["dense"]),
        ("evaluate --protocol lad", ["ladd"]),
        ("select a b --method rd", ["rded"]),
        ("learn a b --method bp", ["bptt"]),
        ("refine a b --space l", ["logits"]),
    ],
)
def test_names_and_choices_are_completed(completed, line, offered):
    assert set(offered) <= set(completed(line))
    assert all(word.startswith(line.split()[-1]) for word in completed(line))


def test_epochs_of_the_run_on_the_line_are_completed(completed):
    write_run(Path("run"), make_bundle(), net="convnet-d1:width=4", steps=12)
    assert completed(f"{EPOCH} 1") == ["1", "10", "11", "12"]
    assert completed(f"{EPOCH} a") == ["auto"]


def test_a_run_that_cannot_be_read_completes_the_words_alone(completed):
    assert completed(f"{EPOCH} ") == ["auto", "last"]


def test_classes_of_the_bundle_on_the_line_are_completed(completed):
    bundle = make_bundle()
    formats.write("few.safetensors", bundle)
    offered = completed("edit few.safetensors out.h5 --without-class ")
    assert offered == list(bundle.classes)


@pytest.mark.parametrize("kind", sorted(set(KIND_OF_OPTION.values()) - {"protocols"}))
def test_names_are_those_of_the_registry(kind):
    assert names_in_specs(kind) == [name.partition(":")[0] for name in names(kind)]


def test_completion_needs_no_torch(completed, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    assert "gift" in completed("evaluate --loss gi")
