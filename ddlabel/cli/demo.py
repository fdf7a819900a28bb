"""`demo`: the whole path on real handwritten digits, as a user would type it."""

from __future__ import annotations

import contextlib
import io
import json
import shlex
import shutil
import tempfile
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from ddlabel import files
from ddlabel.cli.command import Say, command
from ddlabel.cli.evaluate import DIGITS
from ddlabel.config import Options
from ddlabel.errors import OutputExistsError

# Settings chosen on training digits held out from the expert, never on test digits.
_STUDENTS_TOML = """\
[evaluate]
test = "test.safetensors"
out = "results.jsonl"
net = "convnet-d2:width=32"
optimizer = "adamw:lr=0.003"
schedule = "cosine"
augment = "flip-crop:flip-probability=0,padding=1"
epochs = 200
seeds = 5
"""
_EXPERT_TOML = """\
[train-expert]
net = "convnet-d2:width=32"
optimizer = "sgd:lr=0.05,momentum=0,weight-decay=0"
schedule = "cosine"
augment = "flip-crop:flip-probability=0,padding=1"
epochs = 10
batch-size = 32
experts = 3
"""
_MAKE = """\
import digits.npz real.safetensors --split train
import digits.npz test.safetensors --split test
train-expert real.safetensors experts --config expert.toml
select real.safetensors few.safetensors --ipc 1
relabel few.safetensors soft.safetensors --expert experts --epoch last --temperature 2
densify soft.safetensors dense.safetensors --expert experts --epoch last --n 3 --r 0.75
refine soft.safetensors refined.safetensors --space logits
"""
_MEASURE = {
    "hard": "evaluate few.safetensors --config students.toml",
    "soft": "evaluate soft.safetensors --config students.toml",
    "dense": "evaluate dense.safetensors --config students.toml --global-labels soft",
    "refined": "evaluate refined.safetensors --config students.toml --loss cosine",
}


def register(app: typer.Typer) -> None:
    """Add `demo`."""

    @command(app, "demo", Options)
    def demo(
        options: Options,  # noqa: ARG001 - it has none
        say: Say,
        out: Annotated[Path | None, typer.Option("--out", help="new folder to keep all files in; else none is")] = None,
    ) -> None:
        """Run the whole path on real handwritten digits and compare four kinds of labels."""
        if out is not None and out.exists():
            raise OutputExistsError(f"--out {out} exists: give a new folder")
        with tempfile.TemporaryDirectory(prefix="ddlabel-demo-") as temporary:
            folder = out or Path(temporary)
            files.make_folder(folder)
            shutil.copy(DIGITS, folder)
            (folder / "students.toml").write_text(_STUDENTS_TOML)
            (folder / "expert.toml").write_text(_EXPERT_TOML)
            with contextlib.chdir(folder):
                for line in _MAKE.splitlines():
                    _call(app, line, say)
                outcomes = {labels: json.loads(_call(app, f"{line} --json", say)) for labels, line in _MEASURE.items()}
        table = Table("labels", "accuracy %", "95 % interval", title="five students for each kind of label")
        for labels, outcome in outcomes.items():
            percent = outcome["percent"]
            table.add_row(labels, f"{percent['mean']:.1f}", f"± {percent['interval']:.1f}")
        say.show(table)
        lines = [f"{labels} {outcome['percent']['mean']:.2f} %" for labels, outcome in outcomes.items()]
        say.data("\n".join(lines), outcomes)


def _call(app: typer.Typer, line: str, say: Say) -> str:
    """Carry out a line as if it were typed, and return what it printed."""
    say.note(f"$ ddlabel {line}")
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        app([*shlex.split(line), "--quiet"], standalone_mode=False)
    return printed.getvalue()
