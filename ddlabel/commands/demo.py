"""`demo`: the whole path on real pictures of clothes, in about a minute."""

import contextlib
import shlex
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

from ddlabel.commands.command import command, load_command
from ddlabel.commands.execute import run_command
from ddlabel.commands.reporter import Reporter
from ddlabel.core.errors import OutputExistsError
from ddlabel.data import atomic, formats
from ddlabel.figures.sheet import write_sheet
from ddlabel.methods.intervals import Comparison, compare

T = TypeVar("T")
Values = dict[str, Any]
IMAGES = Path(__file__).parents[1] / "demo" / "fashion-mnist-small.npz"
FOLDER = "ddlabel-demo"
SHEET = "labels.png"
# How these settings were chosen is in demo/README.md: on training images, never on test images.
_CONFIG = """\
net = "convnet-d3:width=32"
[train-expert]
optimizer = "sgd:lr=0.02,momentum=0.9"
epochs = 6
batch-size = 100
[evaluate]
test = "test.safetensors"
out = "results.jsonl"
optimizer = "adamw:lr=0.003"
schedule = "cosine"
epochs = 300
seeds = 5
"""
_CONFIG_FILE = "demo.toml"
_REAL = "real.safetensors"
_FEW = "few.safetensors"
_SOFT = "soft.safetensors"
_DENSE = "dense.safetensors"
_EXPERT = "expert"
_IMPORT: Values = {"sources": [IMAGES.name]}
# Whole images are labelled by an expert that was stopped early, views by a later one.
_EARLY: Values = {"expert": _EXPERT, "epoch": 3}
_LATE: Values = {"expert": _EXPERT, "epoch": "last", "views": "grid:n=5,r=0.625"}
# The commands that make the bundles, with their inputs, outputs and options.
_MAKE: list[tuple[str, Values]] = [
    ("import", {**_IMPORT, "out": _REAL, "split": "train"}),
    ("import", {**_IMPORT, "out": "test.safetensors", "split": "test"}),
    ("train-expert", {"real": _REAL, "out": _EXPERT, "config": _CONFIG_FILE}),
    ("select", {"bundle": _REAL, "out": _FEW, "ipc": 1}),
    ("relabel", {"bundle": _FEW, "out": _SOFT, **_EARLY}),
    ("densify", {"bundle": _SOFT, "out": _DENSE, **_LATE}),
]
# The options of `evaluate` for each kind of label.
_EVALUATE: dict[str, Values] = {
    "hard": {"bundle": _FEW, "config": _CONFIG_FILE},
    "soft": {"bundle": _SOFT, "config": _CONFIG_FILE},
    "soft + dense": {"bundle": _DENSE, "config": _CONFIG_FILE},
}
# What to try next, in the folder of the demo.
NEXT: list[tuple[str, Values]] = [
    ("describe", {"bundle": _SOFT, "expert": _EXPERT}),
    ("refine", {"bundle": _SOFT, "out": "refined.safetensors"}),
    ("evaluate", {"bundle": "refined.safetensors", "config": _CONFIG_FILE, "loss": "cosine"}),
]


@dataclass(frozen=True, kw_only=True)
class Demo:
    """The outcome of the demo.

    Attributes:
        folder: The folder with all files.
        cells: For each kind of label, the cell that `evaluate` returns.
        steps: For each kind of label but the first, its difference to the kind before it, paired by
            the seed of the students, in points.
        next_lines: Command lines to try next in the folder.
    """

    folder: Path
    cells: dict[str, Values]
    steps: dict[str, Comparison]
    next_lines: Sequence[str]

    @property
    def sheet(self) -> Path:
        """The picture of the images with their labels."""
        return self.folder / SHEET

    def value(self) -> Values:
        """Return what `--json` prints."""
        return {
            "folder": str(self.folder),
            "sheet": str(self.sheet),
            "cells": self.cells,
            "steps": {labels: asdict(step) for labels, step in self.steps.items()},
            "next": [*self.next_lines],
        }


@command("demo", json_value=Demo.value)
def demo(out: str | Path = FOLDER, *, reporter: Reporter) -> Demo:
    """Run the whole path on real pictures of clothes and compare three kinds of labels.

    All files are kept in the new folder `out`. The settings are in its file `demo.toml`, and the
    commands that are reported can be run in it again one by one.

    Raises:
        OutputExistsError: The folder exists.
    """
    folder = Path(out)
    if folder.exists():
        raise OutputExistsError(f"--out {out} exists: give a new folder")
    atomic.make_folder(folder)
    shutil.copy(IMAGES, folder)
    (folder / _CONFIG_FILE).write_text(_CONFIG, encoding="utf-8")
    reporter.note(f"$ cd {shlex.quote(str(folder))}")
    # The configuration names files of its own folder.
    with contextlib.chdir(folder):
        for name, given in _MAKE:
            _run(name, given, reporter)
        cells = {}
        for labels, given in _EVALUATE.items():
            cells[labels] = _run("evaluate", given, reporter)["cells"][0]
        write_sheet(formats.load(_DENSE)[0], SHEET)
    return Demo(
        folder=folder,
        cells=cells,
        steps=_steps(cells),
        next_lines=[shell_line(name, given) for name, given in NEXT],
    )


def _run(name: str, given: Values, reporter: Reporter) -> Any:
    """Report a command as a user would type it, and run it."""
    reporter.note(f"$ {shell_line(name, given)}")
    return run_command(name, given, _ProgressOnly(reporter))


class _ProgressOnly(Reporter):
    """Show the progress of a command, and leave out its lines."""

    def __init__(self, shown: Reporter) -> None:
        self._shown = shown

    def progress(self, steps: Iterable[T]) -> Iterable[T]:
        return self._shown.progress(steps)


def _steps(cells: dict[str, Values]) -> dict[str, Comparison]:
    """Compare the accuracies of every kind of label with those of the kind before it."""
    kinds = list(cells)
    percent = {}
    for kind, cell in cells.items():
        percent[kind] = [100 * accuracy for accuracy in cell["accuracies"]]
    pairs = zip(kinds[1:], kinds[:-1], strict=True)
    return {kind: compare(percent[kind], percent[before]) for kind, before in pairs}


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
    return shlex.join(words + flags)
