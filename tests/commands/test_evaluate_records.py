"""Which records in a results file serve a student, and which students are trained again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from samples import TINY, make_bundle, records

from ddlabel.commands.evaluate.experiment import Experiment
from ddlabel.commands.evaluate.records import has_figures, key_of, key_of_record, record_of
from ddlabel.core.config import EvaluateOptions

OUT = Path("results.jsonl")


def experiment(**options) -> Experiment:
    bundle = make_bundle()
    return Experiment(
        bundle=lambda _: bundle,
        test=bundle,
        options=EvaluateOptions(**options),
        digests={"bundle": "b", "test": "t"},
    )


class TestKey:
    def test_figures_asked_for_are_in_the_record_but_not_in_the_key(self):
        plain, curve = experiment(), experiment(curve=True)
        assert key_of(plain, 3) == key_of(curve, 3)
        assert record_of(plain, 3)["options"]["curve"] is False
        assert record_of(curve, 3)["options"]["curve"] is True

    @pytest.mark.parametrize(
        "options", [{"epochs": 3}, {"loss": "kl"}, {"protocol": "gift"}, {"select": "val"}]
    )
    def test_option_that_changes_the_student_is_in_the_key(self, options):
        assert key_of(experiment(), 0) != key_of(experiment(**options), 0)

    def test_seed_role_and_inputs_are_in_the_key(self):
        one = experiment()
        others = [
            key_of(one, 1),
            key_of(replace(one, role="random"), 0),
            key_of(replace(one, digests=one.digests | {"test": "other"}), 0),
        ]
        assert key_of(one, 0) not in others

    def test_number_of_seeds_is_not_in_the_key(self):
        assert key_of(experiment(seeds=2), 0) == key_of(experiment(seeds=5), 0)

    @pytest.mark.parametrize("options", [{}, {"curve": True}, {"protocol": "ladd", "epochs": 3}])
    def test_key_is_read_off_the_record(self, options):
        one = experiment(**options)
        record = record_of(one, 3) | {"result": {"accuracy": 0.5}, "cost": {"seconds": 1}}
        assert key_of_record(record) == key_of(one, 3)


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
        assert has_figures(result, EvaluateOptions(**options)) is expected


class TestCommand:
    @pytest.fixture
    def evaluate(self, cli, digits):
        """Evaluate one student with more flags; returns how many records were added."""

        def run(*flags: str) -> int:
            before = len(records(OUT)) if OUT.exists() else 0
            words = ["few.safetensors", "--test", "test.safetensors", *TINY, "--seeds", 1]
            cli("evaluate", *words, "--precision", "fp32", "--out", OUT, *flags)
            return len(records(OUT)) - before

        return run

    def test_student_without_the_figure_is_trained_again_and_once_only(self, evaluate):
        assert evaluate() == 1
        assert evaluate("--curve") == 1
        assert evaluate("--curve") == 0
        first, second = records(OUT)
        assert len(second["result"].pop("curve")["loss"]) == 2
        assert first["result"] == second["result"]

    def test_record_with_more_figures_serves(self, evaluate):
        assert evaluate("--curve", "--confusion") == 1
        assert evaluate() == 0
        assert evaluate("--curve") == 0
        assert evaluate("--confusion") == 0

    def test_record_with_the_figure_serves_although_a_later_one_lacks_it(self, evaluate):
        assert evaluate("--curve") == 1
        assert evaluate("--confusion") == 1
        assert evaluate("--curve") == 0

    def test_other_option_is_another_student(self, evaluate):
        assert evaluate() == 1
        assert evaluate("--loss", "ce") == 1
