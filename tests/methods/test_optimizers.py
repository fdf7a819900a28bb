"""Optimizers against steps written in numpy, schedules against torch's own, and what all of them have in common."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import Parameter
from torch.optim import lr_scheduler

from ddlabel.core.errors import UsageError
from ddlabel.methods.optimizers import optimizer_of, optimizers
from ddlabel.methods.schedules import rate_of, schedules

# Every optimizer at its defaults and with every option at another value (a test sees to both).
OPTIMIZERS = [
    "sgd",
    "sgd:lr=0.1,momentum=0,weight-decay=0",
    "sgd:lr=0.1,momentum=0.8,weight-decay=0.1,nesterov=true",
    "sgd:lr=0.1,weight-decay=0.1,decay-norms=false",
    "adam",
    "adam:lr=0.1,beta1=0.8,beta2=0.9,weight-decay=0.3",
    "adam:lr=0.1,weight-decay=0.3,decay-norms=false",
    "adamw",
    "adamw:lr=0.1,beta1=0.8,beta2=0.9,weight-decay=0.3",
    "adamw:lr=0.1,weight-decay=0.3,decay-norms=false",
    "rmsprop",
    "rmsprop:lr=0.1,alpha=0.8,momentum=0.7,weight-decay=0.3",
    "rmsprop:lr=0.1,weight-decay=0.3,decay-norms=false",
    "lion",
    "lion:lr=0.1,beta1=0.7,beta2=0.8,weight-decay=0.3",
    "lion:lr=0.1,weight-decay=0.3,decay-norms=false",
]
SCHEDULES = [
    "constant",
    "step",
    "step:every=0.4,factor=0.5",
    "multistep",
    "multistep:milestones=0.3/0.5/0.9,factor=0.1",
    "cosine",
    "cosine:end=0.2",
    "half-cosine",
    "linear",
    "linear:end=0.2",
]


def name_of(spec):
    return spec.partition(":")[0]


@pytest.mark.parametrize(("registry", "specs"), [(optimizers, OPTIMIZERS), (schedules, SCHEDULES)])
def test_every_entry_is_tried_at_its_defaults_and_with_every_option(registry, specs):
    tried = {name: set() for name in registry}
    for spec in specs:
        tried[name_of(spec)] |= set(registry.resolve(spec).keywords)
    assert tried == {entry.name: set(entry.options) for entry in registry.entries()}
    assert set(registry) <= set(specs)


# ------------------------------------------------------------------------------------------- optimizers: the oracles
# Each is a generator: of where a parameter `x` is after each gradient. The defaults are those of the documentation.


def of_sgd(x, gradients, lr=0.01, momentum=0.9, weight_decay=5e-4, nesterov=False):
    velocity = 0
    for g in gradients:
        g = g + weight_decay * x
        velocity = momentum * velocity + g
        x = x - lr * (g + momentum * velocity if nesterov else velocity)
        yield x


def of_adam(x, gradients, lr=1e-3, beta1=0.9, beta2=0.999, weight_decay=1e-4, coupled=True):
    first = second = 0
    for t, g in enumerate(gradients, 1):
        if coupled:
            g = g + weight_decay * x
        else:
            x = x - lr * weight_decay * x
        first = beta1 * first + (1 - beta1) * g
        second = beta2 * second + (1 - beta2) * g**2
        x = x - lr * (first / (1 - beta1**t)) / (np.sqrt(second / (1 - beta2**t)) + 1e-8)
        yield x


def of_adamw(x, gradients, **options):
    yield from of_adam(x, gradients, coupled=False, **options)


def of_rmsprop(x, gradients, lr=1e-3, alpha=0.99, momentum=0.0, weight_decay=1e-4):
    square = velocity = 0
    for g in gradients:
        g = g + weight_decay * x
        square = alpha * square + (1 - alpha) * g**2
        velocity = momentum * velocity + g / (np.sqrt(square) + 1e-8)
        x = x - lr * velocity
        yield x


def of_lion(x, gradients, lr=1e-4, beta1=0.9, beta2=0.99, weight_decay=1e-3):
    # Chen et al. 2023, algorithm 2.
    momentum = 0
    for g in gradients:
        update = np.sign(beta1 * momentum + (1 - beta1) * g)
        x = x - lr * (update + weight_decay * x)
        momentum = beta2 * momentum + (1 - beta2) * g
        yield x


ORACLES = {
    "sgd": of_sgd,
    "adam": of_adam,
    "adamw": of_adamw,
    "rmsprop": of_rmsprop,
    "lion": of_lion,
}


def parameters(seed=0):
    """A weight and a bias."""
    generator = np.random.default_rng(seed)
    return [Parameter(torch.from_numpy(generator.normal(size=shape))) for shape in ((3, 2), (2,))]


def push(optimizer, every, step):
    """One step with gradients that are drawn from its number."""
    generator = np.random.default_rng(100 + step)
    for p in every:
        p.grad = torch.from_numpy(generator.normal(size=tuple(p.shape)))
    optimizer.step()
    return [p.grad.numpy().copy() for p in every]


class TestSteps:
    def test_every_optimizer_has_an_oracle(self):
        assert set(ORACLES) == set(optimizers)

    @pytest.mark.parametrize("spec", OPTIMIZERS)
    def test_are_the_oracles(self, spec):
        every = parameters()
        start = [p.detach().numpy().copy() for p in every]
        optimizer = optimizer_of(spec, every)
        gradients, seen = [], []
        for step in range(6):
            gradients.append(push(optimizer, every, step))
            seen.append([p.detach().numpy().copy() for p in every])
        options = dict(optimizers.resolve(spec).keywords)
        decay_norms = options.pop("decay_norms", True)
        for i, of_one in enumerate(start):
            undecayed = {} if decay_norms or of_one.ndim > 1 else {"weight_decay": 0.0}
            expected = ORACLES[name_of(spec)](
                of_one, [g[i] for g in gradients], **options | undecayed
            )
            for ours, theirs in zip(seen, expected, strict=True):
                np.testing.assert_allclose(ours[i], theirs, rtol=1e-10)

    def test_sgd_by_hand(self):
        # From 1 with gradients 1, 1: velocities 1 and 1.5 at momentum ½, so 1 − 0.1·(1 + 1.5).
        x = Parameter(torch.tensor([1.0]))
        optimizer = optimizer_of("sgd:lr=0.1,momentum=0.5,weight-decay=0", [x])
        for _ in range(2):
            x.grad = torch.ones(1)
            optimizer.step()
        assert x.item() == pytest.approx(0.75)

    def test_lion_by_hand(self):
        # Gradients 1, −0.05: momentum 0.01, then the sign of 0.9·0.01 − 0.1·0.05 > 0. Twice down by 0.1, no decay.
        x = Parameter(torch.tensor([1.0]))
        optimizer = optimizer_of("lion:lr=0.1,weight-decay=0", [x])
        for gradient in (1.0, -0.05):
            x.grad = torch.tensor([gradient])
            optimizer.step()
        assert x.item() == pytest.approx(0.8)

    def test_adam_couples_decay_and_adamw_does_not(self):
        # With a zero gradient Adam turns decay into a step of about lr; AdamW shrinks by lr·decay.
        steps = {}
        for name in ("adam", "adamw"):
            x = Parameter(torch.tensor([10.0]))
            x.grad = torch.zeros(1)
            optimizer_of(f"{name}:lr=0.1,weight-decay=0.01", [x]).step()
            steps[name] = 10 - x.item()
        assert steps["adam"] == pytest.approx(0.1, rel=1e-3)
        assert steps["adamw"] == pytest.approx(10 * 0.1 * 0.01, rel=1e-3)


# ------------------------------------------------------------------------------------------- optimizers: the contract


@pytest.mark.parametrize("name", sorted(optimizers))
class TestEveryOptimizer:
    def test_finds_the_least_of_a_narrow_parabola(self, name):
        at, curvature = (
            torch.tensor([[3.0, -2.0], [0.5, 1.0]]),
            torch.tensor([[1.0, 0.1], [3.0, 0.5]]),
        )
        x = Parameter(torch.zeros(2, 2))
        optimizer = optimizer_of(f"{name}:lr=0.03,weight-decay=0", [x])
        values = []
        for _ in range(300):
            optimizer.zero_grad()
            value = (curvature * (x - at).square()).sum()
            value.backward()
            optimizer.step()
            values.append(value.item())
        assert values[-1] < 0.05 * values[0]

    @pytest.mark.parametrize("decay_norms", ["true", "false"])
    def test_decay_shrinks_weights_and_leaves_norms_and_biases_if_told_to(self, name, decay_norms):
        weight, bias = every = parameters()
        before = [p.detach().clone() for p in every]
        optimizer = optimizer_of(
            f"{name}:lr=0.01,weight-decay=0.1,decay-norms={decay_norms}", every
        )
        for p in every:
            p.grad = torch.zeros_like(p)
        optimizer.step()
        assert (weight.abs() < before[0].abs()).all()
        if decay_norms == "true":
            assert (bias.abs() < before[1].abs()).all()
        else:
            assert torch.equal(bias, before[1])

    def test_every_parameter_is_in_one_group(self, name):
        every = [*parameters(), Parameter(torch.ones(())), Parameter(torch.ones(2, 3, 3, 3))]
        for decay_norms in ("true", "false"):
            groups = optimizer_of(f"{name}:decay-norms={decay_norms}", iter(every)).param_groups
            held = [p for group in groups for p in group["params"]]
            assert sorted(map(id, held)) == sorted(map(id, every))

    def test_parameters_without_a_gradient_stay(self, name):
        learned, frozen = parameters()
        before = frozen.detach().clone()
        optimizer = optimizer_of(f"{name}:weight-decay=0.5", [learned, frozen])
        learned.grad = torch.ones_like(learned)
        optimizer.step()
        assert torch.equal(frozen, before)

    def test_goes_on_from_a_saved_state(self, name):
        every = parameters()
        optimizer = optimizer_of(name, every)
        for step in range(3):
            push(optimizer, every, step)
        copied = [Parameter(p.detach().clone()) for p in every]
        again = optimizer_of(name, copied)
        again.load_state_dict(copy.deepcopy(optimizer.state_dict()))
        for step in range(3, 6):
            push(optimizer, every, step)
            push(again, copied, step)
        for ours, theirs in zip(every, copied, strict=True):
            assert torch.equal(ours, theirs)

    def test_learning_rate_of_a_group_counts(self, name):
        # As a schedule sets it.
        every = parameters()
        before = [p.detach().clone() for p in every]
        optimizer = optimizer_of(name, every)
        for group in optimizer.param_groups:
            group["lr"] = 0.0
        push(optimizer, every, 0)
        for p, old in zip(every, before, strict=True):
            assert torch.equal(p, old)

    @pytest.mark.parametrize("option", ["weight-decay=-0.1", "lr=-0.1"])
    def test_negative_values_are_refused(self, name, option):
        with pytest.raises(UsageError, match=rf"optimizer '{name}:{option}'"):
            optimizer_of(f"{name}:{option}", parameters())


@pytest.mark.parametrize(
    "spec",
    [
        "adam:beta1=1",
        "adamw:beta2=1.5",
        "lion:beta1=1",
        "lion:beta2=-0.1",
        "sgd:momentum=0,nesterov=true",
    ],
)
def test_values_that_an_optimizer_cannot_have_are_refused(spec):
    with pytest.raises(UsageError, match=f"optimizer '{spec}'"):
        optimizer_of(spec, parameters())


# ----------------------------------------------------------------------------------------------------------- schedules


def torchs(spec, epochs):
    """Torch's own factors for every epoch."""
    name, options = name_of(spec), schedules.resolve(spec).keywords
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
            # GIFT's public code for the defaults.
            [math.floor(m * epochs) for m in options["milestones"]]
            if "milestones" in options
            else [2 * epochs // 3, 5 * epochs // 6],
            options.get("factor", 0.2),
        ),
        "cosine": lambda: lr_scheduler.CosineAnnealingLR(optimizer, epochs, eta_min=end),
        "half-cosine": lambda: lr_scheduler.CosineAnnealingLR(optimizer, 2 * epochs),
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
def test_schedules_are_torchs(spec, epochs):
    schedule = schedules.resolve(spec)
    assert [schedule(epoch, epochs) for epoch in range(epochs)] == pytest.approx(
        torchs(spec, epochs), rel=1e-9
    )


