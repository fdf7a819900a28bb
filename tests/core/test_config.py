"""The configs of the commands: bounds, and which of their options go together."""

from __future__ import annotations

import itertools
import math
from dataclasses import MISSING, fields
from pathlib import Path

import pytest

from ddlabel.core import config
from ddlabel.core.config import (
    CompressOptions,
    DensifyOptions,
    DescribeOptions,
    EvaluateOptions,
    ImportOptions,
    RefineOptions,
    RelabelOptions,
    RuntimeOptions,
    SelectOptions,
    SweepOptions,
    TrainExpertOptions,
    gift_batch_size,
)
from ddlabel.core.errors import UsageError
from ddlabel.core.options import Options

CONFIGS = [
    getattr(config, name)
    for name in config.__all__
    if isinstance(getattr(config, name), type) and issubclass(getattr(config, name), Options)
]


@pytest.fixture(params=CONFIGS, ids=lambda config: config.__name__)
def options_class(request):
    return request.param


class TestDeclarations:
    def test_every_option_has_a_help_text_and_a_default(self, options_class):
        for declared in fields(options_class):
            assert declared.metadata["help"]
            assert declared.default is not MISSING

    def test_defaults_go_together(self, options_class):
        options_class().check_together()

    def test_conditions_name_options_and_their_choices(self, options_class):
        declared = {field.name: field for field in fields(options_class)}
        for field in declared.values():
            conditions = field.metadata["conditions"]
            choices = field.metadata["choices"]
            if choices:
                assert set(conditions.needs) <= set(choices)
            all_of_them = (
                *conditions.only_with,
                *conditions.not_with,
                *itertools.chain.from_iterable(conditions.needs.values()),
            )
            for condition in all_of_them:
                other = declared[condition.name]
                assert other is not field
                if other.metadata["choices"]:
                    assert set(condition.values) <= set(other.metadata["choices"])

    def test_only_figures_of_evaluate_are_outside_the_key(self, options_class):
        expected = ["curve", "confusion", "reliability"] if options_class is EvaluateOptions else []
        assert options_class.figure_options() == expected

    def test_every_command_has_a_module_of_its_own(self):
        folder = Path(config.__file__).parent
        modules = {path.stem for path in folder.glob("*.py")} - {"__init__", "shared"}
        commands = {one for one in CONFIGS if one.__module__ != "ddlabel.core.config.shared"}
        assert {one.__module__.rpartition(".")[2] for one in commands} == modules
        assert len(modules) == len(commands)


@pytest.mark.parametrize(
    ("options_class", "values", "flag"),
    [
        (RefineOptions, {"gamma": 1.5}, "--gamma"),
        (RefineOptions, {"alpha": -0.1}, "--alpha"),
        (RefineOptions, {"gamma": math.nan}, "--gamma"),
        (DensifyOptions, {"temperature": 0.0}, "--temperature"),
        (RelabelOptions, {"trials": 0}, "--trials"),
        (EvaluateOptions, {"labels": "sotf"}, "'soft'"),
        (EvaluateOptions, {"ema": 1.0}, "--ema"),
        (TrainExpertOptions, {"save_every": 0.0}, "--save-every"),
        (CompressOptions, {"budget": "40"}, "--budget"),
        (CompressOptions, {"budget": "0%"}, "--budget"),
        (CompressOptions, {"budget": "inf%"}, "--budget"),
    ],
)
def test_value_out_of_bounds_is_refused(options_class, values, flag):
    with pytest.raises(UsageError, match=flag):
        options_class(**values)


