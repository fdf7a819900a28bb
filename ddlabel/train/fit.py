"""The training loop."""

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from ddlabel.train.device import Forward

# The second is a target, or what else the loss takes in its place.
Batch = Callable[[int], tuple[Tensor, Any]]
# Wraps the steps of a loop to show how far it is.
Progress = Callable[[Iterable[int]], Iterable[int]]


def fit(
    forward: Forward,
    batch: Batch,
    loss: Callable[[Tensor, Any, int], Tensor],
    optimizer: Optimizer,
    *,
    steps: Iterable[int],
    rate: Callable[[int], float],
    seed: Callable[[int], int],
    stops: dict[int, Callable[[float], None]] | None = None,
) -> float:
    """Train over `steps`: batch s is `batch(s)`, its learning rate the optimizer's own times `rate(s)`.

    What layers draw, as dropout does, comes from `seed(s)`. `stops` maps a number of steps done to what happens there;
    it is given the mean loss since the stop before, and what it draws or computes must not touch the training. Returns
    the mean loss since the last stop.
    """
    base = [group.setdefault("initial_lr", group["lr"]) for group in optimizer.param_groups]
    total: Tensor | float = 0.0
    count = 0
    # Layers know no generator but torch's own: lend it a seed for each step, and give it back as it was.
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        for step in steps:
            factor = rate(step)
            for group, lr in zip(optimizer.param_groups, base, strict=True):
                group["lr"] = lr * factor
            images, target = batch(step)
            _reseed(images.device, seed(step))
            value = loss(forward(images), target, step)
            optimizer.zero_grad(set_to_none=True)
            value.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            # Summed on the device: reading it every step would make the host wait every step.
            total, count = total + value.detach(), count + 1
            if stops and step + 1 in stops:
                stops[step + 1](float(total) / count)
                total, count = 0.0, 0
    return float(total) / count if count else math.nan


def _reseed(device: torch.device, seed: int) -> None:
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.default_generators[device.index or 0].manual_seed(seed)


class Order:
    """Which rows a step takes: consecutive slices of one permutation of `rows` for each pass, from a seed."""

    def __init__(self, rows: int, batch_size: int, seed: Callable[[int], int], device: torch.device) -> None:
        self.rows, self.batch_size, self.seed, self.device = rows, batch_size, seed, device
        self._pass, self._permutation = -1, torch.empty(0, dtype=torch.int64)

    @property
    def steps_per_pass(self) -> int:
        """Steps until every row was taken once; the last may be short."""
        return -(-self.rows // self.batch_size)

    def __call__(self, step: int) -> Tensor:
        """Rows of a step, on the device."""
        number, index = divmod(step, self.steps_per_pass)
        if number != self._pass:
            generator = torch.Generator().manual_seed(self.seed(number))
            self._permutation = torch.randperm(self.rows, generator=generator).to(self.device)
            self._pass = number
        return self._permutation[index * self.batch_size : (index + 1) * self.batch_size]
