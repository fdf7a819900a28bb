"""What killed runs of train-expert and learn have left: damaged before they go on."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mutations import damage
from samples import make_bundle

from ddlabel.commands.execute import run_command
from ddlabel.commands.reporter import SILENT, Reporter
from ddlabel.commands.train_expert import train_expert
from ddlabel.core.errors import InvalidInputError
from ddlabel.data import formats

TRAIN = {
    "net": "convnet-d1:width=2,norm=batch",
    "epochs": 2,
    "batch_size": 6,
    "optimizer": "sgd:lr=0.05,momentum=0.9",
    "augment": "flip+crop",
    "zca": True,
    "compile": "off",
    "precision": "fp32",
    "device": "cpu",
}
LEARN = {
    "bundle": "few.safetensors",
    "real": "few.safetensors",
    "out": "out/learned.safetensors",
    "net": "convnet-d1:width=2",
    "method": "bptt:steps=1,window=1,real-batch=3",
    "iterations": 3,
    "save_every": 1,
    "device": "cpu",
}


def read_damaged(reader: Callable[[Path], Any], folder: Path) -> tuple[Any, str | None]:
    """What a reader returns, or the message of its refusal."""
    try:
        return reader(folder), None
    except InvalidInputError as error:
        return None, str(error)


class Interrupt(Reporter):
    """Interrupts a command when it has saved its state for the first time."""

    def note(self, text: str) -> None:
        if text.startswith(("epoch", "iteration 2")):
            raise KeyboardInterrupt


def train(reporter: Reporter = SILENT) -> dict[str, bytes]:
    train_expert("few.safetensors", "out", **TRAIN, reporter=reporter)
    return {path.name: path.read_bytes() for path in Path("out").iterdir()}


def learn(reporter: Reporter = SILENT) -> dict[str, bytes]:
    run_command("learn", LEARN, reporter)
    return {path.name: path.read_bytes() for path in Path("out").iterdir()}


class TestReruns:
    """What a killed run has left is damaged before the command is run again."""

    @pytest.mark.parametrize("num_damages", [24, pytest.param(2000, marks=pytest.mark.faults)])
    @pytest.mark.parametrize(("name", "run"), [("train-expert", train), ("learn", learn)])
    @pytest.mark.timeout(1800)
    def test_damage_is_refused_by_name_or_changes_nothing(
        self, tmp_path, monkeypatch, figure, name, run, num_damages
    ):
        monkeypatch.chdir(tmp_path)
        formats.write("few.safetensors", make_bundle(images=12))
        Path("out").mkdir()
        whole = run()
        shutil.rmtree("out")
        Path("out").mkdir()
        with pytest.raises(KeyboardInterrupt):
            run(Interrupt())
        Path("out").rename("killed")
        # A damaged checkpoint is refused when it is read.
        names = [path.name for path in Path("killed").iterdir() if path.suffix != ".safetensors"]
        names += [path.name for path in Path("killed").glob("whitening.*")]
        assert len(names) == (4 if run is train else 1)
        generator = random.Random(num_damages)
        counts = {"refused": 0, "harmless": 0}
        for number in range(num_damages):
            shutil.rmtree("out", ignore_errors=True)
            shutil.copytree("killed", "out")
            path = Path("out") / names[number % len(names)]
            content = path.read_bytes()
            path.write_bytes(damage(content, content, generator))
            files, error = read_damaged(lambda _: run(), path)
            if error is None:
                assert files == whole, path.name
                counts["harmless"] += 1
            else:
                assert path.name in error
                counts["refused"] += 1
        assert counts["refused"] > 0.8 * num_damages
        figure(f"{name}: reruns with damaged files", silent=0, **counts)
