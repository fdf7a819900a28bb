"""Expert runs, resume states and sweeps: killed anywhere, damaged anywhere, trained twice."""

from __future__ import annotations

import random
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fault_programs import figures_of
from mutations import damage
from run_programs import LEARN, TRAIN
from samples import make_bundle

from ddlabel.commands.execute import run_command
from ddlabel.commands.reporter import SILENT, Reporter
from ddlabel.commands.train_expert import train_expert
from ddlabel.core.errors import InvalidInputError
from ddlabel.data import formats


def run_program(name: str, folder: Path, *words: str | int) -> dict[str, int]:
    """Run a program of `run_programs` and return its figures."""
    return figures_of([sys.executable, "-m", "run_programs", name, str(folder), *map(str, words)])


class TestKills:
    @pytest.mark.parametrize("name", ["train-expert", "learn", "sweep"])
    def test_a_command_killed_at_any_call_is_finished_by_the_next_run(self, tmp_path, figure, name):
        counts = run_program("kills", tmp_path, name)
        assert counts["kills"] > 20
        figure(f"{name}: killed at every call", **counts)

    def test_a_run_that_is_killed_again_and_again_is_finished(self, tmp_path, figure):
        counts = run_program("kill_reruns", tmp_path, "train-expert")
        assert counts["kills"] >= 8
        figure("train-expert: reruns killed too", **counts)

    @pytest.mark.parametrize("num_kills", [10, pytest.param(50, marks=pytest.mark.faults)])
    def test_a_run_killed_at_random_moments_is_finished(self, tmp_path, figure, num_kills):
        counts = run_program("kill_at_moments", tmp_path, "train-expert", num_kills)
        figure("train-expert: killed at random moments", **counts)


class TestTwoWriters:
    def test_the_second_is_refused_and_takes_over_when_the_first_is_dead(self, tmp_path, figure):
        counts = run_program("two_writers", tmp_path)
        figure("train-expert: another process trains the run", **counts)


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
