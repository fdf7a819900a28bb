"""`demo`: the whole path on real handwritten digits, as a user would type it."""

import contextlib
import io
import json
import shutil
import tempfile
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from ddlabel.commands.demo_digits import DIGITS
from ddlabel.cli.old_command import Reporter, app, command
from ddlabel.core.errors import OutputExistsError
from ddlabel.data import atomic

# Settings chosen on training digits held out from the expert, never on test digits.
_TOML = """\
net = "convnet-d2:width=32"
schedule = "cosine"
augment = "crop:padding=1"
[train-expert]
optimizer = "sgd:lr=0.05,momentum=0,weight-decay=0"
epochs = 10
batch-size = 32
experts = 3
[evaluate]
test = "test.safetensors"
out = "results.jsonl"
optimizer = "adamw:lr=0.003"
epochs = 200
seeds = 5
"""
_SCRIPT = """\
import digits.npz real.safetensors --split train
import digits.npz test.safetensors --split test
train-expert real.safetensors experts --config demo.toml
select real.safetensors few.safetensors --ipc 1
relabel few.safetensors soft.safetensors --expert experts --epoch last --temperature 2
densify soft.safetensors dense.safetensors --expert experts --epoch last --views grid:n=3,r=0.75
refine soft.safetensors refined.safetensors --space logits
evaluate few.safetensors --config demo.toml --json
evaluate soft.safetensors --config demo.toml --json
evaluate dense.safetensors --config demo.toml --json --global-labels soft
evaluate refined.safetensors --config demo.toml --json --loss cosine
"""
_LABELS = ("hard", "soft", "dense", "refined")  # which the last lines measure
Out = Annotated[
    Path | None, typer.Option("--out", help="new folder to keep all files in; else none is")
]


@command("demo")
def demo(reporter: Reporter, out: Out = None) -> None:
    """Run the whole path on real handwritten digits and compare four kinds of labels."""
    if out is not None and out.exists():
        raise OutputExistsError(f"--out {out} exists: give a new folder")
    said = []
    with tempfile.TemporaryDirectory(prefix="ddlabel-demo-") as temporary:
        folder = out or Path(temporary)
        atomic.make_folder(folder)
        shutil.copy(DIGITS, folder)
        (folder / "demo.toml").write_text(_TOML)
        with contextlib.chdir(folder):
            for line in _SCRIPT.splitlines():
                reporter.note(f"$ ddlabel {line}")
                with contextlib.redirect_stdout(io.StringIO()) as printed:
                    app([*line.split(), "--quiet"], standalone_mode=False)
                said.append(printed.getvalue())
    outcomes = {
        labels: json.loads(text)["cells"][0]
        for labels, text in zip(_LABELS, said[-4:], strict=True)
    }
    table = Table(
        "labels", "accuracy %", "95 % interval", title="five students for each kind of label"
    )
    for labels, outcome in outcomes.items():
        percent = outcome["percent"]
        table.add_row(labels, f"{percent['mean']:.1f}", f"± {percent['interval']:.1f}")
    reporter.show(table)
    reporter.data(
        "\n".join(f"{labels} {each['percent']['mean']:.2f} %" for labels, each in outcomes.items()),
        outcomes,
    )
