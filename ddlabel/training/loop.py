"""The training loop."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from ddlabel.training.runtime import Forward

# The second is a target, or what else the loss takes in its place.
Batch = Callable[[int], tuple[Tensor, Any]]
# Wraps the steps of a loop to show how far it is.
Progress = Callable[[Iterable[int]], Iterable[int]]


@dataclass(frozen=True, kw_only=True)
class TrainSpec:
    """What one network learns: batch s is `batch(s)`, its learning rate the optimizer's own times `rate(s)`."""

    batch: Batch
    loss: Callable[[Tensor, Any, int], Tensor]
    optimizer: Optimizer
    rate: Callable[[int], float]

    def set_rate(self, step: int) -> None:
        """The learning rate of a step."""
        for group in self.optimizer.param_groups:
            group["lr"] = group.setdefault("initial_lr", group["lr"]) * self.rate(step)


def fit(
    forward: Forward,
    courses: Sequence[TrainSpec],
    *,
    steps: Iterable[int],
    seed: Callable[[int], int],
    stops: dict[int, Callable[[list[float]], None]] | None = None,
    scaled: bool = False,
) -> list[float]:
    """Train networks side by side, which `forward` holds as a stack, each in its own course.

    What layers draw, as dropout does, comes from `seed(s)`. `stops` maps a number of steps done to what happens there;
    it is given each network's mean loss since the stop before, and what it draws or computes must not touch the
    training. `scaled` losses keep small gradients alive in float16. Returns the mean losses since the last stop.
    """
    total = torch.zeros(len(courses))
    count = 0
    scaler = None
    # Layers know no generator but torch's own: lend it a seed for each step, and give it back as it was.
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        for step in steps:
            images, targets = zip(*[course.batch(step) for course in courses], strict=True)
            device = images[0].device
            scaler = scaler or torch.amp.GradScaler(device.type, enabled=scaled)
            _reseed(device, seed(step))
            logits = forward(torch.stack(images))
            each = zip(courses, logits, targets, strict=True)
            # The gradient of a sum is, for each network, that of its own loss.
            losses = torch.stack([course.loss(own, target, step) for course, own, target in each])
            for course in courses:
                course.set_rate(step)
                course.optimizer.zero_grad(set_to_none=True)
            scaler.scale(losses.sum()).backward()  # type: ignore[no-untyped-call]
            for course in courses:
                scaler.step(course.optimizer)
            scaler.update()
            # Summed on the device: reading it every step would make the host wait every step.
            total, count = total.to(device) + losses.detach(), count + 1
            if stops and step + 1 in stops:
                stops[step + 1]((total / count).tolist())
                total, count = torch.zeros_like(total), 0
    return (total / count).tolist()


def _reseed(device: torch.device, seed: int) -> None:
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.default_generators[device.index or 0].manual_seed(seed)


def shuffled_rows(
    rows: int, batch_size: int, seed: Callable[[int], int], device: torch.device
) -> Callable[[int], Tensor]:
    """Which rows a step takes: consecutive slices of one permutation of `rows` for each pass, from a seed."""
    per_pass = -(-rows // batch_size)  # the last may be short

    @lru_cache(maxsize=1)
    def permutation(number: int) -> Tensor:
        return torch.randperm(rows, generator=torch.Generator().manual_seed(seed(number))).to(
            device
        )

    def of_step(step: int) -> Tensor:
        number, index = divmod(step, per_pass)
        return permutation(number)[index * batch_size : (index + 1) * batch_size]

    return of_step
