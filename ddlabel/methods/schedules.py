"""Learning-rate schedules: `schedule(epoch, epochs, *, options) -> factor` of the learning rate.

`epoch` counts from 0 to `epochs` − 1.
"""

import math
from collections.abc import Callable

from ddlabel.core.errors import UsageError
from ddlabel.core.registry import Registry

schedules: Registry[Callable[..., float]] = Registry("schedule")


def rate_of(
    spec: str, *, epochs: int, steps_per_epoch: int, warm_up: float = 0
) -> Callable[[int], float]:
    """Return the schedule of a spec as a function from the step to a factor in (0, 1].

    Steps count from 0.

    The factor rises linearly over the first `warm_up` epochs; the schedule covers the remaining
    ones.

    Raises:
        UsageError: The spec is unknown, or the warm-up is not shorter than the training.
    """
    schedule = schedules.resolve(spec)
    if warm_up >= epochs:
        raise UsageError(f"--warm-up is {warm_up:g} of {epochs} epochs: expected fewer")
    warm_up_steps = round(warm_up * steps_per_epoch)
    epochs_after_warm_up = math.ceil(epochs - warm_up)

    def rate(step: int) -> float:
        if step < warm_up_steps:
            return (step + 1) / (warm_up_steps + 1)
        epoch = (step - warm_up_steps) // steps_per_epoch
        return float(schedule(epoch, epochs_after_warm_up))

    return rate


@schedules.add
def constant(epoch: int, epochs: int) -> float:  # noqa: ARG001 - shared signature
    """Keep the learning rate."""
    return 1.0


@schedules.add
def step(epoch: int, epochs: int, *, every: float = 0.25, factor: float = 0.3) -> float:
    """Multiply by `factor` after each share `every` of the epochs.

    Label-Worth's students: × 0.3 after each quarter.
    """
    epochs_per_drop = max(1, _whole_epochs(every, epochs))
    return factor ** (epoch // epochs_per_drop)


@schedules.add
def multistep(
    epoch: int, epochs: int, *, milestones: tuple[float, ...] = (2 / 3, 5 / 6), factor: float = 0.2
) -> float:
    """Multiply by `factor` at each milestone, given as a share of the epochs.

    GIFT, Table 15: × 0.2 at 2/3 and 5/6.
    """
    num_drops = sum(epoch >= _whole_epochs(milestone, epochs) for milestone in milestones)
    return float(factor**num_drops)


@schedules.add
def cosine(epoch: int, epochs: int, *, end: float = 0.0) -> float:
    """Follow half a cosine from 1 down to `end`."""
    return end + (1 - end) * 0.5 * (1 + math.cos(math.pi * epoch / epochs))


@schedules.add
def half_cosine(epoch: int, epochs: int) -> float:
    """Follow ½·(1 + cos(π·epoch / 2·epochs)) from 1 down to ½ (RDED's public code)."""
    return 0.5 * (1 + math.cos(math.pi * epoch / (2 * epochs)))


@schedules.add
def linear(epoch: int, epochs: int, *, end: float = 0.0) -> float:
    """Follow a straight line from 1 down to `end`."""
    return 1 - (1 - end) * epoch / epochs


def _whole_epochs(share: float, epochs: int) -> int:
    """Round a share of the epochs down to whole epochs."""
    # The tolerance makes 2/3 of 1000 epochs epoch 666, as integer division does.
    return math.floor(share * epochs + 1e-9)
