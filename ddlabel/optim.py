"""Optimizers and learning-rate schedules, by name."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import torch
from torch.nn import Parameter
from torch.optim import Optimizer

from ddlabel.errors import UsageError
from ddlabel.registry import Registry

optimizers: Registry[Callable[..., Optimizer]] = Registry("optimizer")
schedules: Registry[Callable[..., float]] = Registry("schedule")


def optimizer_of(spec: str, parameters: Iterable[Parameter]) -> Optimizer:
    """The optimizer of a spec over these parameters.

    Raises:
        UsageError: for an unknown spec, or a value that the optimizer cannot have.
    """
    make = optimizers.resolve(spec)
    try:
        optimizer: Optimizer = make(parameters)
    except ValueError as error:
        raise UsageError(f"optimizer {spec!r}: {error}") from error
    return optimizer


@optimizers.add
def sgd(
    parameters: Iterable[Parameter],
    *,
    lr: float = 0.01,
    momentum: float = 0.9,
    weight_decay: float = 5e-4,
    nesterov: bool = False,
) -> Optimizer:
    """Stochastic gradient descent; the defaults are Label-Worth's for students."""
    return torch.optim.SGD(parameters, lr=lr, momentum=momentum, weight_decay=weight_decay, nesterov=nesterov)


@optimizers.add
def adam(
    parameters: Iterable[Parameter],
    *,
    lr: float = 1e-3,
    beta1: float = 0.9,
    beta2: float = 0.999,
    weight_decay: float = 1e-4,
) -> Optimizer:
    """Adam with the decay coupled into the gradient."""
    return torch.optim.Adam(parameters, lr=lr, betas=(beta1, beta2), weight_decay=weight_decay)


@optimizers.add
def adamw(
    parameters: Iterable[Parameter],
    *,
    lr: float = 1e-3,
    beta1: float = 0.9,
    beta2: float = 0.999,
    weight_decay: float = 1e-4,
) -> Optimizer:
    """Adam with decoupled decay; the defaults are GIFT's (its code has weight decay 1e-4)."""
    return torch.optim.AdamW(parameters, lr=lr, betas=(beta1, beta2), weight_decay=weight_decay)


@schedules.add
def constant(epoch: int, epochs: int) -> float:  # noqa: ARG001 - one signature for all schedules
    """The learning rate as it is given."""
    return 1.0


@schedules.add
def step(epoch: int, epochs: int, *, every: float = 0.25, factor: float = 0.3) -> float:
    """× `factor` after each share `every` of the epochs (Label-Worth's students: a quarter, × 0.3)."""
    return factor ** (epoch // max(1, math.floor(every * epochs)))


@schedules.add
def multistep(epoch: int, epochs: int, *, milestones: tuple[float, ...] = (2 / 3, 5 / 6), factor: float = 0.2) -> float:
    """× `factor` at each milestone, as shares of the epochs (GIFT, Table 15: 2/3 and 5/6, × 0.2)."""
    # A hair of tolerance: 2/3 of 1000 epochs is epoch 666, as integer division has it.
    return float(factor ** sum(epoch >= math.floor(milestone * epochs + 1e-9) for milestone in milestones))


@schedules.add
def cosine(epoch: int, epochs: int, *, end: float = 0.0) -> float:
    """Half a cosine from 1 down to `end`."""
    return end + (1 - end) * 0.5 * (1 + math.cos(math.pi * epoch / epochs))
