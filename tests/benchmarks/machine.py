"""The machine: its name, how fast it multiplies matrices, and how much memory a process took."""

import os
import platform
import time
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@lru_cache
def machine(device: str) -> dict[str, Any]:
    """What stands next to every figure."""
    info = Path("/proc/cpuinfo")
    names = (
        [text for text in info.read_text().splitlines() if text.startswith("model name")]
        if info.exists()
        else []
    )
    return {
        "cpu": names[0].partition(":")[2].strip() if names else platform.processor(),
        "cores": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "threads": torch.get_num_threads(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "gpu": torch.cuda.get_device_name() if device == "cuda" else None,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "matmul_flops_per_second": matmul_rates(device),
    }


def matmul_rates(device: str) -> dict[str, float]:
    """FLOP/s of a matrix product by dtype: the best of 1024³, 2048³ and, on a GPU, 8192³."""
    return {name: _matmul_rate(dtype, device) for name, dtype in DTYPES.items()}


def _matmul_rate(dtype: torch.dtype, device: str, seconds: float = 0.3) -> float:
    best = 0.0
    for side in (1024, 2048, 8192) if device == "cuda" else (1024, 2048):
        first, second = (torch.rand(side, side, device=device).to(dtype) for _ in range(2))
        at_once, done = 20 if device == "cuda" else 1, 0
        synchronised(device)
        warm_up = time.perf_counter()
        first @ second
        started = synchronised(device)
        if started - warm_up > 1:  # no units for it: once is enough
            return max(best, 2 * side**3 / (started - warm_up))
        while (now := synchronised(device)) - started < seconds:
            for _ in range(at_once):
                first @ second
            done += at_once
        best = max(best, 2 * side**3 * done / (now - started))
    return best


def synchronised(device: str) -> float:
    """The time when the device has done its work."""
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def forget_peak(device: str) -> None:
    """From now on `peak_memory` is of what comes; where the system cannot, it stays that of the whole process."""
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    else:
        with suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")


def peak_memory(device: str) -> int:
    """Most bytes at once: on the GPU, else of this process (its own image's: not what it was forked from)."""
    return torch.cuda.max_memory_allocated() if device == "cuda" else status_bytes("VmHWM")


def status_bytes(name: str) -> int:
    """A figure of the process's memory, as Linux has it."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(text.split()[1]) * 1024 for text in lines if text.startswith(f"{name}:"))


def flops(net: nn.Module, size: int, *, backward: bool) -> int:
    """FLOPs for one RGB image, a multiplication and an addition being two."""
    net = net.to("meta")
    with FlopCounterMode(display=False) as counter:
        logits = net(torch.empty(2, 3, size, size, device="meta"))
        if backward:
            logits.sum().backward()
    return counter.get_total_flops() // 2