def test_schedules_by_hand():
    at = {
        spec: [schedules.resolve(spec)(epoch, 12) for epoch in (0, 3, 6, 8, 10, 11)]
        for spec in SCHEDULES
    }
    assert at["constant"] == [1] * 6
    assert at["step"] == pytest.approx([1, 0.3, 0.09, 0.09, 0.027, 0.027])
    assert at["step:every=0.4,factor=0.5"] == pytest.approx(
        [1, 1, 0.5, 0.25, 0.25, 0.25]
    )  # drops at 4 and 8
    assert at["multistep"] == pytest.approx([1, 1, 1, 0.2, 0.04, 0.04])
    root = math.sqrt(2)
    assert at["cosine"][:3] == pytest.approx([1, (2 + root) / 4, 0.5])
    assert at["cosine:end=0.2"][2] == pytest.approx(0.6)
    assert at["half-cosine"][2] == pytest.approx((2 + root) / 4)
    assert at["linear"] == pytest.approx([1, 0.75, 0.5, 1 / 3, 1 / 6, 1 / 12])
    assert at["linear:end=0.2"][2] == pytest.approx(0.6)


def drops(spec, epochs):
    factors = [schedules.resolve(spec)(epoch, epochs) for epoch in range(epochs)]
    return [epoch for epoch in range(1, epochs) if factors[epoch] != factors[epoch - 1]]


