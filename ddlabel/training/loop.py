"""The training loop."""

import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from ddlabel.training.memory import copied
from ddlabel.training.stacking import Forward

# Returns the images [B, C, H, W] of a step and their targets: a `Target`, or what the loss takes
# in its place.
Batch = Callable[[int], tuple[Tensor, Any]]
# Returns the loss of logits [B, K] and their targets at a step.
StepLoss = Callable[[Tensor, Any, int], Tensor]
# Wraps the steps of a loop to show its progress.
Progress = Callable[[Iterable[int]], Iterable[int]]
# Takes the mean loss of every network since the callback before.
LossCallback = Callable[[list[float]], None]


@dataclass(frozen=True, kw_only=True)
class TrainSpec:
    """How one network is trained: `batch(step)`, `loss(logits, target, step)`, the optimizer.

    The learning rate of a step is the optimizer's initial one times `lr_factor(step)`.
    """

    batch: Batch
    loss: StepLoss
    optimizer: Optimizer
    lr_factor: Callable[[int], float]

    @property
    def device(self) -> torch.device:
        """The device of the network's parameters."""
        groups = self.optimizer.param_groups
        # The first group may be empty.
        parameters = itertools.chain.from_iterable(group["params"] for group in groups)
        first: Tensor = next(parameters)
        return first.device

    def set_learning_rate(self, step: int) -> None:
        """Set the optimizer's learning rate for a step."""
        factor = self.lr_factor(step)
        for group in self.optimizer.param_groups:
            initial_lr = group.setdefault("initial_lr", group["lr"])
            group["lr"] = initial_lr * factor


def fit(
    forward: Forward,
    specs: Sequence[TrainSpec],
    *,
    steps: Iterable[int],
    layer_seed: Callable[[int], int],
    callbacks: Mapping[int, LossCallback] | None = None,
    after_step: Callable[[int], object] | None = None,
    mean_losses: "MeanLosses | None" = None,
    scaler: torch.amp.GradScaler | None = None,
) -> list[float]:
    """Train networks side by side, each by its own spec; `forward` holds them as a stack.

    The random numbers of layers such as dropout are drawn from `layer_seed(step)`. `callbacks` maps
    a number of finished steps to a function that is then called with the mean losses since the last
    call; it must not change the training. With a `scaler` small gradients survive in float16.

    `after_step` is then called with the number of finished steps, and may end the training by an
    exception. A caller that goes on with this training later passes `mean_losses` and `scaler`, and
    saves their states.

    Returns:
        The mean loss of every network since the last callback; nan if no step came after it.
    """
    callbacks = callbacks or {}
    device = specs[0].device
    mean_losses = mean_losses or MeanLosses(len(specs), device)
    scaler = scaler or torch.amp.GradScaler(device.type, enabled=False)
    # Layers draw from torch's global generators only: seed them for each step, and restore them
    # after. Those of a GPU are left alone on a CPU: to ask for them takes memory of every GPU.
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        for step in steps:
            images, targets = _stacked_batch(specs, step)
            _seed_layers(device, layer_seed(step))
            losses = _losses(specs, forward(images), targets, step)
            _update(specs, losses, scaler, step)
            mean_losses.add(losses.detach())
            num_finished = step + 1
            if num_finished in callbacks:
                callbacks[num_finished](mean_losses.read())
            if after_step is not None:
                after_step(num_finished)
    return mean_losses.read()


def shuffled_rows(
    num_rows: int, batch_size: int, pass_seed: Callable[[int], int], device: torch.device
) -> Callable[[int], Tensor]:
    """Return a function of a step that gives its rows: every pass takes all rows once, shuffled.

    The permutation of a pass is drawn from `pass_seed(number of the pass)`, so that any step can be
    asked for at once. The last batch of a pass may be smaller.
    """
    steps_per_pass = math.ceil(num_rows / batch_size)

    # Two: the first batch of the next pass may be read ahead.
    @lru_cache(maxsize=2)
    def permutation(pass_number: int) -> Tensor:
        generator = torch.Generator().manual_seed(pass_seed(pass_number))
        return copied(torch.randperm(num_rows, generator=generator), device)

    def rows_of_step(step: int) -> Tensor:
        pass_number, index = divmod(step, steps_per_pass)
        start = index * batch_size
        return permutation(pass_number)[start : start + batch_size]

    return rows_of_step


class MeanLosses:
    """Mean losses [S] of S networks over the steps since the last reading.

    They are summed on the device: to read them in every step would make the host wait for it.
    """

    def __init__(self, num_networks: int, device: torch.device) -> None:
        self._total = torch.zeros(num_networks, device=device)
        self._num_steps = 0

    def add(self, losses: Tensor) -> None:
        """Add the losses [S] of a step."""
        self._total = self._total + losses
        self._num_steps += 1

    def read(self) -> list[float]:
        """Return the means and start again."""
        means: list[float] = (self._total / self._num_steps).tolist()
        self._total = torch.zeros_like(self._total)
        self._num_steps = 0
        return means

    def state(self) -> dict[str, Any]:
        """Return what `load_state` goes on from."""
        return {"total": self._total.cpu(), "steps": self._num_steps}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on from the state of other mean losses."""
        self._total = state["total"].to(self._total)
        self._num_steps = int(state["steps"])


def _stacked_batch(specs: Sequence[TrainSpec], step: int) -> tuple[Tensor, list[Any]]:
    """Return the images [S, B, C, H, W] of a step and the target of every network."""
    images: list[Tensor] = []
    targets: list[Any] = []
    for spec in specs:
        network_images, target = spec.batch(step)
        images.append(network_images)
        targets.append(target)
    return torch.stack(images), targets


def _losses(
    specs: Sequence[TrainSpec], logits: Tensor, targets: Sequence[Any], step: int
) -> Tensor:
    """Return the loss of every network [S] from logits [S, B, K]."""
    per_network = zip(specs, logits, targets, strict=True)
    return torch.stack(
        [spec.loss(network_logits, target, step) for spec, network_logits, target in per_network]
    )


def _update(
    specs: Sequence[TrainSpec], losses: Tensor, scaler: torch.amp.GradScaler, step: int
) -> None:
    """Let every optimizer take its step down the gradient of its network's loss."""
    for spec in specs:
        spec.set_learning_rate(step)
        spec.optimizer.zero_grad(set_to_none=True)
    # A network's parameters are in its own loss only: the gradient of the sum is that of this loss.
    scaler.scale(losses.sum()).backward()  # type: ignore[no-untyped-call]
    for spec in specs:
        # A fused optimizer would do this in its step, after whoever records its gradients.
        scaler.unscale_(spec.optimizer)
        scaler.step(spec.optimizer)
    scaler.update()


def _seed_layers(device: torch.device, seed: int) -> None:
    """Seed the generators that layers draw from, on the CPU and on the device."""
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        index = torch.cuda.current_device() if device.index is None else device.index
        torch.cuda.default_generators[index].manual_seed(seed)
