"""The cost of a network, counted instead of measured, and the speed of a device."""

import copy
import functools
import time
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

# The share of a device's rate of matrix products that training is taken to reach in estimates of
# time.
EXPECTED_UTILISATION = 0.5
# Networks are counted on a batch of two, because batch norm cannot train on one image.
_BATCH_SIZE = 2
_MATRIX_SIDE = 2048
_SECONDS_TO_MEASURE = 0.5


def flops(body: nn.Module, shape: Sequence[int], *, backward: bool) -> int:
    """Count the floating-point operations for one image [C, H, W] of `shape`.

    A multiplication and an addition are two operations. With `backward` the operations of the
    backward pass are counted too.
    """
    # A copy without data: shapes are followed and nothing is computed.
    abstract_body = copy.deepcopy(body).to("meta")
    with FlopCounterMode(display=False) as counter:
        logits = abstract_body(_abstract_images(shape))
        if backward:
            logits.sum().backward()
    return int(counter.get_total_flops()) // _BATCH_SIZE


def count_activations(body: nn.Module, shape: Sequence[int]) -> tuple[int, int]:
    """Count the numbers that all layers put out for one image [C, H, W], and the layers."""
    sizes: list[int] = []

    def note_size(layer: nn.Module, inputs: Any, output: Tensor) -> None:  # noqa: ARG001
        sizes.append(output.numel())

    abstract_body = copy.deepcopy(body).to("meta")
    for module in abstract_body.modules():
        is_layer = len(list(module.children())) == 0
        if is_layer:
            module.register_forward_hook(note_size)
    abstract_body(_abstract_images(shape))
    return sum(sizes) // _BATCH_SIZE, len(sizes)


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


def _abstract_images(shape: Sequence[int]) -> Tensor:
    """Return a batch of images without data."""
    return torch.empty(_BATCH_SIZE, *shape, device="meta")