@pytest.mark.parametrize("epochs", [*range(6, 40), 300, 1000])
def test_multistep_drops_where_the_public_code_does(epochs):
    assert drops("multistep", epochs) == [2 * epochs // 3, 5 * epochs // 6]


@pytest.mark.parametrize("spec", ["multistep:milestones=0.29/0.58/0.87", "step:every=0.29"])
def test_a_share_that_is_whole_epochs_is_that_many(spec):
    # In floating point 0.29·100 is 28.999…
    assert drops(spec, 100) == [29, 58, 87]


@pytest.mark.parametrize("epochs", [1, 10, 300])
def test_half_cosine_ends_an_epoch_before_one_half(epochs):
    last = schedules.get("half-cosine")(epochs - 1, epochs)
    assert last == pytest.approx(0.5 * (1 + math.cos(math.pi / 2 * (epochs - 1) / epochs)))
    assert 0.5 < last <= 1
    assert schedules.get("half-cosine")(epochs, epochs) == pytest.approx(0.5)


@pytest.mark.parametrize("name", ["cosine", "linear"])
def test_end_is_where_a_schedule_would_be_after_the_last_epoch(name):
    for end in (0.0, 0.3, 1.0):
        assert schedules.resolve(f"{name}:end={end}")(50, 50) == pytest.approx(end)


@pytest.mark.parametrize("spec", SCHEDULES)
class TestEverySchedule:
    @pytest.mark.parametrize("epochs", [1, 2, 3, 4, 7, 100])
    def test_never_rises_and_stays_above_0(self, spec, epochs):
        factors = [schedules.resolve(spec)(epoch, epochs) for epoch in range(epochs)]
        # A milestone at a share of very few epochs is rounded down to the very first.
        assert factors[0] <= 1 if epochs < 4 else factors[0] == 1
        assert (np.diff(factors) <= 0).all()
        assert factors[-1] > 0

    @settings(max_examples=25)
    @given(
        epochs=st.integers(1, 30),
        steps_per_epoch=st.integers(1, 20),
        # How much of all epochs; 2.5 of 10 and 1/3 of 7 as well.
        share=st.fractions(0, 1).filter(lambda share: share < 1),
    )
    def test_every_step_of_a_run_has_a_rate_above_0_and_at_most_1(
        self, spec, epochs, steps_per_epoch, share
    ):
        rate = rate_of(
            spec,
            epochs=epochs,
            steps_per_epoch=steps_per_epoch,
            warm_up=float(share * epochs) * 0.999,
        )
        assert all(0 < rate(step) <= 1 for step in range(epochs * steps_per_epoch))


class TestRates:
    def test_without_warm_up_are_the_schedules_of_the_epoch(self):
        rate = rate_of("linear", epochs=4, steps_per_epoch=3)
        assert [rate(step) for step in range(12)] == pytest.approx(
            np.repeat([1, 0.75, 0.5, 0.25], 3)
        )

    def test_warm_up_rises_in_a_line_and_the_schedule_has_the_epochs_that_are_left(self):
        # 1 epoch of 4 steps: fifths. Then linear over 4 epochs.
        rate = rate_of("linear", epochs=5, steps_per_epoch=4, warm_up=1)
        expected = [0.2, 0.4, 0.6, 0.8, *np.repeat([1, 0.75, 0.5, 0.25], 4)]
        assert [rate(step) for step in range(20)] == pytest.approx(expected)

    @pytest.mark.parametrize("spec", SCHEDULES)
    @pytest.mark.parametrize("warm_up", [1, 5])
    def test_after_the_warm_up_are_those_of_a_shorter_run(self, spec, warm_up):
        rate = rate_of(spec, epochs=20, steps_per_epoch=3, warm_up=warm_up)
        shorter = rate_of(spec, epochs=20 - warm_up, steps_per_epoch=3)
        assert [rate(step) for step in range(3 * warm_up, 60)] == [
            shorter(step) for step in range(60 - 3 * warm_up)
        ]

    def test_warm_up_may_end_within_an_epoch(self):
        # 1½ of 3 epochs of 4 steps: sevenths over 6 steps, then 1½ epochs of the schedule, counted as 2.
        rate = rate_of("linear", epochs=3, steps_per_epoch=4, warm_up=1.5)
        expected = [*np.arange(1, 7) / 7, 1, 1, 1, 1, 0.5, 0.5]
        assert [rate(step) for step in range(12)] == pytest.approx(expected)

    @pytest.mark.parametrize("warm_up", [5, 5.5, 100])
    def test_a_warm_up_that_leaves_no_epoch_is_refused(self, warm_up):
        with pytest.raises(UsageError, match="of 5 epochs: expected fewer"):
            rate_of("cosine", epochs=5, steps_per_epoch=10, warm_up=warm_up)

    def test_a_warm_up_of_all_but_one_epoch_is_not(self):
        assert rate_of("cosine", epochs=5, steps_per_epoch=10, warm_up=4)(40) == 1
