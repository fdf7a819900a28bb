"""Schedules against torch's own and hand-worked factors, and the warm-up before them."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import Parameter
from torch.optim import lr_scheduler

from ddlabel.core.errors import UsageError
from ddlabel.methods.schedules import rate_of, schedules

# Every schedule at its defaults, and with every option at another value. A test checks both.
SCHEDULES = [
    "constant",
    "step",
    "step:every=0.4,factor=0.5",
    "multistep",
    "multistep:milestones=0.3/0.5/0.9,factor=0.1",
    "cosine",
    "cosine:end=0.2",
    "half-cosine",
    "half-cosine:line-from=0.75",
    "half-drop",
    "half-drop:factor=0.3",
    "linear",
    "linear:end=0.2",
]
# It rises over the first half.
RISING = "rise-cosine"


def test_specs_try_every_schedule_at_its_defaults_and_with_every_option():
    tried = {name: set() for name in schedules}
    for spec in SCHEDULES:
        tried[spec.partition(":")[0]] |= set(schedules.resolve(spec).keywords)
    assert tried == {entry.name: set(entry.options) for entry in schedules.entries()}
    assert set(schedules) == {RISING, *(spec for spec in SCHEDULES if ":" not in spec)}


def milestones(options, epochs):
    if "milestones" in options:
        return [math.floor(share * epochs) for share in options["milestones"]]
    # The defaults as in GIFT's public code.
    return [2 * epochs // 3, 5 * epochs // 6]


def half_cosine_of_edc(epochs, line_from):
    """EDC's `cos2` as its public code has it, for another share than 5/6 of the epochs."""

    def factor(step):
        if step <= epochs * line_from:
            return 0.5 * (1 + math.cos(math.pi * step / (2 * epochs)))
        left = (6 * epochs - 6 * step) / (6 * epochs)
        return 0.5 * (1 + math.cos(math.pi * line_from / 2)) * left

    return factor


