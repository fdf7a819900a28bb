"""Outputs that a killed run has made: recorded or finished, unless they are something else."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from grids import RELABEL, changed
from listener import Listener
from samples import FIXTURES, make_bundle, records

from ddlabel.commands.execute import Call, prepare_call, run_command
from ddlabel.commands.sweep import sweep
from ddlabel.core.errors import OutputExistsError, SweepError
from ddlabel.data import formats
from ddlabel.data.labels import Labels
from ddlabel.data.schema import LabelMeta

OUT = Path("sweep.jsonl")
EXPERT = {
    "command": "train-expert",
    "options": {
        "real": "few.safetensors",
        "net": "convnet-d1:width=4",
        "epochs": 1,
        "precision": "fp32",
        "out": "run-{seed}",
    },
    "axes": {"seed": [0, 1]},
}
LEARN = {
    "bundle": "few.safetensors",
    "real": "real.safetensors",
    "out": "learned.safetensors",
    "net": "convnet-d1:width=4",
    "method": "bptt:steps=2,window=1,real-batch=9",
    "iterations": 2,
    "save_every": 1,
}
# A command of every kind of input, with its options.
CALLS = {
    "import": {"sources": ["a.npz"], "out": "out.h5"},
    "select": {"bundle": "real.safetensors", "ipc": 1, "out": "out.h5"},
    "select by an expert": {
        "bundle": "real.safetensors",
        "ipc": 1,
        "method": "cross-entropy",
        "expert": "expert@1",
        "out": "out.h5",
    },
    "relabel": {"bundle": "few.safetensors", "expert": "expert", "out": "out.h5"},
    "densify": {
        "bundle": "few.safetensors",
        "expert": "expert",
        "epoch": "last",
        "views": "grid:n=2,r=0.5",
        "out": "out.safetensors",
    },
    "edit": {"bundle": "few.safetensors", "without_class": "3", "out": "out.h5"},
    "edit of the order of classes": {
        "bundle": "few.safetensors",
        "class_order": "9,8,7,6,5,4,3,2,1,0",
        "out": "out.h5",
    },
    "compress": {"bundle": "soft.safetensors", "codec": "float16", "out": "out.h5"},
    "learn": LEARN,
}


def without_seconds(lines: list[dict]) -> list[dict]:
    return [line | {"cost": None, "sha256": None} for line in lines]


def _unless_named(name: str, instead):
    """`Path.unlink`, or `instead` for a file of this name."""
    unlink = Path.unlink

    def function(path: Path, **options):
        return instead() if path.name == name else unlink(path, **options)

    return function


class TestSweep:
    @pytest.mark.parametrize("grid", [RELABEL, EXPERT], ids=["relabel", "train-expert"])
    def test_an_output_without_a_record_is_recorded_and_not_made_again(self, digits, grid):
        sweep(grid)
        before = records(OUT)
        OUT.write_bytes(OUT.read_bytes().splitlines(keepends=True)[0])
        made = {path: path.stat().st_mtime_ns for path in Path().rglob("*[0-9]*") if path != OUT}
        listener = Listener()
        result = sweep(grid, reporter=listener)
        assert result.num_run == 0
        assert without_seconds(records(OUT)) == without_seconds(before)
        assert {path: path.stat().st_mtime_ns for path in made} == made
        assert any("killed" in note for note in listener.notes)
        assert sweep(grid).num_run == 0

    def test_a_cell_that_another_sweep_has_made_meanwhile_is_recorded(self, digits, monkeypatch):
        sweep(RELABEL)
        OUT.unlink()
        adopt = Call.adopt
        looked = []

        def adopt_late(call: Call):
            looked.append(call.out)
            return None if looked.count(call.out) == 1 else adopt(call)

        monkeypatch.setattr(Call, "adopt", adopt_late)
        assert sweep(RELABEL).num_run == 0
        assert len(records(OUT)) == len(set(looked)) == len(looked) / 2

    def test_an_expert_of_other_images_is_refused(self, digits):
        sweep(EXPERT)
        OUT.unlink()
        formats.write("few.safetensors", make_bundle(images=30), force=True)
        with pytest.raises(SweepError) as failed:
            sweep(EXPERT)
        assert all("run-" in error for error in failed.value.result.failures.values())
        assert len(failed.value.result.failures) == 2

    def test_an_expert_whose_accuracies_are_of_other_test_images_is_refused(self, digits):
        sweep(EXPERT)
        OUT.unlink()
        with pytest.raises(SweepError):
            sweep(changed(EXPERT, options={"test": "test.safetensors"}))

    def test_an_output_of_another_seed_or_a_damaged_one_is_refused(self, digits):
        grid = {
            "command": "select",
            "options": {"bundle": "real.safetensors", "ipc": 1, "out": "{seed}.safetensors"},
            "axes": {"seed": [0, 1]},
        }
        sweep(grid)
        OUT.unlink()
        shutil.copy("0.safetensors", "1.safetensors")
        content = bytearray(Path("0.safetensors").read_bytes())
        content[-1] ^= 1
        Path("0.safetensors").write_bytes(content)
        with pytest.raises(SweepError) as failed:
            sweep(grid)
        assert list(failed.value.result.failures) == ["seed=0", "seed=1"]


class TestAdopt:
    @pytest.fixture(autouse=True)
    def more_files(self, digits):
        shutil.copy(FIXTURES / "digits.npz", "a.npz")
        few = formats.read("few.safetensors")
        logits = np.arange(200, dtype=np.float32).reshape(20, 10)
        soft = Labels(values=logits, meta=LabelMeta(space="logits"))
        formats.write("soft.safetensors", few.with_labels("soft", soft))

    @pytest.mark.parametrize("name", CALLS)
    def test_every_command_knows_its_own_output(self, name):
        call = prepare_call(name.split()[0], CALLS[name])
        assert call.adopt() is None
        written = call.run()
        assert call.adopt() == written
        forced = prepare_call(name.split()[0], CALLS[name] | {"force": True})
        assert forced.adopt() is None

    @pytest.mark.parametrize("name", CALLS)
    def test_an_output_of_other_inputs_is_not_taken(self, name):
        call = prepare_call(name.split()[0], CALLS[name])
        call.run()
        if name == "import":
            with Path("a.npz").open("ab") as file:
                file.write(b"\0")
        else:
            path = CALLS[name]["bundle"]
            bundle = formats.read(path)
            formats.write(path, replace(bundle, images=bundle.images ^ 1), force=True)
        assert call.adopt() is None


class TestLearn:
    def test_a_run_killed_after_its_output_was_written_finishes(self, digits, monkeypatch):
        def killed(*_):
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(Path, "unlink", _unless_named("learned.safetensors.resume", killed))
            with pytest.raises(KeyboardInterrupt):
                run_command("learn", LEARN)
        content = Path("learned.safetensors").read_bytes()
        assert Path("learned.safetensors.resume").exists()
        listener = Listener()
        value = run_command("learn", LEARN, listener)
        assert value["digest"] == formats.read_header("learned.safetensors").digest
        assert any("learned.safetensors.resume" in note for note in listener.notes)
        assert Path("learned.safetensors").read_bytes() == content
        assert not Path("learned.safetensors.resume").exists()
        with pytest.raises(OutputExistsError):
            run_command("learn", LEARN)

    def test_another_output_beside_a_state_is_refused_and_both_stay(self, digits):
        run_command("learn", LEARN | {"iterations": 1})
        Path("learned.safetensors.resume").write_bytes(b"a state")
        with pytest.raises(OutputExistsError):
            run_command("learn", LEARN)
        assert Path("learned.safetensors.resume").read_bytes() == b"a state"

    def test_a_run_whose_output_another_process_was_first_to_write_leaves_no_state(
        self, digits, monkeypatch
    ):
        written = formats.write

        def write_second(*words, **options):
            written(*words, **options)
            return written(*words, **options)

        monkeypatch.setattr(formats, "write", write_second)
        with pytest.raises(OutputExistsError):
            run_command("learn", LEARN)
        assert Path("learned.safetensors").exists()
        assert not Path("learned.safetensors.resume").exists()
