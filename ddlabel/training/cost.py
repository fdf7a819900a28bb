"""The cost of a network, counted instead of measured, and the speed of a device."""

import copy
import functools
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from ddlabel.training.arithmetic import arithmetic

# The share of a device's rate of one large convolution that networks are taken to reach.
_EXPECTED_UTILISATION = 0.8
# The bytes that are moved for each number that a layer puts out: it is written and read again by
# the next layer, and the same for its gradient.
_BYTES_PER_ACTIVATION = 8
_BACKWARD_PASSES = 3
# Python, the optimizer, and the augmentation of a batch.
_SECONDS_PER_STEP = 0.004
# Networks are counted on a batch of two, because batch norm cannot train on one image.
_BATCH_SIZE = 2
# The convolution whose rate is measured is a middle one of ConvNet-D3: 3 × 3, 128 channels, 32 px.
_CONVOLVED_SHAPE = (16, 128, 32, 32)
_KERNEL_SHAPE = (128, 128, 3, 3)
_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
_COPIED_NUMBERS = 1 << 24
_SECONDS_TO_MEASURE = 0.5
# The first one prepares the kernels.
_FEWEST_MEASUREMENTS = 2


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

    def seconds(self, device: torch.device, precision: str) -> float:
        """Estimate how long the work takes on a device, whose speed is measured, in a precision.

        It is the time of convolutions, of moving activations through memory, and of the steps
        themselves. The last two are most of it for narrow networks.
        """
        rate = convolution_rate(device, _DTYPES.get(precision, torch.float32))
        convolutions = self.flops / rate / _EXPECTED_UTILISATION
        moves = self.moved_bytes / memory_rate(device)
        return convolutions + moves + self.steps * _SECONDS_PER_STEP


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
def convolution_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Measure the floating-point operations per second of a convolution on a device.

    The fastest of the measurements in half a second counts, of which there are at least two.
    """
    images = torch.ones(_CONVOLVED_SHAPE, device=device, dtype=dtype)
    kernel = torch.ones(_KERNEL_SHAPE, device=device, dtype=dtype)
    repeats = _repeats(device)
    seconds: list[float] = []
    with arithmetic(device):
        while sum(seconds) < _SECONDS_TO_MEASURE or len(seconds) < _FEWEST_MEASUREMENTS:
            started = time.perf_counter()
            for _ in range(repeats):
                maps = torch.conv2d(images, kernel, padding=1)
            maps[0, 0, 0, 0].item()  # waits for the device
            seconds.append(time.perf_counter() - started)
    num_outputs = maps.numel()
    operations = 2 * math.prod(_KERNEL_SHAPE[1:]) * num_outputs
    return repeats * operations / min(seconds)


@functools.cache
def memory_rate(device: torch.device) -> float:
    """Measure the bytes per second that a device moves, read and written, in copies of 64 MB.

    The fastest of the copies in half a second counts.
    """
    source = torch.ones(_COPIED_NUMBERS, device=device)
    target = torch.empty_like(source)
    repeats = _repeats(device)
    seconds: list[float] = []
    while sum(seconds) < _SECONDS_TO_MEASURE:
        started = time.perf_counter()
        for _ in range(repeats):
            target.copy_(source)
        target[0].item()  # waits for the device
        seconds.append(time.perf_counter() - started)
    return repeats * 2 * source.nbytes / min(seconds)


def _repeats(device: torch.device) -> int:
    """Return how often work of some milliseconds on a CPU is done between two looks at the clock.

    A GPU does it in less time than the host takes to wait for it.
    """
    return 1 if device.type == "cpu" else 100
