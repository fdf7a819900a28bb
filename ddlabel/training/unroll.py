"""Training that gradients pass through: the weights at its end as a function of the labels."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.func import functional_call

from ddlabel.core.errors import UsageError
from ddlabel.core.registry import Registry
from ddlabel.methods.losses import soft_ce
from ddlabel.training.loop import Batch

# Running means [P] that an optimizer keeps, at first 0, and the number of steps done.
Memory = tuple[Tensor | float, Tensor | float, int]
# Weights [P] and memory.
State = tuple[Tensor, Memory]
# Those after a step, from the weights before it, the gradient [P] and the memory.
Update = Callable[[Tensor, Tensor, Memory], State]
updates: Registry[Callable[..., State]] = Registry("inner optimizer")


@updates.add
def sgd(
    weights: Tensor, gradient: Tensor, memory: Memory, *, lr: float = 0.01, momentum: float = 0.0
) -> State:
    """Stochastic gradient descent, as torch has it."""
    _check(lr, momentum)
    velocity = momentum * memory[0] + gradient
    return weights - lr * velocity, (velocity, 0.0, memory[2] + 1)


@updates.add
def adam(
    weights: Tensor,
    gradient: Tensor,
    memory: Memory,
    *,
    lr: float = 1e-3,
    beta1: float = 0.9,
    beta2: float = 0.999,
) -> State:
    """Adam; ε² = 10⁻¹⁶ stands under the root, which has no slope at 0."""
    _check(lr, beta1, beta2)
    mean = beta1 * memory[0] + (1 - beta1) * gradient
    square, steps = beta2 * memory[1] + (1 - beta2) * gradient**2, memory[2] + 1
    root = (square / (1 - beta2**steps) + 1e-16).sqrt()
    return weights - lr / (1 - beta1**steps) * mean / root, (mean, square, steps)


def _check(lr: float, *shares: float) -> None:
    if not (lr >= 0 and all(0 <= share < 1 for share in shares)):
        raise UsageError("--inner: expected lr of at least 0, momentum and betas from 0 to below 1")


def run_body(body: nn.Module, weights: Tensor, images: Tensor) -> Tensor:
    """Logits of a network whose parameters are the parts of one vector [P], in their order."""
    parts = torch.split(weights, [p.numel() for p in body.parameters()])
    named = zip(body.named_parameters(), parts, strict=True)
    logits: Tensor = functional_call(
        body, {name: part.view_as(p) for (name, p), part in named}, (images,)
    )
    return logits


def unroll(
    body: nn.Module, weights: Tensor, batch: Batch, update: Update, *, steps: int, window: int
) -> Tensor:
    """Weights [P] after `steps` on `batch(step)` by soft cross-entropy, from `weights` [P].

    Gradients pass the last `window` steps, which alone are kept in memory (truncated back-propagation through time).
    """
    memory: Memory = (0.0, 0.0, 0)
    for step in range(steps):
        inside = step >= steps - window
        if step <= steps - window:
            weights = weights.detach().requires_grad_()
        images, target = batch(step)
        loss = soft_ce(run_body(body, weights, images), target)
        (gradient,) = torch.autograd.grad(loss, weights, create_graph=inside)
        with torch.set_grad_enabled(inside):
            weights, memory = update(weights, gradient, memory)
    return weights
