"""The cost of a network, counted instead of measured, and the speed of a device."""

import copy
import functools
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

# The share of a device's rate of matrix products that convolutions are taken to reach in estimates.
_EXPECTED_UTILISATION = 0.5
# The bytes that are moved for each number that a layer puts out: it is written and read again by
# the next layer, and the same for its gradient.
_BYTES_PER_ACTIVATION = 8
_BACKWARD_PASSES = 3
# Python, the optimizer, and the augmentation of a batch.
_SECONDS_PER_STEP = 0.004
# Networks are counted on a batch of two, because batch norm cannot train on one image.
_BATCH_SIZE = 2
_MATRIX_SIDE = 2048
_COPIED_NUMBERS = 1 << 24
_SECONDS_TO_MEASURE = 0.5


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What some work costs, counted.

    Attributes:
        flops: Floating-point operations.
        activations: Numbers that layers put out, and their gradients.
        steps: Optimizer steps.
    """

    flops: int = 0
    activations: int = 0
    steps: int = 0

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(
            flops=self.flops + other.flops,
            activations=self.activations + other.activations,
            steps=self.steps + other.steps,
        )

    def __mul__(self, times: int) -> "Cost":
        return Cost(
            flops=self.flops * times,
            activations=self.activations * times,
            steps=self.steps * times,
        )

    @property
    def moved_bytes(self) -> int:
        """The bytes that go through the device's memory for the activations."""
        return self.activations * _BYTES_PER_ACTIVATION

    def seconds(self, device: torch.device) -> float:
        """Estimate how long the work takes on a device, whose speed is measured.

        It is the time of matrix products, of moving activations through memory, and of the steps
        themselves. The last two are most of it for narrow networks.
        """
        products = self.flops / matmul_rate(device) / _EXPECTED_UTILISATION
        moves = self.moved_bytes / memory_rate(device)
        return products + moves + self.steps * _SECONDS_PER_STEP


def network_cost(body: nn.Module, shape: Sequence[int], *, backward: bool) -> Cost:
    """Count what one image [C, H, W] of `shape` costs, with `backward` in training."""
    num_activations, _ = count_activations(body, shape)
    return Cost(
        flops=flops(body, shape, backward=backward),
        activations=num_activations * (_BACKWARD_PASSES if backward else 1),
    )


def flops(body: nn.Module, shape: Sequence[int], *, backward: bool) -> int:
    """Count the floating-point operations for one image [C, H, W] of `shape`.

    A multiplication and an addition are two operations. With `backward` the operations of the
    backward pass are counted too.
    """
    # A copy without data: shapes are followed and nothing is computed.
    abstract_body = copy.deepcopy(body).to("meta")
    images = torch.empty(_BATCH_SIZE, *shape, device="meta")
    with FlopCounterMode(display=False) as counter:
        logits = abstract_body(images)
        if backward:
            logits.sum().backward()
    return int(counter.get_total_flops()) // _BATCH_SIZE


def count_activations(body: nn.Module, shape: Sequence[int]) -> tuple[int, int]:
    """Count the numbers that all layers put out for one image [C, H, W], and the layers."""
    sizes: list[int] = []
    # One small image on the CPU: shapes without data would first import torch's tracer, which takes
    # as long as importing torch.
    copy_on_cpu = copy.deepcopy(body).cpu().eval()

    def note_size(layer: nn.Module, inputs: Any, output: Tensor) -> None:  # noqa: ARG001
        sizes.append(output.numel())

    for module in copy_on_cpu.modules():
        is_layer = len(list(module.children())) == 0
        if is_layer:
            module.register_forward_hook(note_size)
    with torch.no_grad():
        copy_on_cpu(torch.zeros(1, *shape))
    return sum(sizes), len(sizes)


@functools.cache
def matmul_rate(device: torch.device) -> float:
    """Measure the floating-point operations per second of float32 matrix products on a device.

    The fastest of the products in half a second counts.
    """
    matrix = torch.ones(_MATRIX_SIDE, _MATRIX_SIDE, device=device)
    seconds: list[float] = []
    while sum(seconds) < _SECONDS_TO_MEASURE:
        started = time.perf_counter()
        product = matrix @ matrix
        product[0, 0].item()  # waits for the device
        seconds.append(time.perf_counter() - started)
    operations = 2 * _MATRIX_SIDE**3
    return operations / min(seconds)


@functools.cache
def memory_rate(device: torch.device) -> float:
    """Measure the bytes per second that a device moves, read and written, in copies of 64 MB.

    The fastest of the copies in half a second counts.
    """
    source = torch.ones(_COPIED_NUMBERS, device=device)
    target = torch.empty_like(source)
    seconds: list[float] = []
    while sum(seconds) < _SECONDS_TO_MEASURE:
        started = time.perf_counter()
        target.copy_(source)
        target[0].item()  # waits for the device
        seconds.append(time.perf_counter() - started)
    return 2 * source.nbytes / min(seconds)
