"""Training that gradients pass through: the trained weights as a function of the labels."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.modules.batchnorm import _BatchNorm

from ddlabel.core.errors import UsageError
from ddlabel.core.registry import Registry
from ddlabel.methods.losses import soft_ce
from ddlabel.training.loop import Batch

# Adam's ε², which stands under the root here: a root has no slope at 0.
_ADAM_EPSILON_SQUARED = 1e-16


class Moments(NamedTuple):
    """The state of an inner optimizer: running moments [P] of the gradient, and finished steps.

    `first` is the velocity of gradient descent with momentum.
    """

    first: Tensor | float = 0.0
    second: Tensor | float = 0.0
    num_steps: int = 0


# Returns the weights [P] after a step and the new moments, from the weights [P] before it, the
# gradient [P] and the moments.
Update = Callable[[Tensor, Tensor, Moments], tuple[Tensor, Moments]]
updates: Registry[Callable[..., tuple[Tensor, Moments]]] = Registry("inner optimizer")


@updates.add
def sgd(
    weights: Tensor, gradient: Tensor, moments: Moments, *, lr: float = 0.01, momentum: float = 0.0
) -> tuple[Tensor, Moments]:
    """Stochastic gradient descent, as torch has it."""
    _check_options(lr, momentum)
    velocity = momentum * moments.first + gradient
    return weights - lr * velocity, Moments(velocity, 0.0, moments.num_steps + 1)


@updates.add
def adam(
    weights: Tensor,
    gradient: Tensor,
    moments: Moments,
    *,
    lr: float = 1e-3,
    beta1: float = 0.9,
    beta2: float = 0.999,
) -> tuple[Tensor, Moments]:
    """Adam; ε² = 10⁻¹⁶ stands under the root, which has no slope at 0."""
    _check_options(lr, beta1, beta2)
    first = beta1 * moments.first + (1 - beta1) * gradient
    second = beta2 * moments.second + (1 - beta2) * gradient**2
    num_steps = moments.num_steps + 1
    root = (second / (1 - beta2**num_steps) + _ADAM_EPSILON_SQUARED).sqrt()
    corrected_lr = lr / (1 - beta1**num_steps)
    return weights - corrected_lr * first / root, Moments(first, second, num_steps)


def functional_logits(body: nn.Module, weights: Tensor, images: Tensor) -> Tensor:
    """Return logits [B, K] of a network whose parameters, in their order, are the vector [P]."""
    sizes = [parameter.numel() for parameter in body.parameters()]
    parts = torch.split(weights, sizes)
    parameters = {
        name: part.view_as(parameter)
        for (name, parameter), part in zip(body.named_parameters(), parts, strict=True)
    }
    # The fused kernels of attention have no second derivative.
    with sdpa_kernel(SDPBackend.MATH):
        logits: Tensor = functional_call(body, parameters, (images,))
    return logits


def without_layer_state(body: nn.Module) -> None:
    """Make a network a function of its weights and a batch alone.

    Dropout is turned off. Batch norm takes the mean and variance of every batch, in training and
    after it, as the students of RaT-BPTT do: no gradient would flow through running statistics.
    """
    for module in body.modules():
        if isinstance(module, _BatchNorm):
            # Without these, torch takes the statistics of the batch in evaluation mode too.
            module.running_mean = None
            module.running_var = None
            module.num_batches_tracked = None
    body.eval()


def unroll(
    body: nn.Module, weights: Tensor, batch: Batch, update: Update, *, steps: int, window: int
) -> Tensor:
    """Return the weights [P] after `steps` on `batch(step)` by soft cross-entropy.

    Training begins with `weights` [P]. Gradients pass through the last `window` steps, and only
    these are kept in memory (truncated back-propagation through time).
    """
    moments = Moments()
    first_inside = steps - window
    for step in range(steps):
        is_inside = step >= first_inside
        if step <= first_inside:
            weights = weights.detach().requires_grad_()
        images, target = batch(step)
        loss = soft_ce(functional_logits(body, weights, images), target)
        (gradient,) = torch.autograd.grad(loss, weights, create_graph=is_inside)
        with torch.set_grad_enabled(is_inside):
            weights, moments = update(weights, gradient, moments)
    return weights


def _check_options(lr: float, *decay_rates: float) -> None:
    """Raise UsageError for a learning rate below 0, or a momentum or beta that is not in [0, 1)."""
    rates_are_valid = all(0 <= rate < 1 for rate in decay_rates)
    if lr >= 0 and rates_are_valid:
        return
    given = ", ".join(f"{rate:g}" for rate in decay_rates)
    raise UsageError(
        f"--inner: lr is {lr:g} and momentum or betas {given}: expected lr ≥ 0, and momentum and "
        "betas in [0, 1)"
    )
