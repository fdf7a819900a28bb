"""Records of students: what identifies one, and which are trained again."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import pytest
from samples import TINY, make_bundle, records

import ddlabel
from ddlabel.commands.evaluate.experiment import Experiment
from ddlabel.commands.evaluate.records import has_figures, student_key, student_record
from ddlabel.commands.reporter import Reporter
from ddlabel.core import protocols
from ddlabel.core.config import EvaluateOptions
from ddlabel.data.record import Record, begins_as_record

OUT = Path("results.jsonl")


def experiment(**options) -> Experiment:
    bundle = make_bundle()
    return Experiment.of(
        bundle,
        test=bundle,
        options=EvaluateOptions(**options),
        digests={"bundle": "b", "test": "t"},
        preset=protocols.preset(options.get("protocol")),
    )


def record(result: dict | None = None, **options) -> Record:
    figures = {"accuracy": 0.5} | (result or {})
    return student_record(experiment(**options), 3, result=figures, cost={"seconds": 1.0})


class TestKey:
    def test_options_that_only_add_figures_are_not_in_it(self):
        assert student_key(experiment(), 3) == student_key(experiment(curve=True), 3)

    @pytest.mark.parametrize(
        "options", [{"epochs": 3}, {"loss": "kl"}, {"protocol": "gift"}, {"select": "val"}]
    )
    def test_options_that_change_the_student_are_in_it(self, options):
        assert student_key(experiment(), 0) != student_key(experiment(**options), 0)

    def test_seed_role_and_inputs_are_in_it(self):
        one = experiment()
        keys = {
            student_key(one, 0),
            student_key(one, 1),
            student_key(replace(one, role="random"), 0),
            student_key(replace(one, digests=one.digests | {"test": "other"}), 0),
        }
        assert len(keys) == 4

    @pytest.mark.parametrize("options", [{"seeds": 2}, {"stack": 2.0}, {"device": "cpu"}])
    def test_options_that_do_not_change_the_student_are_not_in_it(self, options):
        assert student_key(experiment(), 0) == student_key(experiment(**options), 0)


class TestRecord:
    def test_it_has_the_key_and_the_options_of_one_student(self):
        made = record(curve=True, seeds=5)
        assert made.kind == "student"
        assert made.key == student_key(experiment(), 3)
        assert made.version == ddlabel.__version__
        assert made.inputs == {"bundle": "b", "test": "t"}
        assert made.role == "own"
        assert made.options["seed"] == 3
        assert made.options["curve"] is True
        assert not {"seeds", "out", "device"} & made.options.keys()

    def test_presets_that_an_option_replaced_are_named(self):
        made = record(protocol="label-worth", epochs=3)
        assert made.protocol_overridden["epochs"] == 3000
        assert record().protocol_overridden == {}

    def test_it_is_read_as_it_was_written(self):
        made = record(protocol="label-worth", epochs=3)
        assert Record.from_json(made.to_json()) == made

    def test_whatever_fields_it_has_a_part_of_it_is_known_as_one(self):
        complete = replace(
            record(protocol="label-worth", epochs=3),
            origins={"bundle": {"name": "soft.h5", "images": 2, "classes": 2, "made_by": ["x"]}},
        )
        line = complete.to_json().encode()
        assert all(begins_as_record(line[:size]) for size in range(1, len(line)))


class TestHasFigures:
    @pytest.mark.parametrize(
        ("result", "options", "expected"),
        [
            ({}, {}, True),
            ({}, {"curve": True}, False),
            ({"curve": {}}, {"curve": True}, True),
            ({"curve": {}}, {"curve": True, "confusion": True}, False),
            ({"curve": {}, "confusion": []}, {"confusion": True}, True),
            ({"steps": [{"curve": {}}, {"curve": {}}]}, {"curve": True}, True),
            ({"steps": [{"curve": {}}, {}]}, {"curve": True}, False),
        ],
    )
    def test_every_figure_asked_for_must_be_there(self, result, options, expected):
        assert has_figures(record(result), EvaluateOptions(**options)) is expected


class TestResultsFile:
    @pytest.fixture
    def evaluate(self, cli, digits):
        """Evaluate one student with more flags; returns how many records were added."""

        def run(*flags: str) -> int:
            before = len(records(OUT)) if OUT.exists() else 0
            words = ["few.safetensors", "--test", "test.safetensors", *TINY, "--seeds", 1]
            cli("evaluate", *words, "--out", OUT, *flags)
            return len(records(OUT)) - before

        return run

    def test_a_student_without_the_figure_is_trained_again_and_once_only(self, evaluate):
        assert evaluate() == 1
        assert evaluate("--curve") == 1
        assert evaluate("--curve") == 0
        first, second = records(OUT)
        assert len(second["result"].pop("curve")["loss"]) == 2
        assert first["result"] == second["result"]
        assert first["key"] == second["key"]

    def test_a_record_with_more_figures_serves(self, evaluate):
        assert evaluate("--curve", "--confusion") == 1
        assert evaluate() == 0
        assert evaluate("--curve") == 0
        assert evaluate("--confusion") == 0

    def test_a_record_with_the_figure_serves_although_a_later_one_lacks_it(self, evaluate):
        assert evaluate("--curve") == 1
        assert evaluate("--confusion") == 1
        assert evaluate("--curve") == 0

    def test_another_option_is_another_student(self, evaluate):
        assert evaluate() == 1
        assert evaluate("--loss", "ce") == 1

    def test_a_line_has_the_fields_of_a_record(self, evaluate):
        evaluate()
        (line,) = records(OUT)
        optional = {"protocol_overridden"}
        assert set(line) == set(asdict(record())) - optional | {"sha256"}

    @pytest.mark.parametrize("text", ['{"result":{"accuracy":9.2,"loss":1}}', "hello"])
    def test_a_file_of_something_else_is_refused(self, cli, digits, text):
        OUT.write_text(text + "\n")
        words = ["few.safetensors", "--test", "test.safetensors", *TINY]
        assert b"results.jsonl" in cli("evaluate", *words, "--out", OUT, code=3).err
        assert OUT.read_text() == text + "\n"

    def test_a_file_of_another_suffix_is_refused(self, cli, digits):
        words = ["few.safetensors", "--test", "test.safetensors", *TINY]
        assert b"--out" in cli("evaluate", *words, "--out", "results.json", code=2).err


class Neighbour(Reporter):
    """Another process that finishes students of the same results file during our first training."""

    def __init__(self, finished: bytes) -> None:
        self.finished = finished
        self.num_trainings = 0
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)

    def progress(self, steps):
        self.num_trainings += 1
        if self.num_trainings == 1:
            with OUT.open("ab") as file:
                file.write(self.finished)
        return steps


class TestSeveralProcesses:
    @pytest.fixture
    def evaluate(self, digits):
        """Evaluate four students while a neighbour finishes some of them."""
        settings = {"net": "convnet-d1:width=4", "epochs": 2, "precision": "fp32"}

        def run(finished: bytes = b"") -> Neighbour:
            neighbour = Neighbour(finished)
            ddlabel.evaluate(
                "few.safetensors",
                test="test.safetensors",
                seeds=4,
                out=OUT,
                reporter=neighbour,
                **settings,
            )
            return neighbour

        return run

    def test_students_that_others_have_finished_meanwhile_are_not_trained(self, evaluate):
        assert evaluate().num_trainings == 4
        lines = OUT.read_bytes().splitlines(keepends=True)
        accuracies = [line["result"]["accuracy"] for line in records(OUT)]
        OUT.unlink()
        assert evaluate(b"".join(lines[1:3])).num_trainings == 2
        by_seed = {line["options"]["seed"]: line["result"]["accuracy"] for line in records(OUT)}
        assert len(records(OUT)) == 4
        assert [by_seed[seed] for seed in range(4)] == accuracies

    def test_a_student_that_others_have_finished_first_is_not_written_again(self, evaluate):
        evaluate()
        lines = OUT.read_bytes().splitlines(keepends=True)
        OUT.unlink()
        neighbour = evaluate(lines[0])
        assert neighbour.num_trainings == 4
        assert sorted(line["options"]["seed"] for line in records(OUT)) == [0, 1, 2, 3]
        assert OUT.read_bytes().startswith(lines[0])
        assert sum("another process" in note for note in neighbour.notes) == 1

    def test_a_broken_line_is_named_and_its_student_trained_again(self, evaluate):
        evaluate()
        lines = OUT.read_bytes().splitlines(keepends=True)
        lines[1] = lines[1].replace(b'"seed":1', b'"seed":7')
        OUT.write_bytes(b"".join(lines))
        neighbour = evaluate()
        assert neighbour.num_trainings == 1
        assert any(note.startswith(f"{OUT}, line 2: ") for note in neighbour.notes)
        assert len(records(OUT)) == 5
