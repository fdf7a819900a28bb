"""Learning-rate schedules: `schedule(epoch, epochs, *, options) -> factor` of the learning rate.

`epoch` counts from 0 to `epochs` − 1.
"""

import math
from collections.abc import Callable

from ddlabel.core.errors import UsageError
from ddlabel.core.registry import Registry

schedules: Registry[Callable[..., float]] = Registry("schedule")

# The share of the learning rate with which GLaD's evaluation begins.
_SMALLEST_FACTOR = 1e-7


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
def half_cosine(epoch: int, epochs: int, *, line_from: float = 1.0) -> float:
    """Follow ½·(1 + cos(π·epoch / 2·epochs)) from 1 down to ½ (RDED's and EDC's public code).

    After the share `line_from` of the epochs the rate leaves the cosine c(`line_from`) and follows
    the line c(`line_from`)·(1 − epoch/epochs), which ends at 0: EDC's `cos2` with 5/6.
    """
    share = epoch / epochs
    on_line = share > line_from
    cosine_share = line_from if on_line else share
    factor = 0.5 * (1 + math.cos(math.pi * cosine_share / 2))
    return factor * (1 - share) if on_line else factor


@schedules.add
def rise_cosine(epoch: int, epochs: int) -> float:
    """Rise linearly over the first half, then follow a cosine down to 0 (GLaD's evaluation).

    The first epoch has 1e-7. As in GLaD's public code, which chains two of torch's schedulers, the
    full rate is kept for two epochs: half = epochs // 2 and the next one.
    """
    half = epochs // 2
    if epoch <= half:
        return _SMALLEST_FACTOR + (1 - _SMALLEST_FACTOR) * epoch / half if half else 1.0
    return 0.5 * (1 + math.cos(math.pi * (epoch - half - 1) / half))


@schedules.add
def half_drop(epoch: int, epochs: int, *, factor: float = 0.1) -> float:
    """Multiply by `factor` once, after epoch number epochs // 2 + 1 (MTT's and DATM's public code).

    Epochs count from 0 there, and the rate drops at the end of that epoch.
    """
    return factor if epoch > epochs // 2 + 1 else 1.0


@schedules.add
def linear(epoch: int, epochs: int, *, end: float = 0.0) -> float:
    """Follow a straight line from 1 down to `end`."""
    return 1 - (1 - end) * epoch / epochs


def _whole_epochs(share: float, epochs: int) -> int:
    """Round a share of the epochs down to whole epochs."""
    # The tolerance makes 2/3 of 1000 epochs epoch 666, as integer division does.
    return math.floor(share * epochs + 1e-9)
