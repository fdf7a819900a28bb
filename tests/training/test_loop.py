"""The loop against training written out by hand."""

from __future__ import annotations

import math

import pytest
import torch
from networks import CPU
from torch import Tensor, nn

from ddlabel.methods.labels.target import Target
from ddlabel.training.loop import TrainSpec, fit, shuffled_rows

INPUTS = torch.tensor([[2.0, 1.0], [0.5, -1.0]])
TARGET = Target.of_classes(torch.zeros(2, dtype=torch.int64), 2)


def new_weight(*values: float) -> nn.Parameter:
    return nn.Parameter(torch.tensor([values]))


def mean_square(outputs: Tensor, *_: object) -> Tensor:
    return outputs.square().mean()


def spec_of(weight: nn.Parameter, *, lr: float = 0.1, **changes) -> TrainSpec:
    """Gradient descent on the mean square of `INPUTS @ weight.T`."""
    settings = {
        "batch": lambda _: (INPUTS, TARGET),
        "loss": mean_square,
        "optimizer": torch.optim.SGD([weight], lr=lr),
        "lr_factor": lambda _: 1.0,
    }
    return TrainSpec(**settings | changes)


def train(weight: nn.Parameter, *, num_steps: int = 1, spec: TrainSpec | None = None, **options):
    """Train one linear network without a bias."""
    return fit(
        lambda images: images @ weight.T,
        [spec or spec_of(weight)],
        steps=range(num_steps),
        layer_seed=lambda step: step,
        **options,
    )


def descend(weight: Tensor, factors: list[float], lr: float = 0.1) -> tuple[Tensor, list[float]]:
    """The weight after gradient descent with these factors of the learning rate, and the losses."""
    weight = weight.detach().clone()
    losses = []
    for factor in factors:
        outputs = INPUTS @ weight.T
        losses.append(outputs.square().mean().item())
        gradient = 2 * (outputs * INPUTS).mean(0)
        weight -= lr * factor * gradient
    return weight, losses


class TestFit:
    def test_it_is_gradient_descent_with_the_scheduled_rate(self):
        weight = new_weight(1.0, -1.0)
        factors = [1.0, 0.5, 0.25]
        expected, _ = descend(weight, factors)
        train(weight, num_steps=3, spec=spec_of(weight, lr_factor=factors.__getitem__))
        torch.testing.assert_close(weight.detach(), expected)

    def test_callbacks_get_the_mean_losses_since_the_callback_before(self):
        weight = new_weight(1.0, -1.0)
        _, losses = descend(weight, [1.0] * 6)
        seen = []
        callbacks = {2: seen.extend, 5: seen.extend}
        (last,) = train(weight, num_steps=6, callbacks=callbacks)
        assert seen == pytest.approx([sum(losses[:2]) / 2, sum(losses[2:5]) / 3])
        assert last == pytest.approx(losses[5])

    def test_the_last_mean_is_nan_if_no_step_came_after_a_callback(self):
        (last,) = train(new_weight(1.0, -1.0), num_steps=2, callbacks={2: lambda _: None})
        assert math.isnan(last)

    def test_networks_side_by_side_are_trained_by_their_own_specs(self):
        first, second = new_weight(1.0, -1.0), new_weight(0.5, 2.0)
        expected = [descend(first, [1.0] * 3, lr=0.1)[0], descend(second, [1.0] * 3, lr=0.01)[0]]
        fit(
            lambda images: torch.stack([images[0] @ first.T, images[1] @ second.T]),
            [spec_of(first, lr=0.1), spec_of(second, lr=0.01)],
            steps=range(3),
            layer_seed=lambda step: step,
        )
        torch.testing.assert_close(first.detach(), expected[0])
        torch.testing.assert_close(second.detach(), expected[1])

    def test_the_batch_and_the_loss_are_those_of_the_step(self):
        weight = new_weight(1.0, -1.0)
        batches, losses = [], []

        def batch(step):
            batches.append(step)
            return INPUTS, TARGET

        def loss(outputs, target, step):
            losses.append((target, step))
            return mean_square(outputs)

        train(weight, num_steps=3, spec=spec_of(weight, batch=batch, loss=loss))
        assert batches == [0, 1, 2]
        assert losses == [(TARGET, 0), (TARGET, 1), (TARGET, 2)]

    def test_an_optimizer_may_have_a_group_without_parameters(self):
        weight = new_weight(1.0, -1.0)
        expected, _ = descend(weight, [1.0])
        optimizer = torch.optim.SGD([{"params": []}, {"params": [weight]}], lr=0.1)
        train(weight, spec=spec_of(weight, optimizer=optimizer))
        torch.testing.assert_close(weight.detach(), expected)


