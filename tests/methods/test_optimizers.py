"""Optimizers against steps written in numpy, and the contract of every registered optimizer."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch.nn import Parameter

from ddlabel.core.errors import UsageError
from ddlabel.methods.optimizers import optimizer_of, optimizers

# Every optimizer at its defaults, and with every option at another value. A test checks both.
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


def name_of(spec):
    return spec.partition(":")[0]


def test_specs_try_every_optimizer_at_its_defaults_and_with_every_option():
    tried = {name: set() for name in optimizers}
    for spec in OPTIMIZERS:
        tried[name_of(spec)] |= set(optimizers.resolve(spec).keywords)
    assert tried == {entry.name: set(entry.options) for entry in optimizers.entries()}
    assert set(optimizers) <= set(OPTIMIZERS)


# An oracle yields the value of a parameter `x` after each gradient. The defaults are documented.


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


def weight_and_bias(seed=0):
    generator = np.random.default_rng(seed)
    return [Parameter(torch.from_numpy(generator.normal(size=shape))) for shape in ((3, 2), (2,))]


def take_step(optimizer, parameters, step):
    """Take one step with random gradients that depend on its number; return them."""
    generator = np.random.default_rng(100 + step)
    for p in parameters:
        p.grad = torch.from_numpy(generator.normal(size=tuple(p.shape)))
    optimizer.step()
    return [p.grad.numpy().copy() for p in parameters]


class TestSteps:
    def test_every_optimizer_has_an_oracle(self):
        assert set(ORACLES) == set(optimizers)

    @pytest.mark.parametrize("spec", OPTIMIZERS)
    def test_equal_the_oracle(self, spec):
        parameters = weight_and_bias()
        start = [p.detach().numpy().copy() for p in parameters]
        optimizer = optimizer_of(spec, parameters)
        gradients = []
        values = []
        for step in range(6):
            gradients.append(take_step(optimizer, parameters, step))
            values.append([p.detach().numpy().copy() for p in parameters])
        options = dict(optimizers.resolve(spec).keywords)
        decay_norms = options.pop("decay_norms", True)
        for i, x in enumerate(start):
            no_decay = x.ndim == 1 and not decay_norms
            decay = {"weight_decay": 0.0} if no_decay else {}
            expected = ORACLES[name_of(spec)](x, [g[i] for g in gradients], **options | decay)
            for ours, theirs in zip(values, expected, strict=True):
                np.testing.assert_allclose(ours[i], theirs, rtol=1e-10)

    def test_sgd_equals_the_steps_worked_by_hand(self):
        # From 1 with gradients 1, 1: velocities 1 and 1.5 at momentum ½, so 1 − 0.1·(1 + 1.5).
        x = Parameter(torch.tensor([1.0]))
        optimizer = optimizer_of("sgd:lr=0.1,momentum=0.5,weight-decay=0", [x])
        for _ in range(2):
            x.grad = torch.ones(1)
            optimizer.step()
        assert x.item() == pytest.approx(0.75)

    def test_sgd_begins_with_zero_momentum_after_a_step_that_was_left_out(self):
        x = Parameter(torch.tensor([1.0]))
        optimizer = optimizer_of("sgd:lr=0.1,momentum=0.5,weight-decay=0", [x])
        for found_inf in (1.0, 0.0):
            optimizer.found_inf = torch.tensor(found_inf)
            x.grad = torch.ones(1)
            optimizer.step()
            assert optimizer.state[x]["momentum_buffer"].item() == 1 - found_inf
        assert x.item() == pytest.approx(0.9)

    def test_lion_equals_the_steps_worked_by_hand(self):
        # Gradients 1 and −0.05: the momentum becomes 0.01, and 0.9·0.01 − 0.1·0.05 > 0. So both
        # steps go down by 0.1; there is no decay.
        x = Parameter(torch.tensor([1.0]))
        optimizer = optimizer_of("lion:lr=0.1,weight-decay=0", [x])
        for gradient in (1.0, -0.05):
            x.grad = torch.tensor([gradient])
            optimizer.step()
        assert x.item() == pytest.approx(0.8)

    def test_adam_couples_decay_and_adamw_does_not(self):
        # With a zero gradient, Adam turns decay into a step of about lr; AdamW shrinks by lr·decay.
        steps = {}
        for name in ("adam", "adamw"):
            x = Parameter(torch.tensor([10.0]))
            x.grad = torch.zeros(1)
            optimizer_of(f"{name}:lr=0.1,weight-decay=0.01", [x]).step()
            steps[name] = 10 - x.item()
        assert steps["adam"] == pytest.approx(0.1, rel=1e-3)
        assert steps["adamw"] == pytest.approx(10 * 0.1 * 0.01, rel=1e-3)


@pytest.mark.parametrize("name", sorted(optimizers))
class TestEveryOptimizer:
    def test_minimises_a_narrow_parabola(self, name):
        minimum = torch.tensor([[3.0, -2.0], [0.5, 1.0]])
        curvature = torch.tensor([[1.0, 0.1], [3.0, 0.5]])
        x = Parameter(torch.zeros(2, 2))
        optimizer = optimizer_of(f"{name}:lr=0.03,weight-decay=0", [x])
        values = []
        for _ in range(300):
            optimizer.zero_grad()
            value = (curvature * (x - minimum).square()).sum()
            value.backward()
            optimizer.step()
            values.append(value.item())
        assert values[-1] < 0.05 * values[0]

    @pytest.mark.parametrize("decay_norms", ["true", "false"])
    def test_decay_shrinks_weights_and_spares_biases_without_decay_norms(self, name, decay_norms):
        weight, bias = weight_and_bias()
        old_weight = weight.detach().clone()
        old_bias = bias.detach().clone()
        spec = f"{name}:lr=0.01,weight-decay=0.1,decay-norms={decay_norms}"
        optimizer = optimizer_of(spec, [weight, bias])
        weight.grad = torch.zeros_like(weight)
        bias.grad = torch.zeros_like(bias)
        optimizer.step()
        assert (weight.abs() < old_weight.abs()).all()
        if decay_norms == "true":
            assert (bias.abs() < old_bias.abs()).all()
        else:
            assert torch.equal(bias, old_bias)

    def test_every_parameter_is_in_one_group(self, name):
        scalar = Parameter(torch.ones(()))
        kernel = Parameter(torch.ones(2, 3, 3, 3))
        parameters = [*weight_and_bias(), scalar, kernel]
        for decay_norms in ("true", "false"):
            optimizer = optimizer_of(f"{name}:decay-norms={decay_norms}", iter(parameters))
            grouped = [p for group in optimizer.param_groups for p in group["params"]]
            assert sorted(map(id, grouped)) == sorted(map(id, parameters))

    def test_parameters_without_a_gradient_stay(self, name):
        learned, frozen = weight_and_bias()
        before = frozen.detach().clone()
        optimizer = optimizer_of(f"{name}:weight-decay=0.5", [learned, frozen])
        learned.grad = torch.ones_like(learned)
        optimizer.step()
        assert torch.equal(frozen, before)

    def test_resumes_from_a_saved_state(self, name):
        parameters = weight_and_bias()
        optimizer = optimizer_of(name, parameters)
        for step in range(3):
            take_step(optimizer, parameters, step)
        copies = [Parameter(p.detach().clone()) for p in parameters]
        resumed = optimizer_of(name, copies)
        resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
        for step in range(3, 6):
            take_step(optimizer, parameters, step)
            take_step(resumed, copies, step)
        for parameter, copied in zip(parameters, copies, strict=True):
            assert torch.equal(parameter, copied)

    def test_follows_the_learning_rate_that_a_schedule_sets(self, name):
        parameters = weight_and_bias()
        before = [p.detach().clone() for p in parameters]
        optimizer = optimizer_of(name, parameters)
        for group in optimizer.param_groups:
            group["lr"] = 0.0
        take_step(optimizer, parameters, 0)
        for p, old in zip(parameters, before, strict=True):
            assert torch.equal(p, old)

    @pytest.mark.parametrize("option", ["weight-decay=-0.1", "lr=-0.1"])
    def test_negative_values_are_refused(self, name, option):
        with pytest.raises(UsageError, match=f"{name}:{option}"):
            optimizer_of(f"{name}:{option}", weight_and_bias())


@pytest.mark.parametrize(
    "spec",
    [
        "adam:beta1=1",
        "adamw:beta2=1.5",
        "lion:beta1=1",
        "lion:beta2=-0.1",
        "sgd:momentum=0,nesterov=true",
        "sgd:lr=1e31",
    ],
)
def test_values_out_of_range_are_refused(spec):
    with pytest.raises(UsageError, match=spec):
        optimizer_of(spec, weight_and_bias())
