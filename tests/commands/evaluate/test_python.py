"""`ddlabel.evaluate`: paths and objects give the same records as the command line."""

from __future__ import annotations

import shutil
from dataclasses import asdict
from pathlib import Path

import pytest
from listener import Listener
from samples import records
from students import easy_bundle

import ddlabel
from ddlabel.core.errors import IncompatibleError, InvalidInputError, UsageError

OPTIONS = {
    "net": "convnet-d1:width=4",
    "epochs": 2,
    "augment": "none",
    "seeds": 2,
    "precision": "fp32",
}
FLAGS = [f"--{name}={value}" for name, value in OPTIONS.items()]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch, expert) -> Path:
    monkeypatch.chdir(tmp_path)
    ddlabel.write("soft.safetensors", easy_bundle(9))
    ddlabel.write("other.safetensors", easy_bundle(9, seed=1))
    ddlabel.write("test.safetensors", easy_bundle(30, seed=4))
    ddlabel.write("real.safetensors", easy_bundle(60, seed=8))
    shutil.copytree(expert.folder, "expert")
    return tmp_path


def outcome(record) -> dict:
    """A record without the cost, which is measured, and without the names of files."""
    values = record if isinstance(record, dict) else asdict(record)
    return {
        name: value
        for name, value in values.items()
        if name not in ("cost", "sha256", "protocol_overridden", "origins")
    }


def without_names(value: dict) -> dict:
    """A cell's value without the names of files."""
    value["students"].pop("origins")
    for control in value.get("controls", {}).values():
        without_names(control)
    return value


class TestPathsAndObjects:
    def test_bundles_in_memory_are_as_their_files(self, folder):
        by_path = ddlabel.evaluate("soft.safetensors", test=Path("test.safetensors"), **OPTIONS)
        in_memory = ddlabel.evaluate(easy_bundle(9), test=easy_bundle(30, seed=4), **OPTIONS)
        read = ddlabel.evaluate(
            ddlabel.read("soft.safetensors"), test=ddlabel.read("test.safetensors"), **OPTIONS
        )
        expected = [outcome(record) for record in by_path.records]
        assert len(expected) == 2
        assert [outcome(record) for record in in_memory.records] == expected
        assert [outcome(record) for record in read.records] == expected

    def test_a_teacher_is_a_path_a_run_or_a_list_of_them(self, folder, expert):
        options = OPTIONS | {"labels": "online", "loss": "kl", "test": "test.safetensors"}
        teachers = ("expert", expert, [expert], [Path("expert")])
        outcomes = []
        for teacher in teachers:
            evaluation = ddlabel.evaluate("soft.safetensors", teacher=teacher, **options)
            outcomes.append([outcome(record) for record in evaluation.records])
        assert outcomes == 4 * [outcomes[0]]
        assert "teacher" in outcomes[0][0]["inputs"]

    def test_other_options_that_name_bundles_take_objects(self, folder):
        paths = {
            "against": "other.safetensors",
            "zca_from": "real.safetensors",
            "test": "test.safetensors",
        }
        objects = {name: ddlabel.read(path) for name, path in paths.items()}
        (by_path,) = ddlabel.evaluate("soft.safetensors", **paths, **OPTIONS).cells
        (by_object,) = ddlabel.evaluate("soft.safetensors", **objects, **OPTIONS).cells
        assert by_object.value() == by_path.value()
        assert by_path.against is not None

    def test_controls_take_objects(self, folder):
        options = OPTIONS | {"control": "random", "labels": "hard", "test": "test.safetensors"}
        real = easy_bundle(60, seed=8)
        (by_path,) = ddlabel.evaluate("soft.safetensors", real="real.safetensors", **options).cells
        (by_object,) = ddlabel.evaluate("soft.safetensors", real=real, **options).cells
        assert without_names(by_object.value()) == without_names(by_path.value())
        assert by_path.scores["IOR"].n == 2

    def test_a_bundle_that_was_read_from_a_file_has_its_name_in_the_record(self, folder):
        objects = {name: ddlabel.read(f"{name}.safetensors") for name in ("soft", "test")}
        evaluation = ddlabel.evaluate(objects["soft"], test=objects["test"], **OPTIONS)
        origins = evaluation.records[0].origins
        assert (origins["bundle"]["name"], origins["test"]["name"]) == (
            "soft.safetensors",
            "test.safetensors",
        )
        in_memory = ddlabel.evaluate(easy_bundle(9), test=objects["test"], **OPTIONS)
        assert "name" not in in_memory.records[0].origins["bundle"]


class TestCommandLine:
    def test_it_writes_the_records_that_python_returns(self, cli, folder):
        words = ["soft.safetensors", "--test", "test.safetensors", *FLAGS, "--loss", "ce,gift"]
        cli("evaluate", *words, "--out", "r.jsonl")
        evaluation = ddlabel.evaluate(
            easy_bundle(9), test=easy_bundle(30, seed=4), loss=["ce", "gift"], **OPTIONS
        )
        written = {record["key"]: outcome(record) for record in records(Path("r.jsonl"))}
        returned = {record.key: outcome(record) for record in evaluation.records}
        assert returned == written

    def test_python_continues_the_results_file_of_the_command_line(self, cli, folder):
        words = ["soft.safetensors", "--test", "test.safetensors", *FLAGS]
        cli("evaluate", *words, "--out", "r.jsonl")
        ddlabel.evaluate(
            easy_bundle(9), test=easy_bundle(30, seed=4), out="r.jsonl", **OPTIONS | {"seeds": 3}
        )
        assert [record["options"]["seed"] for record in records(Path("r.jsonl"))] == [0, 1, 2]


class TestReport:
    def test_every_student_is_reported(self, folder):
        listener = Listener()
        ddlabel.evaluate("soft.safetensors", test="test.safetensors", reporter=listener, **OPTIONS)
        assert [note.partition(":")[0] for note in listener.notes] == [
            "student 0",
            "student 1",
            "note",
        ]
        assert "the interval of 2 students" in listener.notes[-1]

    def test_nothing_is_printed(self, folder, capsys):
        ddlabel.evaluate("soft.safetensors", test="test.safetensors", **OPTIONS)
        assert capsys.readouterr() == ("", "")


def test_without_a_bundle_the_demos_digits_are_evaluated():
    evaluation = ddlabel.evaluate(**OPTIONS | {"seeds": 1, "epochs": 1})
    (record,) = evaluation.records
    assert evaluation.cells[0].options.labels == "hard"
    assert len(record.result["class_accuracy"]) == 10


class TestRefusals:
    @pytest.mark.parametrize(
        ("options", "error"),
        [
            ({"lose": "ce"}, UsageError),
            ({"loss": "cee"}, UsageError),
            ({"seeds": 0}, UsageError),
            ({"against": "nowhere.safetensors"}, InvalidInputError),
            ({"against": easy_bundle(9).of_classes([0, 1])}, IncompatibleError),
            ({"out": "r.csv"}, UsageError),
        ],
    )
    def test_they_are_the_command_lines_errors(self, folder, options, error):
        with pytest.raises(error):
            ddlabel.evaluate("soft.safetensors", **OPTIONS | {"test": "test.safetensors"} | options)