class TestRandomLayers:
    def test_layers_draw_from_the_seed_of_the_step(self):
        weight = new_weight(1.0, -1.0)
        drawn = []

        def forward(images):
            drawn.append(torch.rand(()).item())
            return images @ weight.T

        options = {"steps": range(3), "layer_seed": lambda step: 7 + step}
        fit(forward, [spec_of(weight)], **options)
        seeds = [torch.Generator().manual_seed(7 + step) for step in range(3)]
        assert drawn == [torch.rand((), generator=generator).item() for generator in seeds]

    def test_the_global_generator_is_left_as_it_was(self):
        before = torch.get_rng_state()
        train(new_weight(1.0, -1.0), num_steps=2)
        assert torch.equal(torch.get_rng_state(), before)


class TestScaledLosses:
    def test_weights_and_losses_are_those_without_scaling(self):
        scaled, plain = new_weight(1.0, -1.0), new_weight(1.0, -1.0)
        losses = train(scaled, num_steps=3, scaler=torch.amp.GradScaler("cpu"))
        assert losses == pytest.approx(train(plain, num_steps=3))
        torch.testing.assert_close(scaled, plain)

    @pytest.mark.parametrize("fused", [False, True])
    def test_who_records_gradients_sees_them_without_scaling(self, fused):
        weight = new_weight(1.0, -1.0)
        optimizer = torch.optim.SGD([weight], lr=0.1, fused=fused)
        seen = []
        optimizer.register_step_pre_hook(lambda *_: seen.append(weight.grad.clone()))
        outputs = INPUTS @ weight.detach().T
        spec = spec_of(weight, optimizer=optimizer)
        train(weight, spec=spec, scaler=torch.amp.GradScaler("cpu"))
        torch.testing.assert_close(seen[0], 2 * (outputs * INPUTS).mean(0, keepdim=True))

    def test_a_step_whose_gradient_overflows_is_left_out(self):
        weight = new_weight(1.0, -1.0)
        expected, _ = descend(weight, [1.0])

        def loss(outputs, target, step):
            return mean_square(outputs) * (math.inf if step == 0 else 1.0)

        train(
            weight, num_steps=2, spec=spec_of(weight, loss=loss), scaler=torch.amp.GradScaler("cpu")
        )
        torch.testing.assert_close(weight.detach(), expected)


class TestShuffledRows:
    def test_every_pass_takes_each_row_once_in_another_order(self):
        rows_of_step = shuffled_rows(10, 4, lambda number: number, CPU)
        steps_of_passes = (range(3), range(3, 6))
        passes = [
            [int(row) for step in steps for row in rows_of_step(step)] for steps in steps_of_passes
        ]
        assert sorted(passes[0]) == sorted(passes[1]) == list(range(10))
        assert passes[0] != passes[1]

    def test_the_last_batch_of_a_pass_may_be_smaller(self):
        rows_of_step = shuffled_rows(10, 4, lambda number: number, CPU)
        assert [len(rows_of_step(step)) for step in range(6)] == [4, 4, 2, 4, 4, 2]

    def test_any_step_can_be_asked_for_at_once(self):
        in_order = shuffled_rows(10, 4, lambda number: number, CPU)
        expected = [in_order(step).tolist() for step in range(5)][4]
        resumed = shuffled_rows(10, 4, lambda number: number, CPU)
        assert resumed(4).tolist() == expected

    def test_the_order_depends_on_the_seed_of_the_pass(self):
        same, other = (
            shuffled_rows(50, 50, lambda number, add=add: number + add, CPU) for add in (0, 1)
        )
        assert same(1).tolist() == other(0).tolist()
        assert same(0).tolist() != other(0).tolist()
