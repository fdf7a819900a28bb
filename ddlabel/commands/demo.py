"""`demo`: the whole path on real handwritten digits."""

import contextlib
import shutil
import tempfile
from dataclasses import fields
from pathlib import Path
from typing import Any

from ddlabel.commands.command import command, load_command
from ddlabel.commands.demo_digits import DIGITS
from ddlabel.commands.execute import run_command
from ddlabel.commands.reporter import Reporter
from ddlabel.core.errors import OutputExistsError
from ddlabel.data import atomic

# Settings chosen on training digits held out from the expert, never on test digits.
_CONFIG = """\
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
_CONFIG_FILE = "demo.toml"
_REAL = "real.safetensors"
_FEW = "few.safetensors"
_SOFT = "soft.safetensors"
_DENSE = "dense.safetensors"
_REFINED = "refined.safetensors"
_EXPERTS = "experts"
Values = dict[str, Any]
# The commands that make the bundles, with their inputs, outputs and options.
_MAKE: list[tuple[str, Values]] = [
    ("import", {"sources": [DIGITS.name], "out": _REAL, "split": "train"}),
    ("import", {"sources": [DIGITS.name], "out": "test.safetensors", "split": "test"}),
    ("train-expert", {"real": _REAL, "out": _EXPERTS, "config": _CONFIG_FILE}),
    ("select", {"bundle": _REAL, "out": _FEW, "ipc": 1}),
    (
        "relabel",
        {"bundle": _FEW, "out": _SOFT, "expert": _EXPERTS, "epoch": "last", "temperature": 2},
    ),
    (
        "densify",
        {
            "bundle": _SOFT,
            "out": _DENSE,
            "expert": _EXPERTS,
            "epoch": "last",
            "views": "grid:n=3,r=0.75",
        },
    ),
    ("refine", {"bundle": _SOFT, "out": _REFINED, "space": "logits"}),
]
# The options of `evaluate` for each kind of label.
_EVALUATE: dict[str, Values] = {
    "hard": {"bundle": _FEW, "config": _CONFIG_FILE},
    "soft": {"bundle": _SOFT, "config": _CONFIG_FILE},
    "dense": {"bundle": _DENSE, "config": _CONFIG_FILE, "global_labels": "soft"},
    "refined": {"bundle": _REFINED, "config": _CONFIG_FILE, "loss": "cosine"},
}


@command("demo")
def demo(out: str | Path | None = None, *, reporter: Reporter) -> dict[str, Any]:
    """Run the whole path on real handwritten digits and compare four kinds of labels.

    All files are kept in the new folder `out`; without it none are. Returns for each kind of label
    the cell that `evaluate` returns.

    Raises:
        OutputExistsError: The folder exists.
    """
    if out is not None and Path(out).exists():
        raise OutputExistsError(f"--out {out} exists: give a new folder")
    with tempfile.TemporaryDirectory(prefix="ddlabel-demo-") as temporary:
        folder = Path(temporary if out is None else out)
        atomic.make_folder(folder)
        shutil.copy(DIGITS, folder)
        (folder / _CONFIG_FILE).write_text(_CONFIG, encoding="utf-8")
        # The configuration names files of its own folder.
        with contextlib.chdir(folder):
            for name, given in _MAKE:
                _run(name, given, reporter)
            cells = {}
            for labels, given in _EVALUATE.items():
                cells[labels] = _run("evaluate", given, reporter)["cells"][0]
    return cells


def _run(name: str, given: Values, reporter: Reporter) -> Any:
    """Report a command as a user would type it, and run it."""
    reporter.note(f"$ {shell_line(name, given)}")
    return run_command(name, given)


def shell_line(name: str, given: Values) -> str:
    """Return the command line of a command with its inputs, output and options by name."""
    command = load_command(name)
    arguments = [field.name for field in fields(command.config) if field.metadata["argument"]]
    positional = [*command.inputs, *arguments]
    if command.makes_bundle:
        positional.append("out")
    words = ["ddlabel", name]
    flags = []
    for key, value in given.items():
        values = value if isinstance(value, list) else [value]
        texts = [str(single) for single in values]
        if key in positional:
            words += texts
            continue
        for text in texts:
            flags += [f"--{key.replace('_', '-')}", text]
    return " ".join(words + flags)