def torch_factors(spec, epochs):
    """The factor of each epoch from torch's own scheduler."""
    name = spec.partition(":")[0]
    options = schedules.resolve(spec).keywords
    optimizer = torch.optim.SGD([Parameter(torch.zeros(1))], lr=1.0)
    end = options.get("end", 0.0)
    scheduler = {
        "constant": lambda: lr_scheduler.ConstantLR(optimizer, factor=1.0),
        "step": lambda: lr_scheduler.StepLR(
            optimizer,
            max(1, math.floor(options.get("every", 0.25) * epochs)),
            options.get("factor", 0.3),
        ),
        "multistep": lambda: lr_scheduler.MultiStepLR(
            optimizer,
            milestones(options, epochs),
            options.get("factor", 0.2),
        ),
        "cosine": lambda: lr_scheduler.CosineAnnealingLR(optimizer, epochs, eta_min=end),
        "half-cosine": lambda: lr_scheduler.LambdaLR(
            optimizer, half_cosine_of_edc(epochs, options.get("line_from", 1.0))
        ),
        "half-drop": lambda: lr_scheduler.MultiStepLR(
            optimizer, [epochs // 2 + 2], options.get("factor", 0.1)
        ),
        "linear": lambda: lr_scheduler.LinearLR(optimizer, 1.0, end, epochs),
    }[name]()
    factors = []
    for _ in range(epochs):
        factors.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return factors


@pytest.mark.parametrize("epochs", [1, 2, 12, 60, 1000])
@pytest.mark.parametrize("spec", SCHEDULES)
def test_schedules_equal_those_of_torch(spec, epochs):
    schedule = schedules.resolve(spec)
    factors = [schedule(epoch, epochs) for epoch in range(epochs)]
    assert factors == pytest.approx(torch_factors(spec, epochs), rel=1e-9)


def test_schedules_equal_factors_worked_by_hand():
    at = {}
    for spec in SCHEDULES:
        schedule = schedules.resolve(spec)
        at[spec] = [schedule(epoch, 12) for epoch in (0, 3, 6, 8, 10, 11)]
    assert at["constant"] == [1] * 6
    assert at["step"] == pytest.approx([1, 0.3, 0.09, 0.09, 0.027, 0.027])
    # Drops at epochs 4 and 8.
    assert at["step:every=0.4,factor=0.5"] == pytest.approx([1, 1, 0.5, 0.25, 0.25, 0.25])
    assert at["multistep"] == pytest.approx([1, 1, 1, 0.2, 0.04, 0.04])
    root = math.sqrt(2)
    assert at["cosine"][:3] == pytest.approx([1, (2 + root) / 4, 0.5])
    assert at["cosine:end=0.2"][2] == pytest.approx(0.6)
    assert at["half-cosine"][2] == pytest.approx((2 + root) / 4)
    assert at["linear"] == pytest.approx([1, 0.75, 0.5, 1 / 3, 1 / 6, 1 / 12])
    assert at["linear:end=0.2"][2] == pytest.approx(0.6)


@pytest.mark.parametrize("epochs", [2, 5, 12, 61, 1000])
def test_rise_cosine_is_the_schedule_of_glad(epochs):
    # Its evaluation makes both of torch's schedulers and goes over to the second one half-way.
    optimizer = torch.optim.SGD([Parameter(torch.zeros(1))], lr=1.0)
    rise = lr_scheduler.LinearLR(optimizer, 1e-7, 1.0, total_iters=epochs // 2)
    fall = lr_scheduler.CosineAnnealingLR(optimizer, T_max=epochs // 2)
    scheduler = rise
    expected = []
    for epoch in range(epochs):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
        if epoch == epochs // 2:
            scheduler = fall
    schedule = schedules.get(RISING)
    assert [schedule(epoch, epochs) for epoch in range(epochs)] == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("epochs", [7, 8, 300, 1000])
def test_half_drop_falls_where_the_loop_of_mtt_does(epochs):
    rate = 1.0
    expected = []
    for epoch in range(epochs):
        expected.append(rate)
        if epoch in [epochs // 2 + 1]:
            rate *= 0.1
    assert [schedules.get("half-drop")(epoch, epochs) for epoch in range(epochs)] == expected


def drops(spec, epochs):
    """The epochs at which a schedule changes."""
    factors = [schedules.resolve(spec)(epoch, epochs) for epoch in range(epochs)]
    return [epoch for epoch in range(1, epochs) if factors[epoch] != factors[epoch - 1]]


@pytest.mark.parametrize("epochs", [*range(6, 40), 300, 1000])
def test_multistep_drops_where_the_public_code_of_gift_does(epochs):
    assert drops("multistep", epochs) == [2 * epochs // 3, 5 * epochs // 6]


@pytest.mark.parametrize("spec", ["multistep:milestones=0.29/0.58/0.87", "step:every=0.29"])
def test_a_share_of_whole_epochs_is_not_rounded_down(spec):
    # In floating point, 0.29·100 is 28.999…
    assert drops(spec, 100) == [29, 58, 87]


@pytest.mark.parametrize("epochs", [1, 10, 300])
def test_half_cosine_would_reach_one_half_after_the_last_epoch(epochs):
    last = schedules.get("half-cosine")(epochs - 1, epochs)
    assert 0.5 < last <= 1
    assert schedules.get("half-cosine")(epochs, epochs) == pytest.approx(0.5)


@pytest.mark.parametrize("name", ["cosine", "linear"])
def test_schedule_would_reach_end_after_the_last_epoch(name):
    for end in (0.0, 0.3, 1.0):
        assert schedules.resolve(f"{name}:end={end}")(50, 50) == pytest.approx(end)


@pytest.mark.parametrize("spec", SCHEDULES)
class TestEverySchedule:
    @pytest.mark.parametrize("epochs", [1, 2, 3, 4, 7, 100])
    def test_starts_at_1_never_rises_and_stays_above_0(self, spec, epochs):
        factors = [schedules.resolve(spec)(epoch, epochs) for epoch in range(epochs)]
        if epochs >= 4:  # of fewer, a milestone can be rounded down to the first epoch
            assert factors[0] == 1
        assert factors[0] <= 1
        assert (np.diff(factors) <= 0).all()
        assert factors[-1] > 0

    @settings(max_examples=25)
    @given(
        epochs=st.integers(1, 30),
        steps_per_epoch=st.integers(1, 20),
        # The warm-up as a share of the epochs.
        share=st.fractions(0, 1).filter(lambda share: share < 1),
    )
    def test_rate_of_every_step_is_above_0_and_at_most_1(
        self, spec, epochs, steps_per_epoch, share
    ):
        warm_up = float(share * epochs) * 0.999
        rate = rate_of(spec, epochs=epochs, steps_per_epoch=steps_per_epoch, warm_up=warm_up)
        assert all(0 < rate(step) <= 1 for step in range(epochs * steps_per_epoch))


class TestRates:
    def test_without_warm_up_follow_the_schedule_by_epochs(self):
        rate = rate_of("linear", epochs=4, steps_per_epoch=3)
        expected = np.repeat([1, 0.75, 0.5, 0.25], 3)
        assert [rate(step) for step in range(12)] == pytest.approx(expected)

    def test_warm_up_rises_linearly_and_the_schedule_covers_the_remaining_epochs(self):
        # A warm-up of 4 steps rises by fifths. The schedule covers 4 epochs.
        rate = rate_of("linear", epochs=5, steps_per_epoch=4, warm_up=1)
        expected = [0.2, 0.4, 0.6, 0.8, *np.repeat([1, 0.75, 0.5, 0.25], 4)]
        assert [rate(step) for step in range(20)] == pytest.approx(expected)

    @pytest.mark.parametrize("spec", SCHEDULES)
    @pytest.mark.parametrize("warm_up", [1, 5])
    def test_after_the_warm_up_equal_those_of_a_shorter_run(self, spec, warm_up):
        rate = rate_of(spec, epochs=20, steps_per_epoch=3, warm_up=warm_up)
        shorter = rate_of(spec, epochs=20 - warm_up, steps_per_epoch=3)
        assert [rate(step) for step in range(3 * warm_up, 60)] == [
            shorter(step) for step in range(60 - 3 * warm_up)
        ]

    def test_warm_up_may_end_within_an_epoch(self):
        # 1½ of 3 epochs are 6 steps, which rise by sevenths. The schedule covers the other 1½
        # epochs, rounded up to 2.
        rate = rate_of("linear", epochs=3, steps_per_epoch=4, warm_up=1.5)
        expected = [*np.arange(1, 7) / 7, 1, 1, 1, 1, 0.5, 0.5]
        assert [rate(step) for step in range(12)] == pytest.approx(expected)

    @pytest.mark.parametrize("warm_up", [5, 5.5, 100])
    def test_warm_up_of_all_epochs_is_refused(self, warm_up):
        with pytest.raises(UsageError, match="--warm-up"):
            rate_of("cosine", epochs=5, steps_per_epoch=10, warm_up=warm_up)

    def test_warm_up_of_all_but_one_epoch_is_accepted(self):
        assert rate_of("cosine", epochs=5, steps_per_epoch=10, warm_up=4)(40) == 1
