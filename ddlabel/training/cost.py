"""What a network costs, counted and not measured, and how fast a device is."""

import copy
import functools
import time
from collections.abc import Sequence

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

SHARE_OF_RATE = 0.5  # of a device's matrix rate: what estimates of time take work to reach


def flops(body: nn.Module, shape: Sequence[int], *, backward: bool) -> int:
    """Floating-point operations for one image [C, H, W], a multiplication and an addition being two."""
    abstract = copy.deepcopy(body).to("meta")  # shapes only: nothing is computed
    with FlopCounterMode(display=False) as counter:
        logits = abstract(torch.empty(2, *shape, device="meta"))
        if backward:
            logits.sum().backward()
    return int(counter.get_total_flops()) // 2


def activations(body: nn.Module, shape: Sequence[int]) -> tuple[int, int]:
    """How many numbers the layers put out for one image [C, H, W], and how many layers there are."""
    sizes: list[int] = []
    abstract = copy.deepcopy(body).to("meta")
    for part in abstract.modules():
        if not any(True for _ in part.children()):
            part.register_forward_hook(lambda _, __, out: sizes.append(out.numel()))
    abstract(torch.empty(2, *shape, device="meta"))
    return sum(sizes) // 2, len(sizes)


@functools.cache
def matrix_rate(device: torch.device) -> float:
    """Floating-point operations a second of float32 matrix products on a device, measured for half a second."""
    matrix, seconds = torch.ones(2048, 2048, device=device), list[float]()
    while sum(seconds) < 0.5:
        started = time.perf_counter()
        (matrix @ matrix)[0, 0].item()  # waits for the device
        seconds.append(time.perf_counter() - started)
    return 2 * len(matrix) ** 3 / min(seconds)
