"""Checking the inputs and options of a command by name, and running it from files to files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from listener import Listener
from samples import make_bundle

from ddlabel.commands.execute import prepare_call, run_command
from ddlabel.core.errors import (
    InvalidInputError,
    OutputExistsError,
    StorageError,
    UsageError,
)
from ddlabel.data import formats

COMPRESS = {"bundle": "in.safetensors", "out": "out.safetensors"}
LEARN = {
    "bundle": "few.safetensors",
    "real": "real.safetensors",
    "net": "convnet-d1:width=4",
    "method": "bptt:steps=2,window=1,real-batch=9",
    "iterations": 4,
    "save_every": 1,
}
RELABEL = {"bundle": "in.safetensors", "out": "out.safetensors", "expert": "run"}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    formats.write("in.safetensors", make_bundle())


class TestPrepareCall:
    def test_separates_inputs_options_and_output(self):
        call = prepare_call("relabel", RELABEL | {"temperature": 2, "force": True})
        assert call.inputs == {"bundle": "in.safetensors"}
        assert call.out == "out.safetensors"
        assert call.force
        assert (call.options.expert, call.options.temperature) == (("run",), 2.0)

    def test_options_with_axes_become_one_config_for_each_combination(self):
        values = {"bundle": "a.h5", "test": "b.h5", "loss": ["ce", "kl"], "optimizer": "sgd,adamw"}
        call = prepare_call("evaluate", values)
        combinations = [(config.loss, config.optimizer) for config in call.options]
        assert combinations == [("ce", "sgd"), ("ce", "adamw"), ("kl", "sgd"), ("kl", "adamw")]
        assert call.out is None

    def test_paths_and_numbers_become_text_where_text_is_expected(self):
        values = {"bundle": Path("in.safetensors"), "out": Path("out.h5"), "without_class": 3}
        call = prepare_call("edit", values)
        assert (call.inputs["bundle"], call.out) == ("in.safetensors", "out.h5")
        assert call.options.without_class == "3"

    def test_sources_of_import_may_be_several(self):
        for sources in ("a.npz", ["a.npz"]):
            values = {"sources": sources, "out": "out.h5"}
            assert prepare_call("import", values).inputs["sources"] == sources

    def test_options_are_read_from_a_config_file_too(self):
        Path("run.toml").write_text("temperature = 2.0\n[relabel]\nensemble = 'probs'\n")
        call = prepare_call("relabel", RELABEL | {"config": "run.toml", "temperature": 3})
        assert (call.options.ensemble, call.options.temperature) == ("probs", 3.0)

    @pytest.mark.parametrize(
        ("name", "values", "named"),
        [
            ("relable", {}, "relabel"),
            ("relabel", RELABEL | {"temprature": 2}, "temperature"),
            ("relabel", RELABEL | {"epoch": ["1", "2"]}, "epoch"),
            ("relabel", RELABEL | {"bundle": ["a.h5", "b.h5"]}, "bundle"),
            ("relabel", RELABEL | {"temperature": 0}, "--temperature"),
            ("relabel", RELABEL | {"force": "yes"}, "force"),
            ("relabel", {"bundle": "in.safetensors"}, "out"),
            ("relabel", {"out": "out.h5"}, "bundle"),
            ("info", {"path": "in.safetensors", "out": "out.h5"}, "out"),
            ("train-expert", {"real": "in.safetensors", "out": "run", "epochs": 2.5}, "epochs"),
            ("train-expert", {"real": "in.safetensors", "out": "run", "epochs": True}, "epochs"),
        ],
    )
    def test_refuses_values_that_the_command_line_would_refuse(self, name, values, named):
        with pytest.raises(UsageError, match=named):
            prepare_call(name, values)

    def test_refuses_a_config_file_that_cannot_be_read(self):
        with pytest.raises(InvalidInputError, match=r"missing\.toml"):
            prepare_call("relabel", RELABEL | {"config": "missing.toml"})


class TestRunCommand:
    def test_writes_a_bundle_and_returns_what_json_prints(self, cli):
        formats.write("in.safetensors", make_bundle(), force=True)
        value = run_command("compress", COMPRESS | {"codec": "float16"})
        assert formats.read("out.safetensors").soft.values.dtype == "float16"
        words = ["compress", "in.safetensors", "same.safetensors", "--codec", "float16", "--json"]
        assert value | {"out": "same.safetensors"} == json.loads(cli(*words).out)

    def test_replaces_an_output_only_with_force(self):
        run_command("compress", COMPRESS)
        with pytest.raises(OutputExistsError):
            run_command("compress", COMPRESS)
        value = run_command("compress", COMPRESS | {"force": True, "codec": "float16"})
        assert value["digest"] == formats.read_header("out.safetensors").digest

    def test_returns_what_json_prints_for_commands_without_output(self, cli):
        formats.write("in.safetensors", make_bundle(), force=True)
        for name in ("info", "check", "describe"):
            argument = "path" if name == "info" else "bundle"
            value = run_command(name, {argument: "in.safetensors"})
            assert value == json.loads(cli(name, "in.safetensors", "--json").out)
        assert run_command("list", {"kind": "codecs"}) == json.loads(
            cli("list", "codecs", "--json").out
        )

    def test_returns_one_value_for_one_expert_and_a_list_for_several(self, digits):
        tiny = {"real": "few.safetensors", "net": "convnet-d1:width=4", "epochs": 1}
        one = run_command("train-expert", tiny | {"out": "one", "precision": "fp32"})
        assert (one["out"], len(one["checkpoints"])) == ("one", 1)
        values = tiny | {"out": "two", "experts": 2, "precision": "fp32"}
        two = run_command("train-expert", values)
        assert [value["out"] for value in two] == ["two/expert-0", "two/expert-1"]


class TestResume:
    def test_a_run_that_failed_late_goes_on_from_the_file_beside_its_output(
        self, digits, monkeypatch
    ):
        run_command("learn", LEARN | {"out": "whole.safetensors"})

        def fail(path, bundle, *, force):
            raise StorageError("the disk is full")

        with monkeypatch.context() as patch:
            patch.setattr(formats, "write", fail)
            with pytest.raises(StorageError):
                run_command("learn", LEARN | {"out": "late.safetensors"})
        assert Path("late.safetensors.resume").exists()
        reporter = Listener()
        run_command("learn", LEARN | {"out": "late.safetensors"}, reporter)
        assert any("late.safetensors.resume" in note for note in reporter.notes)
        assert not Path("late.safetensors.resume").exists()
        assert Path("late.safetensors").read_bytes() == Path("whole.safetensors").read_bytes()
