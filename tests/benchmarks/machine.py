"""The machine: its name, its rate of matrix products, and the memory that a process takes."""

import os
import platform
import resource
import time
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
_MATRIX_SIDES = {"cpu": (1024, 2048), "cuda": (1024, 2048, 8192)}
# The number of products between two looks at the clock.
_PRODUCTS_AT_ONCE = {"cpu": 1, "cuda": 20}
_SECONDS_TO_MEASURE = {"cpu": 0.3, "cuda": 0.1}
# Networks are counted on a batch of two, because batch norm cannot train on one image.
_BATCH_SIZE = 2


@lru_cache
def machine_info(device: str) -> dict[str, Any]:
    """Return what describes the machine beside every figure."""
    return {
        "cpu": _cpu_name(),
        "cores": _num_cores(),
        "threads": torch.get_num_threads(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "gpu": torch.cuda.get_device_name() if device == "cuda" else None,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "matmul_flops_per_second": matmul_rates(device),
    }


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()


def _num_cores() -> int | None:
    """Return the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count()


def matmul_rates(device: str) -> dict[str, float]:
    """Measure the FLOP/s of matrix products by dtype.

    The best of 1024³, 2048³ and, on a GPU, 8192³ counts.
    """
    return {name: _matmul_rate(dtype, device) for name, dtype in DTYPES.items()}


def _matmul_rate(dtype: torch.dtype, device: str) -> float:
    best = 0.0
    for side in _MATRIX_SIDES[device]:
        first = torch.rand(side, side, device=device).to(dtype)
        second = torch.rand(side, side, device=device).to(dtype)
        flops_per_product = 2 * side**3
        warm_up_started = synchronised_time(device)
        torch.matmul(first, second)
        started = synchronised_time(device)
        warm_up_seconds = started - warm_up_started
        if warm_up_seconds > 1:
            # The device has no units for this dtype: one product is enough.
            return max(best, flops_per_product / warm_up_seconds)
        num_products = 0
        seconds = 0.0
        while seconds < _SECONDS_TO_MEASURE[device]:
            for _ in range(_PRODUCTS_AT_ONCE[device]):
                torch.matmul(first, second)
            num_products += _PRODUCTS_AT_ONCE[device]
            seconds = synchronised_time(device) - started
        best = max(best, flops_per_product * num_products / seconds)
    return best


def synchronised_time(device: str) -> float:
    """Return the time in seconds, after the device has finished its work."""
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def reset_peak_memory(device: str) -> None:
    """Begin a new peak for `peak_memory`.

    Where the system cannot do this, the peak stays that of the whole process.
    """
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        return
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_memory(device: str) -> int:
    """Return the peak memory in bytes: of the GPU, or else of this process.

    VmHWM is of the program that the process runs, and not of the one that it was forked from.
    """
    if device == "cuda":
        return torch.cuda.max_memory_allocated()
    return status_bytes("VmHWM")


def page_faults() -> int:
    """Return how many pages of memory this process has had to wait for so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


def status_bytes(name: str) -> int:
    """Return a figure of this process's memory from Linux's /proc/self/status, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    kibibytes = next(line.split()[1] for line in lines if line.startswith(f"{name}:"))
    return int(kibibytes) * 1024


def flops(net: nn.Module, size: int, *, backward: bool) -> int:
    """Count the floating-point operations for one RGB image; moves `net` to the meta device.

    A multiplication and an addition are two operations.
    """
    net = net.to("meta")
    with FlopCounterMode(display=False) as counter:
        logits = net(torch.empty(_BATCH_SIZE, 3, size, size, device="meta"))
        if backward:
            logits.sum().backward()
    return int(counter.get_total_flops()) // _BATCH_SIZE
