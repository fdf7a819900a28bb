"""The same work from Python and from the shell: the same bytes, histories and records."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from samples import records

import ddlabel

PIPELINE = """\
relabel few.safetensors - --expert expert --epoch 1.5 --precision fp32 -q |
densify - - --expert expert --epoch last --views grid:n=2,r=0.75 --precision fp32 -q |
refine - shell.safetensors --field dense --gamma 0.2 --precision fp32 -q
"""


@pytest.fixture
def from_shell(digits) -> bytes:
    """The bundle that three commands write through pipes."""
    script = PIPELINE.replace("|\n", f"| {sys.executable} -m ddlabel ")
    command = f"set -o pipefail; {sys.executable} -m ddlabel {script}"
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    subprocess.run(["bash", "-c", command], cwd=digits, check=True, env=environment)
    return Path("shell.safetensors").read_bytes()


def test_python_with_paths_and_bundles_writes_the_bytes_of_the_pipeline(from_shell):
    soft = ddlabel.relabel("few.safetensors", expert="expert", epoch=1.5, precision="fp32")
    dense = ddlabel.densify(
        soft, expert=["expert"], epoch="last", views="grid:n=2,r=0.75", precision="fp32"
    )
    refined = ddlabel.refine(dense, field="dense", gamma=0.2, precision="fp32")
    ddlabel.write("python.safetensors", refined)
    assert Path("python.safetensors").read_bytes() == from_shell
    assert [entry.command for entry in refined.history[-3:]] == ["relabel", "densify", "refine"]


def test_python_with_a_file_between_all_steps_writes_the_bytes_of_the_pipeline(from_shell):
    ddlabel.write(
        "soft.h5", ddlabel.relabel(Path("few.safetensors"), expert=Path("expert"), epoch="1.5", precision="fp32")
    )
    Path("densify.toml").write_text(
        '[densify]\nexpert = "expert"\nepoch = "last"\nviews = "grid:n=2,r=0.75"\n'
        'precision = "fp32"\n'
    )
    ddlabel.write("dense.safetensors", ddlabel.densify("soft.h5", config="densify.toml"))
    dense = ddlabel.read("dense.safetensors")
    ddlabel.write(
        "python.safetensors", ddlabel.refine(dense, field="dense", gamma=0.2, precision="fp32")
    )
    assert Path("python.safetensors").read_bytes() == from_shell


def test_evaluate_gives_the_records_of_the_shell(cli, digits):
    words = ["--net", "convnet-d1:width=4", "--epochs", 2, "--precision", "fp32"]
    words += ["--loss", "ce,cosine", "--seeds", 2, "--out", "shell.jsonl"]
    cli("evaluate", "few.safetensors", "--test", "test.safetensors", *words)
    few = ddlabel.read("few.safetensors")
    evaluation = ddlabel.evaluate(
        few,
        test=Path("test.safetensors"),
        net="convnet-d1:width=4",
        epochs=2,
        precision="fp32",
        loss=["ce", "cosine"],
        seeds=2,
        out="python.jsonl",
    )
    # Only the seconds that students took differ.
    shell, python = (
        [record | {"cost": 0} for record in records(Path(f"{name}.jsonl"))]
        for name in ("shell", "python")
    )
    assert len(python) == 4
    assert python == shell
    assert [record.result["accuracy"] for record in evaluation.records] == [
        record["result"]["accuracy"] for record in shell
    ]
