"""The pipeline from images to accuracy: through pipes, through files and from Python.

The same work gives the same bytes, histories and records in all three ways.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from samples import records_without_cost

import ddlabel
from ddlabel.data import formats

FP32 = {"precision": "fp32"}
EVALUATION = {
    "net": "convnet-d1:width=8",
    "loss": ["soft-ce", "cosine"],
    "epochs": 3,
    "seeds": 2,
}
EVALUATION_WORDS = ("--net", "convnet-d1:width=8", "--loss", "soft-ce,cosine", "--epochs", 3)
COMMANDS = (
    "select real.safetensors - --ipc 2",
    "relabel - - --precision fp32 --expert expert --epoch 1.5",
    "densify - - --precision fp32 --expert expert --epoch last --views grid:n=2,r=0.75",
    "refine - labelled.safetensors --precision fp32 --field dense --gamma 0.2",
)


@pytest.fixture(scope="module")
def piped(made, tmp_path_factory) -> bytes:
    """The bundle that four processes make with pipes between them."""
    folder = tmp_path_factory.mktemp("pipes") / "digits"
    shutil.copytree(made, folder)
    script = " | ".join(f"{sys.executable} -m ddlabel {words} --quiet" for words in COMMANDS)
    # Another seed of Python's hashes than here: no order may depend on it.
    environment = os.environ | {"PYTHONHASHSEED": "1", "OMP_NUM_THREADS": "1"}
    command = ["bash", "-o", "pipefail", "-c", script]
    subprocess.run(command, cwd=folder, check=True, env=environment)
    return (folder / "labelled.safetensors").read_bytes()


def test_files_between_the_commands_give_the_bytes_of_the_pipes(cli, digits, piped):
    quiet = ("--quiet", "--precision", "fp32")
    expert = ("--expert", "expert")
    views = ("--views", "grid:n=2,r=0.75")
    cli("select", "real.safetensors", "two.h5", "--ipc", 2)
    cli("relabel", "two.h5", "soft.safetensors", *expert, "--epoch", 1.5, *quiet)
    cli("densify", "soft.safetensors", "dense.h5", *expert, "--epoch", "last", *views, *quiet)
    cli("refine", "dense.h5", "labelled.safetensors", "--field", "dense", "--gamma", 0.2, *quiet)
    assert Path("labelled.safetensors").read_bytes() == piped


def test_python_gives_the_bytes_of_the_pipes(digits, piped):
    few = ddlabel.select(ddlabel.read("real.safetensors"), ipc=2)
    soft = ddlabel.relabel(few, expert=ddlabel.ExpertRun(Path("expert")), epoch=1.5, **FP32)
    ddlabel.write("soft.h5", soft)
    Path("run.toml").write_text(
        'expert = "expert"\n[densify]\nepoch = "last"\nviews = "grid:n=2,r=0.75"\n'
    )
    dense = ddlabel.densify(Path("soft.h5"), config="run.toml", **FP32)
    refined = ddlabel.refine(dense, field="dense", gamma=0.2, **FP32)
    ddlabel.write("labelled.safetensors", refined)
    assert Path("labelled.safetensors").read_bytes() == piped
    steps = [entry.command for entry in refined.history]
    assert steps == ["import", "select", "relabel", "densify", "refine"]


def test_bundle_of_the_pipes_has_a_refined_label_for_every_view(tmp_path, piped):
    path = tmp_path / "labelled.safetensors"
    path.write_bytes(piped)
    bundle = formats.read(str(path))
    assert bundle.dense.values.shape == (20, 4, 10)
    assert bundle.views.boxes.shape == (4, 4)
    assert bundle.dense.meta.space == "probs"


def test_evaluate_gives_the_same_lines_and_records_from_python_and_from_the_shell(
    cli, digits, piped
):
    Path("labelled.safetensors").write_bytes(piped)
    words = ("--test", "test.safetensors", "--seeds", 2, "--precision", "fp32")
    files = ("labelled.safetensors", "--out", "shell.jsonl")
    printed = cli("evaluate", *files, *EVALUATION_WORDS, *words).out.decode()
    bundle = ddlabel.read("labelled.safetensors")
    test = ddlabel.read("test.safetensors")
    evaluation = ddlabel.evaluate(bundle, test=test, out="python.jsonl", **EVALUATION, **FP32)
    assert printed == "\n".join(evaluation.lines()) + "\n"
    from_python, from_shell = (
        records_without_cost(Path(f"{name}.jsonl")) for name in ("python", "shell")
    )
    assert len(from_python) == 4
    assert from_python == from_shell
    accuracies = {one["key"]: one["result"]["accuracy"] for one in from_shell}
    assert {one.key: one.result["accuracy"] for one in evaluation.records} == accuracies
    assert {one.options["labels"] for one in evaluation.records} == {"dense"}