TRIAL = {"epoch": "auto", "real": "real.h5"}
TOGETHER = [
    (ImportOptions, {"mean": "0.5", "std": "0.2"}),
    (ImportOptions, {"pixels": "normalised", "mean": "0.5", "std": "0.2"}),
    (ImportOptions, {"pixels": "normalised", "normalise": "imagenet"}),
    (ImportOptions, {"pixels": "zca", "zca_from": "real.h5"}),
    (SelectOptions, {"epoch": "3", "expert": ("run",)}),
    (RelabelOptions, TRIAL | {"trial_net": "mlp", "trial_steps": 3, "trials": 2}),
    (RelabelOptions, {"epoch": "last", "temperature": "auto", "real": "real.h5"}),
    (DensifyOptions, TRIAL),
    (RefineOptions, {"gamma": "auto", "real": "real.h5"}),
    (DescribeOptions, {"expert": ("run",)}),
    (CompressOptions, {"budget": "1%", "prune": "random", "field": "dense"}),
    (EvaluateOptions, {"select": "val", "holdout": 0.3, "checks": 3}),
    (EvaluateOptions, {"select": "best-on-test", "checks": 3}),
    (EvaluateOptions, {"control": "scores", "real": "real.h5", "real_epochs": 3}),
    (EvaluateOptions, {"labels": "dense", "dense_batches": "sum", "dense_loss": "kl"}),
    (EvaluateOptions, {"labels": "online", "teacher": ("run",), "teacher_epoch": "3"}),
    (EvaluateOptions, {"labels": "soft", "mix": "cutmix"}),
    (EvaluateOptions, {"bundle": "few.h5", "test": "test.h5"}),
    (SweepOptions, {"ray": True, "ray_address": "auto", "cpus_per_cell": 2, "gpus_per_cell": 0.5}),
]
APART = [
    (ImportOptions, {"mean": "0.5"}, "--mean"),
    (ImportOptions, {"std": "0.2"}, "--std"),
    (ImportOptions, {"pixels": "normalised"}, "--mean"),
    (ImportOptions, {"normalise": "imagenet", "mean": "0.5", "std": "1"}, "--normalise"),
    (TrainExpertOptions, {"normalise": "imagenet", "zca": True}, "--normalise"),
    (ImportOptions, {"pixels": "zca"}, "--zca-from"),
    (ImportOptions, {"pixels": "unit", "zca_from": "real.h5"}, "--zca-from"),
    (SelectOptions, {"epoch": "3"}, "--epoch"),
    (RelabelOptions, {"epoch": "last", "real": "real.h5"}, "--real"),
    (RelabelOptions, {"temperature": "auto"}, "--temperature"),
    (RelabelOptions, {"trial_net": "mlp"}, "--trial-net"),
    (DensifyOptions, {"trial_steps": 3}, "--trial-steps"),
    (RefineOptions, {"trials": 2}, "--trials"),
    (RefineOptions, {"gamma": "auto"}, "--gamma"),
    (RefineOptions, {"real": "real.h5"}, "--real"),
    (DescribeOptions, {"expert": ("run",), "field": "dense"}, "--expert"),
    (CompressOptions, {"budget": "1%", "codec": "uint8"}, "--budget"),
    (CompressOptions, {"prune": "random", "field": "soft"}, "--prune"),
    (EvaluateOptions, {"holdout": 0.3}, "--holdout"),
    (EvaluateOptions, {"holdout": 0.3, "select": "best-on-test"}, "--holdout"),
    (EvaluateOptions, {"checks": 3}, "--checks"),
    (EvaluateOptions, {"control": "random"}, "--control"),
    (EvaluateOptions, {"real": "real.h5"}, "--real"),
    (EvaluateOptions, {"real_epochs": 3}, "--real-epochs"),
    (
        EvaluateOptions,
        {"control": "random", "real": "real.h5", "real_epochs": 3},
        "--real-epochs",
    ),
    (EvaluateOptions, {"labels": "soft", "dense_batches": "sum"}, "--dense-batches"),
    (EvaluateOptions, {"labels": "hard", "global_labels": "none"}, "--global-labels"),
    (EvaluateOptions, {"labels": "online", "teacher": ("r",), "dense_loss": "kl"}, "--dense-loss"),
    (EvaluateOptions, {"labels": "online"}, "--teacher"),
    (EvaluateOptions, {"teacher_epoch": "3"}, "--teacher-epoch"),
    (EvaluateOptions, {"labels": "hard", "mix": "cutmix"}, "--mix"),
    (EvaluateOptions, {"labels": "dense", "mix": "cutmix", "dense_loss": "kl"}, "--mix"),
    (EvaluateOptions, {"bundle": "few.h5"}, "--test"),
    (EvaluateOptions, {"test": "test.h5"}, "BUNDLE"),
    (SweepOptions, {"ray_address": "auto"}, "--ray-address"),
    (SweepOptions, {"cpus_per_cell": 2}, "--cpus-per-cell"),
    (SweepOptions, {"gpus_per_cell": 0.5}, "--gpus-per-cell"),
]


@pytest.mark.parametrize(("options_class", "values"), TOGETHER)
def test_options_that_go_together_are_accepted(options_class, values):
    options_class(**values).check_together()


@pytest.mark.parametrize(("options_class", "values", "flag"), APART)
def test_options_that_do_not_go_together_are_refused(options_class, values, flag):
    with pytest.raises(UsageError, match=flag):
        options_class(**values).check_together()


@pytest.mark.parametrize("name", ["dense_batches", "global_labels", "dense_loss"])
def test_options_for_views_wait_until_the_labels_are_known(name):
    value = {"dense_batches": "sum", "global_labels": "none", "dense_loss": "kl"}[name]
    EvaluateOptions(**{name: value}).check_together()


def test_options_only_with_a_condition_are_listed_with_their_defaults():
    assert EvaluateOptions.only_with("labels=dense") == {
        "dense_batches": "mix",
        "global_labels": "auto",
        "dense_loss": None,
    }


def test_runtime_settings_are_what_another_config_needs_to_run_alike():
    options = EvaluateOptions(device="cpu", precision="fp32", compile="off", epochs=3)
    settings = options.runtime_settings
    assert settings == {"device": "cpu", "compile": "off", "precision": "fp32"}
    assert (
        RelabelOptions(**settings).runtime_settings == RuntimeOptions(**settings).runtime_settings
    )


@pytest.mark.parametrize(
    ("num_images", "batch_size"),
    [(1, 10), (10, 10), (11, 50), (500, 50), (501, 100), (20_000, 100), (20_001, 200)],
)
def test_gift_batch_size_is_table_15s(num_images, batch_size):
    assert gift_batch_size(num_images) == batch_size
