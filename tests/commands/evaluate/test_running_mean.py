"""The running mean of weights, against the recursion written out."""

from __future__ import annotations

import pytest
import torch
from students import easy_bundle, experiment, student_results
from torch import nn

from ddlabel.commands.evaluate.running_mean import RunningMean


def network(value: float) -> nn.Sequential:
    """A linear layer of one weight, and batch norm with a running mean."""
    body = nn.Sequential(nn.Linear(1, 1, bias=False), nn.BatchNorm1d(1))
    set_values(body, value)
    return body


def set_values(body: nn.Sequential, value: float) -> None:
    with torch.no_grad():
        body[0].weight.fill_(value)
        body[1].running_mean.fill_(value)


def values(mean: RunningMean) -> tuple[float, float]:
    """The mean of the weight, and that of the running mean of batch norm."""
    weights = mean.weights()
    return float(weights["0.weight"]), float(weights["1.running_mean"])


def test_by_step_it_starts_at_the_fresh_weights_and_leaves_buffers():
    body = network(8.0)
    mean = RunningMean(body, 0.75, every="step")
    expected = 8.0
    for value in (4.0, 0.0, -4.0):
        set_values(body, value)
        mean.update()
        expected = 0.75 * expected + 0.25 * value
        assert values(mean) == (pytest.approx(expected), value)


def test_by_epoch_it_is_a_plain_mean_until_the_decay_forgets_more():
    body = network(100.0)
    mean = RunningMean(body, 0.75, every="epoch")
    seen = []
    for value in (1.0, 2.0, 6.0, 3.0):  # 1 − 1/4 is the decay
        set_values(body, value)
        mean.update()
        seen.append(value)
        assert values(mean) == pytest.approx([sum(seen) / len(seen)] * 2)
    set_values(body, 11.0)
    mean.update()
    assert values(mean) == pytest.approx([0.75 * 3 + 0.25 * 11] * 2)


def test_counters_and_the_network_itself_are_left_alone():
    body = network(1.0)
    mean = RunningMean(body, 0.5, every="epoch")
    set_values(body, 2.0)
    body[1].num_batches_tracked += 7
    mean.update()
    set_values(body, 4.0)
    mean.update()
    assert int(mean.weights()["1.num_batches_tracked"]) == 7
    assert float(body[0].weight.detach()) == 4.0


def test_a_student_of_one_epoch_is_its_own_mean_by_epoch():
    # The first epoch's mean is the epoch itself: the figures are those without a mean.
    bundle = easy_bundle()
    plain, by_epoch, by_step = student_results(
        experiment(bundle, epochs=1, seeds=1),
        experiment(bundle, epochs=1, seeds=1, ema=0.9, ema_every="epoch"),
        experiment(bundle, epochs=1, seeds=1, ema=0.9),
    )
    assert by_epoch[0]["calibration_error"] == plain[0]["calibration_error"]
    assert by_step[0]["calibration_error"] != plain[0]["calibration_error"]
