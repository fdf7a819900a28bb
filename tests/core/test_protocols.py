"""Protocols: their form, their rows, and how presets meet the options of the user."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ddlabel.core import protocols
from ddlabel.core.config import EvaluateOptions, LearnOptions, TrainExpertOptions
from ddlabel.core.errors import UsageError
from ddlabel.core.protocols import DATASETS, Facts, Protocol
from ddlabel.core.protocols.protocol import FACTS

CONFIGS = {
    "evaluate": EvaluateOptions,
    "learn": LearnOptions,
    "train-expert": TrainExpertOptions,
}
COMMAND_OF = {name: protocols.read(name).command for name in protocols.names()}
CIFAR10 = Facts(images=100, classes=10, size=32, labels="soft")


def made(*rows: dict, **options) -> Protocol:
    """A protocol with these rows and options."""
    content = {
        "source": "a paper",
        "note": "",
        "evaluate": options,
        "sources": {},
        "rows": [{"source": "a table", **row} for row in rows],
    }
    return Protocol.from_toml("made", content)


def test_protocols_of_the_papers_are_there():
    papers = {"datm", "gift", "gift-code", "label-worth", "ladd", "mtt", "rded"}
    several = {"edc-cifar", "edc-imagenet", "sre2l", "sre2l-cifar100", "torchvision-imagenet"}
    learning = {"label-worth-bptt", "label-worth-mtt"}
    assert set(protocols.names()) == papers | several | learning


@pytest.mark.parametrize("name", protocols.names())
class TestEveryProtocol:
    def test_every_value_has_its_source(self, name):
        protocol = protocols.read(name)
        assert protocol.source
        assert protocol.note
        assert protocol.sources.keys() == protocol.options.keys()
        assert all(protocol.sources.values())
        assert all(row.source for row in protocol.rows)

    def test_rows_depend_on_facts_and_set_options(self, name):
        protocol = protocols.read(name)
        options = CONFIGS[protocol.command].types()
        for row in protocol.rows:
            assert row.when
            assert row.when.keys() <= {*FACTS, "net"}
            assert row.set.keys() <= options.keys()
            wanted = row.when.get("dataset", [])
            named = {wanted} if isinstance(wanted, str) else set(wanted)
            assert named <= set(DATASETS)

    def test_presets_every_option_that_it_names(self, name):
        command = COMMAND_OF[name]
        (options,) = CONFIGS[command].load(command, None, {"protocol": name})
        for key, value in protocols.read(name).options.items():
            assert getattr(options, key) == value

    def test_is_refused_by_other_commands(self, name):
        for other in CONFIGS.keys() - {COMMAND_OF[name]}:
            with pytest.raises(UsageError, match=name):
                CONFIGS[other].load(other, None, {"protocol": name})


def test_unknown_protocol_is_refused_with_the_nearest_name():
    with pytest.raises(UsageError, match="'gift'"):
        protocols.preset("gfit")


def test_without_a_protocol_nothing_is_preset():
    assert protocols.preset(None) == {}


class TestFacts:
    def test_data_set_is_told_by_classes_and_pixels(self):
        assert CIFAR10.datasets == ("cifar10",)
        assert replace(CIFAR10, classes=200, size=64).datasets == ("tiny-imagenet",)
        assert replace(CIFAR10, size=48).datasets == ()
        assert replace(CIFAR10, size=128).datasets == ("imagenette", "imagewoof", "imagenet-10")

    def test_the_name_that_the_user_gives_counts(self):
        assert replace(CIFAR10, size=128, dataset="imagewoof").datasets == ("imagewoof",)

    def test_images_per_class_need_not_be_whole(self):
        assert replace(CIFAR10, images=15).ipc == 1.5


class TestRows:
    def test_a_row_holds_if_all_its_conditions_are_met(self):
        protocol = made({"when": {"ipc": 10, "classes": 10}, "set": {"epochs": 5}}, epochs=3)
        assert protocol.preset(CIFAR10, {})["epochs"] == 5
        assert protocol.preset(replace(CIFAR10, images=50), {})["epochs"] == 3

    def test_a_later_row_wins(self):
        rows = [{"when": {"ipc": 10}, "set": {"epochs": number}} for number in (1, 2)]
        assert made(*rows).preset(CIFAR10, {})["epochs"] == 2

    @pytest.mark.parametrize(
        ("wanted", "holds"),
        [(32, True), ([28, 32], True), (["< 32"], False), ("< 33", True), (">= 32", True)],
    )
    def test_values_lists_and_bounds(self, wanted, holds):
        protocol = made({"when": {"size": wanted}, "set": {"epochs": 5}}, epochs=3)
        assert protocol.preset(CIFAR10, {})["epochs"] == (5 if holds else 3)

    def test_one_of_several_data_sets_that_fit_is_enough(self):
        protocol = made({"when": {"dataset": "imagewoof"}, "set": {"epochs": 5}}, epochs=3)
        large = replace(CIFAR10, size=128)
        assert protocol.preset(large, {})["epochs"] == 5
        assert protocol.preset(replace(large, dataset="imagenette"), {})["epochs"] == 3

    def test_network_is_the_users_or_the_one_that_a_row_has_set(self):
        rows = [
            {"when": {"size": 32}, "set": {"net": "convnet-d3:norm=batch"}},
            {"when": {"net": "convnet-d3"}, "set": {"epochs": 5}},
        ]
        protocol = made(*rows, epochs=3)
        assert protocol.preset(CIFAR10, {})["epochs"] == 5
        assert protocol.preset(CIFAR10, {"net": "vgg11"})["epochs"] == 3
        assert protocol.preset(CIFAR10, {"net": "convnet-d3:width=8"})["epochs"] == 5

    def test_an_option_that_only_rows_set_is_refused_where_none_holds(self):
        rows = [{"when": {"ipc": ipc}, "set": {"batch-size": ipc}} for ipc in (1, 50)]
        with pytest.raises(UsageError) as caught:
            made(*rows).preset(CIFAR10, {})
        message = str(caught.value)
        assert "\n" not in message
        for part in ("--batch-size", "ipc 10", "rows for ipc 1; ipc 50", "cifar10"):
            assert part in message

    def test_the_user_may_give_what_no_row_sets(self):
        protocol = made({"when": {"ipc": 1}, "set": {"batch-size": 5}})
        assert protocol.preset(CIFAR10, {"batch_size": 7}) == {}


class TestOptionsOfTheUser:
    def test_they_win_over_rows(self):
        given = {"protocol": "gift", "net": "torchvision-vit-b-16", "optimizer": "sgd"}
        (options,) = EvaluateOptions.load("evaluate", None, given)
        preset = protocols.preset("gift", facts=CIFAR10, given=options.from_user())
        completed = options.with_preset(preset)
        assert (completed.optimizer, completed.batch_size) == ("sgd", 50)

    def test_a_value_that_equals_the_default_counts_as_given(self):
        given = {"protocol": "rded", "net": "convnet-d3", "epochs": 1000}
        (options,) = EvaluateOptions.load("evaluate", None, given)
        preset = protocols.preset("rded", facts=CIFAR10, given=options.from_user())
        completed = options.with_preset(preset)
        assert (completed.net, completed.epochs) == ("convnet-d3", 1000)

    def test_of_a_config_made_in_python_what_differs_from_the_defaults_counts(self):
        assert EvaluateOptions(epochs=1000, loss="kl").from_user() == {"loss": "kl"}

    def test_every_network_of_a_grid_gets_its_own_preset(self):
        given = {"protocol": "gift", "net": "torchvision-vit-b-16,convnet-d3"}
        optimizers = []
        for options in EvaluateOptions.load("evaluate", None, given):
            preset = protocols.preset("gift", facts=CIFAR10, given=options.from_user())
            optimizers.append(options.with_preset(preset).optimizer.partition(",")[0])
        assert optimizers == ["adamw:lr=1e-4", "adamw:lr=0.001"]


class TestConditions:
    """Options of a protocol that do not apply are dropped later, so they are not refused here."""

    def test_options_for_views_are_no_obstacle_to_other_labels(self):
        EvaluateOptions.load("evaluate", None, {"protocol": "ladd", "labels": "soft"})

    def test_option_over_the_protocols_is_refused_with_other_labels(self):
        given = {"protocol": "ladd", "labels": "soft", "dense_loss": "kl"}
        with pytest.raises(UsageError, match="--dense-loss"):
            EvaluateOptions.load("evaluate", None, given)

    def test_online_labels_of_a_protocol_are_settled_later(self):
        EvaluateOptions.load("evaluate", None, {"protocol": "rded"})

    def test_a_data_set_needs_a_protocol(self):
        with pytest.raises(UsageError, match="--dataset"):
            EvaluateOptions.load("evaluate", None, {"dataset": "cifar10"})
