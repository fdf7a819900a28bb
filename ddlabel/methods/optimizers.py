"""Optimizers and learning-rate schedules, by name."""

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter
from torch.optim import Optimizer

from ddlabel.core.errors import UsageError
from ddlabel.core.registry import Registry, as_usage_error, with_options_of

Parameters = Iterable[Parameter]
Groups = list[dict[str, Any]]
Make = Callable[..., Optimizer]
optimizers: Registry[Make] = Registry("optimizer")
schedules: Registry[Callable[..., float]] = Registry("schedule")


def optimizer_of(spec: str, parameters: Parameters) -> Optimizer:
    """The optimizer of a spec over these parameters; UsageError for an unknown one, or a value that it cannot have."""
    make = optimizers.resolve(spec)
    with as_usage_error(f"optimizer {spec!r}"):
        optimizer = make(parameters)
    if optimizer.param_groups[0]["lr"] > 1e30:  # beyond float32, torch fails in the step
        raise UsageError(f"optimizer {spec!r}: expected a learning rate of at most 1e30")
    return optimizer


def rate_of(
    spec: str, *, epochs: int, steps_per_epoch: int, warm_up: float = 0
) -> Callable[[int], float]:
    """The schedule of a spec as a factor for every step; a linear rise over `warm_up` epochs comes before it.

    UsageError for an unknown spec, or a warm-up that leaves no epoch.
    """
    schedule = schedules.resolve(spec)
    if warm_up >= epochs:
        raise UsageError(f"--warm-up is {warm_up:g} of {epochs} epochs: expected fewer")
    rise = round(warm_up * steps_per_epoch)

    def rate(step: int) -> float:
        if step < rise:
            return (step + 1) / (rise + 1)
        return float(schedule((step - rise) // steps_per_epoch, math.ceil(epochs - warm_up)))

    return rate


def _groups(parameters: Parameters, weight_decay: float, decay_norms: bool) -> Groups:
    """Parameters with their decay: norms and biases, which have one axis, can go without."""
    if weight_decay < 0:
        raise ValueError(f"weight_decay is {weight_decay}: expected at least 0")
    every = list(parameters)
    if decay_norms:
        return [{"params": every, "weight_decay": weight_decay}]
    weights, others = ([p for p in every if (p.ndim > 1) == wanted] for wanted in (True, False))
    return [
        {"params": weights, "weight_decay": weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]


def _optimizer(decay: float = 1e-4) -> Callable[[Make], Make]:
    """A decorator of what makes an optimizer of groups: registered, it is of parameters and has options of decay."""

    def register(make: Make) -> Make:
        @optimizers.named(make.__name__)
        @with_options_of(make)
        def optimizer(
            parameters: Parameters,
            *,
            weight_decay: float = decay,
            decay_norms: bool = True,
            **own: Any,
        ) -> Optimizer:
            return make(_groups(parameters, weight_decay, decay_norms), **own)

        optimizer.__doc__ = make.__doc__
        return make

    return register


@_optimizer(decay=5e-4)
def sgd(
    groups: Groups, *, lr: float = 0.01, momentum: float = 0.9, nesterov: bool = False
) -> Optimizer:
    """Stochastic gradient descent; the defaults are Label-Worth's for students."""
    return torch.optim.SGD(groups, lr=lr, momentum=momentum, nesterov=nesterov, fused=True)


@_optimizer()
def adam(
    groups: Groups, *, lr: float = 1e-3, beta1: float = 0.9, beta2: float = 0.999
) -> Optimizer:
    """Adam with the decay coupled into the gradient."""
    return torch.optim.Adam(groups, lr=lr, betas=(beta1, beta2), fused=True)


@_optimizer()
def adamw(
    groups: Groups, *, lr: float = 1e-3, beta1: float = 0.9, beta2: float = 0.999
) -> Optimizer:
    """Adam with decoupled decay; the defaults are GIFT's (its code has weight decay 1e-4)."""
    return torch.optim.AdamW(groups, lr=lr, betas=(beta1, beta2), fused=True)


@_optimizer()
def rmsprop(
    groups: Groups, *, lr: float = 1e-3, alpha: float = 0.99, momentum: float = 0.0
) -> Optimizer:
    """RMSprop: the gradient over the root of its running mean square (Hinton's lecture 6e)."""
    return torch.optim.RMSprop(groups, lr=lr, alpha=alpha, momentum=momentum)


@_optimizer(decay=1e-3)
def lion(groups: Groups, *, lr: float = 1e-4, beta1: float = 0.9, beta2: float = 0.99) -> Optimizer:
    """Lion: the sign of a blend of momentum and gradient, decay decoupled (Chen et al. 2023)."""
    if lr < 0 or not (0 <= beta1 < 1 and 0 <= beta2 < 1):
        raise ValueError(
            f"lr is {lr}, beta1 {beta1}, beta2 {beta2}: expected lr ≥ 0 and betas in [0, 1)"
        )
    return _Lion(groups, {"lr": lr, "betas": (beta1, beta2)})


class _Lion(Optimizer):
    """torch has none; `torch.optim.Optimizer` asks for a class."""

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]  # noqa: ARG002 - torch's signature
        """One update of every parameter that has a gradient."""
        for group in self.param_groups:
            beta1, beta2 = group["betas"]
            for p in (p for p in group["params"] if p.grad is not None):
                momentum: Tensor = self.state[p].setdefault("momentum", torch.zeros_like(p))
                p.mul_(1 - group["lr"] * group["weight_decay"])
                p.add_(momentum.lerp(p.grad, 1 - beta1).sign(), alpha=-group["lr"])
                momentum.lerp_(p.grad, 1 - beta2)


@schedules.add
def constant(epoch: int, epochs: int) -> float:  # noqa: ARG001 - one signature for all schedules
    """The learning rate as it is given."""
    return 1.0


@schedules.add
def step(epoch: int, epochs: int, *, every: float = 0.25, factor: float = 0.3) -> float:
    """× `factor` after each share `every` of the epochs (Label-Worth's students: a quarter, × 0.3)."""
    return factor ** (epoch // max(1, math.floor(every * epochs + 1e-9)))


@schedules.add
def multistep(
    epoch: int, epochs: int, *, milestones: tuple[float, ...] = (2 / 3, 5 / 6), factor: float = 0.2
) -> float:
    """× `factor` at each milestone, as shares of the epochs (GIFT, Table 15: 2/3 and 5/6, × 0.2)."""
    # A hair of tolerance: 2/3 of 1000 epochs is epoch 666, as integer division has it.
    return float(
        factor ** sum(epoch >= math.floor(milestone * epochs + 1e-9) for milestone in milestones)
    )


@schedules.add
def cosine(epoch: int, epochs: int, *, end: float = 0.0) -> float:
    """Half a cosine from 1 down to `end`."""
    return end + (1 - end) * 0.5 * (1 + math.cos(math.pi * epoch / epochs))


@schedules.add
def half_cosine(epoch: int, epochs: int) -> float:
    """½·(1 + cos(π·epoch/2E)): from 1 down to ½ (RDED's public code)."""
    return 0.5 * (1 + math.cos(math.pi * epoch / (2 * epochs)))


@schedules.add
def linear(epoch: int, epochs: int, *, end: float = 0.0) -> float:
    """A straight line from 1 down to `end`."""
    return 1 - (1 - end) * epoch / epochs
