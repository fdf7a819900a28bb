"""The registry of losses, and how a loss is made of its spec."""

import inspect
from collections.abc import Callable

from torch import Tensor

from ddlabel.core.registry import Registry
from ddlabel.methods.labels.target import Target

Loss = Callable[[Tensor, Target, int], Tensor]
losses: Registry[Callable[..., Tensor]] = Registry("loss")


def loss_of(spec: str, *, steps_per_epoch: int = 1) -> Loss:
    """Return the loss of a spec as a function of logits [B, K], a target and the steps done.

    Raises:
        UsageError: The loss or one of its options is unknown, or an option has a value of another
            type.
    """
    function = losses.resolve(spec)
    depends_on_epoch = "epoch" in inspect.signature(function).parameters

    def loss(logits: Tensor, target: Target, step: int) -> Tensor:
        if not depends_on_epoch:
            return function(logits, target)
        return function(logits, target, epoch=step // steps_per_epoch + 1)

    return loss
