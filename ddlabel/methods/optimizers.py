"""Optimizers by name: `optimizer(parameters, *, options) -> torch.optim.Optimizer`."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter
from torch.optim import Optimizer

from ddlabel.core.errors import UsageError
from ddlabel.core.registry import Registry, as_usage_error, with_options_of

Parameters = Iterable[Parameter]
ParamGroups = list[dict[str, Any]]
Factory = Callable[..., Optimizer]
optimizers: Registry[Factory] = Registry("optimizer")

# The largest learning rate: torch computes in float32 and fails in the step beyond its range.
_MAX_LR = 1e30


def optimizer_of(spec: str, parameters: Parameters) -> Optimizer:
    """Return the optimizer of a spec for these parameters.

    Raises:
        UsageError: The optimizer or one of its options is unknown, or a value is out of range.
    """
    factory = optimizers.resolve(spec)
    with as_usage_error(f"optimizer {spec!r}"):
        optimizer = factory(parameters)
    lr = optimizer.param_groups[0]["lr"]
    if lr > _MAX_LR:
        raise UsageError(
            f"optimizer {spec!r}: lr is {lr:g}: expected a learning rate of at most {_MAX_LR:g}"
        )
    return optimizer


def keeps_state(spec: str) -> bool:
    """Return whether the optimizer of a spec remembers more than the parameters, as momentum is."""
    parameter = Parameter(torch.zeros(1, 1))
    parameter.grad = torch.zeros(1, 1)
    optimizer = optimizer_of(spec, [parameter])
    optimizer.step()
    return any(optimizer.state.values())


def _param_groups(parameters: Parameters, weight_decay: float, *, decay_norms: bool) -> ParamGroups:
    """Put parameters into groups with their weight decay.

    Without `decay_norms`, parameters of at most one axis (norms and biases) have no decay.
    """
    if weight_decay < 0:
        raise ValueError(f"weight_decay is {weight_decay}: expected at least 0")
    parameters = list(parameters)
    if decay_norms:
        return [{"params": parameters, "weight_decay": weight_decay}]
    weights = [parameter for parameter in parameters if parameter.ndim > 1]
    norms_and_biases = [parameter for parameter in parameters if parameter.ndim <= 1]
    return [
        {"params": weights, "weight_decay": weight_decay},
        {"params": norms_and_biases, "weight_decay": 0.0},
    ]


def _add_with_decay(default_decay: float = 1e-4) -> Callable[[Factory], Factory]:
    """Register an optimizer factory and add the options `weight_decay` and `decay_norms`.

    The decorated function takes parameter groups; the registered one takes parameters.
    """

    def register(factory: Factory) -> Factory:
        @optimizers.named(factory.__name__)
        @with_options_of(factory)
        def optimizer(
            parameters: Parameters,
            *,
            weight_decay: float = default_decay,
            decay_norms: bool = True,
            **options: Any,
        ) -> Optimizer:
            groups = _param_groups(parameters, weight_decay, decay_norms=decay_norms)
            return factory(groups, **options)

        optimizer.__doc__ = factory.__doc__
        return factory

    return register


@_add_with_decay(default_decay=5e-4)
def sgd(
    groups: ParamGroups, *, lr: float = 0.01, momentum: float = 0.9, nesterov: bool = False
) -> Optimizer:
    """Stochastic gradient descent. The defaults are Label-Worth's for students."""
    optimizer = torch.optim.SGD(groups, lr=lr, momentum=momentum, nesterov=nesterov, fused=True)
    if momentum:
        optimizer.register_step_pre_hook(_begin_with_zero_momentum)
    return optimizer


def _begin_with_zero_momentum(optimizer: Optimizer, *_: Any) -> None:
    """Give parameters that have none a momentum of zero.

    torch takes memory as it is, to write the first gradient there. If this gradient overflows, in
    fp16, the step is left out, and the next one goes on from whatever the memory had.
    """
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            state = optimizer.state[parameter]
            if parameter.grad is not None and "momentum_buffer" not in state:
                state["momentum_buffer"] = torch.zeros_like(parameter)


@_add_with_decay()
def adam(
    groups: ParamGroups, *, lr: float = 1e-3, beta1: float = 0.9, beta2: float = 0.999
) -> Optimizer:
    """Adam with weight decay added to the gradient."""
    return torch.optim.Adam(groups, lr=lr, betas=(beta1, beta2), fused=True)


@_add_with_decay()
def adamw(
    groups: ParamGroups, *, lr: float = 1e-3, beta1: float = 0.9, beta2: float = 0.999
) -> Optimizer:
    """Adam with decoupled weight decay. The defaults are GIFT's (its code: weight decay 1e-4)."""
    return torch.optim.AdamW(groups, lr=lr, betas=(beta1, beta2), fused=True)


@_add_with_decay()
def rmsprop(
    groups: ParamGroups, *, lr: float = 1e-3, alpha: float = 0.99, momentum: float = 0.0
) -> Optimizer:
    """RMSprop: the gradient over the root of its running mean square (Hinton's lecture 6e)."""
    return torch.optim.RMSprop(groups, lr=lr, alpha=alpha, momentum=momentum)


@_add_with_decay(default_decay=1e-3)
def lion(
    groups: ParamGroups, *, lr: float = 1e-4, beta1: float = 0.9, beta2: float = 0.99
) -> Optimizer:
    """Lion: the sign of a blend of momentum and gradient, decay decoupled (Chen et al. 2023).

    Raises:
        ValueError: The learning rate is negative or a beta is outside [0, 1).
    """
    betas_fit = 0 <= beta1 < 1 and 0 <= beta2 < 1
    if lr < 0 or not betas_fit:
        raise ValueError(
            f"lr is {lr}, beta1 {beta1}, beta2 {beta2}: expected lr ≥ 0 and betas in [0, 1)"
        )
    return _Lion(groups, {"lr": lr, "betas": (beta1, beta2)})


class _Lion(Optimizer):
    """Lion for torch, which has none; `torch.optim.Optimizer` asks for a class."""

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]  # noqa: ARG002
        """Update every parameter that has a gradient."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, group)

    def _update(self, parameter: Parameter, group: dict[str, Any]) -> None:
        gradient = parameter.grad
        assert gradient is not None
        beta1, beta2 = group["betas"]
        state = self.state[parameter]
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(parameter)
        momentum: Tensor = state["momentum"]
        direction = momentum.lerp(gradient, 1 - beta1).sign()
        parameter.mul_(1 - group["lr"] * group["weight_decay"])
        parameter.add_(direction, alpha=-group["lr"])
        momentum.lerp_(gradient, 1 - beta2)
