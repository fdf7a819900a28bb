"""Protocols: presets of papers."""

from __future__ import annotations

import pytest

from ddlabel.core import protocols
from ddlabel.core.config import EvaluateOptions, TrainExpertOptions
from ddlabel.core.errors import UsageError

CONFIGS = {"evaluate": EvaluateOptions, "train-expert": TrainExpertOptions}
COMMAND_OF = {
    name: next(command for command in CONFIGS if command in protocols.read(name))
    for name in protocols.names()
}


def test_protocols_of_the_papers_are_there():
    papers = {"datm", "edc", "gift", "label-worth", "ladd", "mtt", "rded", "sre2l"}
    assert set(protocols.names()) == papers | {"torchvision-imagenet"}


@pytest.mark.parametrize("name", protocols.names())
def test_protocol_has_a_source_a_note_and_one_table_of_options(name):
    assert protocols.read(name).keys() - {"net"} == {"source", "note", COMMAND_OF[name]}


@pytest.mark.parametrize(("name", "command"), COMMAND_OF.items())
def test_protocol_presets_every_option_that_it_names(name, command):
    (options,) = CONFIGS[command].load(command, None, {"protocol": name})
    for key, value in protocols.read(name)[command].items():
        assert getattr(options, key.replace("-", "_")) == value


@pytest.mark.parametrize(("name", "command"), COMMAND_OF.items())
def test_protocol_is_refused_by_the_other_command(name, command):
    (other,) = CONFIGS.keys() - {command}
    with pytest.raises(UsageError, match=name):
        CONFIGS[other].load(other, None, {"protocol": name})


def test_unknown_protocol_is_refused_with_the_nearest_name():
    with pytest.raises(UsageError, match="'gift'"):
        protocols.preset("gfit", None)


def test_without_a_protocol_nothing_is_preset():
    assert protocols.preset(None, "convnet-d3") == {}


class TestPresetOfANetwork:
    # GIFT's public code trains transformers at a tenth of the learning rate.
    def test_options_of_the_network_win_over_the_protocols(self):
        assert protocols.preset("gift", "vit:depth=2")["optimizer"].startswith("adamw:lr=1e-4")
        assert protocols.preset("gift", "convnet-d3")["optimizer"].startswith("adamw:lr=0.001")

    def test_given_option_wins_over_the_networks(self):
        given = {"protocol": "gift", "net": "vit", "optimizer": "sgd"}
        assert EvaluateOptions.load("evaluate", None, given)[0].optimizer == "sgd"

    def test_every_network_of_a_grid_gets_its_own_preset(self):
        given = {"protocol": "gift", "net": "vit,convnet-d3"}
        grid = EvaluateOptions.load("evaluate", None, given)
        optimizers = [options.optimizer.partition(",")[0] for options in grid]
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
