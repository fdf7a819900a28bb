"""Registry, specs, config, random streams, optimizers, schedules, statistics."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from scipy import stats
from scipy.stats import entropy as scipy_entropy

from ddlabel.core import protocols, rng
from ddlabel.core.config import (
    DensifyOptions,
    EvaluateOptions,
    RefineOptions,
    RelabelOptions,
    TrainExpertOptions,
    gift_batch_size,
)
from ddlabel.core.errors import InvalidInputError, UsageError
from ddlabel.core.registry import Registry, parse_spec
from ddlabel.methods.losses import losses
from ddlabel.methods.metrics import entropy, summarise
from ddlabel.methods.optimizers import optimizers
from ddlabel.methods.schedules import schedules


class TestSpecs:
    def test_a_spec_sets_options_by_their_types(self):
        assert losses.resolve("kl:temperature=20,scale=false").keywords == {
            "temperature": 20.0,
            "scale": False,
        }

    @pytest.mark.parametrize(
        ("spec", "message"),
        [
            ("kll", "did you mean 'kl'"),
            ("kl:temprature=2", "did you mean 'temperature'"),
            ("kl:temperature=hot", "expected a value of type float"),
            ("kl:scale=1", "expected true or false"),
            ("mse:space=log", "expected one of logits, probs"),
            ("kl:temperature", "KEY=VALUE"),
            ("kl:scale=true,scale=false", "each key once"),
            ("ce:x=1", "it has none"),
        ],
    )
    def test_what_a_spec_gets_wrong_is_said(self, spec, message):
        with pytest.raises(UsageError, match=message):
            losses.resolve(spec)

    def test_tuples_are_written_with_slashes(self):
        assert schedules.resolve("multistep:milestones=0.5/0.75").keywords["milestones"] == (
            0.5,
            0.75,
        )

    def test_parse_spec_keeps_order_and_spaces_do_not_count(self):
        assert parse_spec(" sgd:lr=0.1, momentum=0 ") == ("sgd", {"lr": "0.1", "momentum": "0"})

    def test_a_name_is_registered_once(self):
        registry = Registry("thing")
        registry.add(losses.get("ce"))
        with pytest.raises(ValueError, match="twice"):
            registry.add(losses.get("ce"))


class TestConfig:
    @pytest.mark.parametrize(
        ("config", "values", "flag"),
        [
            (RefineOptions, {"gamma": 1.5}, "--gamma"),
            (RefineOptions, {"alpha": -0.1}, "--alpha"),
            (RefineOptions, {"gamma": math.nan}, "--gamma"),
            (DensifyOptions, {"temperature": 0.0}, "--temperature"),
            (RelabelOptions, {"trials": 0}, "--trials"),
            (EvaluateOptions, {"labels": "sotf"}, "did you mean 'soft'"),
            (TrainExpertOptions, {"save_every": 0.0}, "--save-every"),
        ],
    )
    def test_bounds_are_checked(self, config, values, flag):
        with pytest.raises(UsageError, match=flag):
            config(**values)

    @pytest.mark.parametrize("name", protocols.names())
    def test_every_protocol_presets_one_command_and_is_refused_by_the_other(self, name):
        configs = {"evaluate": EvaluateOptions, "train-expert": TrainExpertOptions}
        content = protocols.read(name)
        assert content.keys() - {"net"} in [{"source", "note", command} for command in configs]
        for command, config in configs.items():
            given = {"protocol": name}
            if command in content:
                (options,) = config.load(command, None, given)
                for key, value in content[command].items():
                    assert getattr(options, key.replace("-", "_")) == value
            else:
                with pytest.raises(UsageError, match=f"'{name}' is not for {command}"):
                    config.load(command, None, given)

    def test_toml_gives_defaults_and_the_command_line_wins(self, tmp_path: Path):
        file = tmp_path / "run.toml"
        file.write_text(
            '[evaluate]\nloss = "cosine"\nepochs = 7\nbatch-size = 3\n[refine]\ngamma = 1\n'
        )
        (options,) = EvaluateOptions.load("evaluate", file, {"epochs": 9, "optimizer": None})
        assert (options.loss, options.epochs, options.batch_size, options.optimizer) == (
            "cosine",
            9,
            3,
            "adamw",
        )
        assert RefineOptions.load("refine", file, {})[0].gamma == 1.0

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("los = 'ce'", "did you mean 'loss'"),
            ("epochs = 'many'", "expected int"),
            ("epochs = true", "expected int"),
        ],
    )
    def test_toml_mistakes_are_named(self, tmp_path, text, message):
        file = tmp_path / "run.toml"
        file.write_text(text)
        with pytest.raises(UsageError, match=message):
            EvaluateOptions.load("evaluate", file, {})

    def test_broken_toml_is_refused(self, tmp_path):
        file = tmp_path / "run.toml"
        file.write_text("epochs = ")
        with pytest.raises(InvalidInputError, match=r"run\.toml"):
            EvaluateOptions.load("evaluate", file, {})


def test_gift_batch_sizes_are_table_15s():
    assert [gift_batch_size(n) for n in (10, 11, 500, 501, 20_000, 20_001)] == [
        10,
        50,
        50,
        100,
        100,
        200,
    ]


def test_streams_differ_by_seed_name_and_position():
    seen = {rng.stream(s, n, p) for s in range(5) for n in ("a", "b") for p in range(5)}
    assert len(seen) == 50
    assert rng.stream(0, "order", 3) == rng.stream(0, "order", 3)


@pytest.mark.parametrize("name", optimizers)
def test_every_optimizer_finds_the_least_of_a_parabola(name):
    x = torch.nn.Parameter(torch.tensor([1.0, -2.0]))
    optimizer = optimizers.resolve(f"{name}:lr=0.05,weight-decay=0")([x])
    for _ in range(300):
        optimizer.zero_grad()
        (x - 3).square().sum().backward()
        optimizer.step()
    assert x.detach().tolist() == pytest.approx([3, 3], abs=0.1)


def test_adam_couples_decay_and_adamw_does_not():
    # With a zero gradient Adam turns decay into a step of about lr; AdamW shrinks by lr·decay.
    steps = {}
    for name in ("adam", "adamw"):
        x = torch.nn.Parameter(torch.tensor([10.0]))
        x.grad = torch.zeros(1)
        optimizers.resolve(f"{name}:lr=0.1,weight-decay=0.01")([x]).step()
        steps[name] = 10 - x.item()
    assert steps["adam"] == pytest.approx(0.1, rel=1e-3)
    assert steps["adamw"] == pytest.approx(10 * 0.1 * 0.01, rel=1e-3)


def test_schedules_by_hand():
    at = {
        name: [schedules.get(name)(epoch, 12) for epoch in (0, 3, 6, 8, 10, 11)]
        for name in schedules
    }
    assert at["constant"] == [1] * 6
    assert at["step"] == pytest.approx([1, 0.3, 0.09, 0.09, 0.027, 0.027])
    assert at["multistep"] == pytest.approx([1, 1, 1, 0.2, 0.04, 0.04])
    assert at["cosine"][2] == pytest.approx(0.5)


def test_multistep_drops_where_the_public_code_does():
    factors = [schedules.get("multistep")(epoch, 1000) for epoch in range(1000)]
    drops = [epoch for epoch in range(1, 1000) if factors[epoch] != factors[epoch - 1]]
    assert drops == [2 * 1000 // 3, 5 * 1000 // 6]


@pytest.mark.parametrize(
    ("count", "quantile"), [(2, 12.706), (3, 4.303), (5, 2.776), (10, 2.262), (31, 2.042)]
)
def test_intervals_have_the_quantiles_of_the_printed_tables(count, quantile):
    summary = summarise([float(i % 2) for i in range(count)])
    assert summary.interval == pytest.approx(quantile * summary.deviation / count**0.5, rel=2e-4)


def test_summary_is_scipys_interval():
    values = [41.2, 43.0, 42.1, 40.9, 43.3]
    summary = summarise(values)
    low, high = stats.t.interval(0.95, 4, loc=summary.mean, scale=stats.sem(values))
    assert (summary.mean - summary.interval, summary.mean + summary.interval) == pytest.approx(
        (low, high)
    )
    assert summarise([1.0]).interval is None


def test_entropy_is_scipys_also_with_zeros():
    probs = torch.tensor([[0.5, 0.5, 0.0], [1.0, 0.0, 0.0], [0.2, 0.3, 0.5]])
    torch.testing.assert_close(
        entropy(probs), torch.from_numpy(scipy_entropy(probs.numpy(), axis=1))
    )
