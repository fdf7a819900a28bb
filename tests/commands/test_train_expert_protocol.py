"""The protocol `torchvision-imagenet` of `train-expert`."""

from __future__ import annotations

from pathlib import Path

import pytest
from samples import make_bundle

from ddlabel.commands import train_expert
from ddlabel.core.config import TrainExpertOptions

PROTOCOL = {"protocol": "torchvision-imagenet"}


def test_it_is_torchvisions_recipe():
    (options,) = TrainExpertOptions.load("train-expert", None, PROTOCOL)
    assert (options.net, options.size) == ("resnet18", 224)
    assert (options.epochs, options.batch_size) == (90, 256)
    real = make_bundle(images=2560, channels=3, size=40)
    ((_, info),) = train_expert.plan(real, Path("/nowhere"), options, "")
    assert info.steps_per_epoch == 10
    rate = train_expert._rate(options, info)
    factors = [rate(10 * epoch) for epoch in (0, 29, 30, 59, 60, 89)]
    assert factors == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01])


def test_values_on_the_command_line_win():
    given = PROTOCOL | {"epochs": 3, "size": 64}
    (options,) = TrainExpertOptions.load("train-expert", None, given)
    assert (options.epochs, options.size, options.batch_size) == (3, 64, 256)
