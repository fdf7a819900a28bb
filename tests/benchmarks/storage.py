"""Benchmarks of files and of start-up, which have no use for a GPU: `bundle`, `start-up`."""

import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from ddlabel.data import formats
from ddlabel.data.bundle import Bundle

from . import inputs
from .figures import figure, paired_ratios
from .harness import Result, Settings, benchmark

_SIDE = 128
_NUM_DIFFERENT_IMAGES = 500
_BYTES_AT_ONCE = 1 << 24
# The space for the file, its copy and the file that replaces it, as a multiple of its size.
_SPACE = 3.2
# Start-up takes these rounds where the default number is asked for, or more.
_START_UP_ROUNDS = 7


def _seconds_of(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _hash(path: Path) -> None:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_BYTES_AT_ONCE):
            digest.update(chunk)


def _copy(path: Path, target: Path) -> None:
    """Copy to a new file, which then replaces the target, as a bundle is written."""
    part = target.with_suffix(".part")
    shutil.copyfile(path, part)
    with part.open("rb+") as file:
        os.fsync(file.fileno())
    part.replace(target)


def _open(path: Path) -> None:
    """Read the header of a bundle, and open the bundle without checking its digests."""
    formats.read_header(str(path))
    formats.read(str(path), verify=False)


@benchmark("bundle", on_cpu=True)
def measure_bundle(settings: Settings) -> Result:
    """Measure header, verified read and write of a large bundle, all in the page cache.

    A read is compared with a raw sha256 and a write with a file copy.
    """
    settings.work.mkdir(parents=True, exist_ok=True)
    size = settings.gigabytes * 1e9
    _check_space(settings.work, _SPACE * size)
    bundle = _large_bundle(size)
    path = settings.work / "large.safetensors"
    copy = settings.work / "large.copy"
    work: dict[str, Callable[[], object]] = {
        "write": partial(formats.write, str(path), bundle, force=True),
        "copy": partial(_copy, path, copy),
        "open": partial(_open, path),
        "read": partial(formats.read, str(path)),
        "sha256": partial(_hash, path),
    }
    seconds: dict[str, list[float]] = {name: [] for name in work}
    try:
        work["write"]()
        for _ in range(settings.rounds):
            for name, do_work in work.items():
                seconds[name].append(_seconds_of(do_work))
        num_bytes = path.stat().st_size
    finally:
        path.unlink(missing_ok=True)
        copy.unlink(missing_ok=True)
    figures = {
        "bundle-open": _seconds_figure("bundle-open", seconds["open"]),
        "bundle-read": _rate_figure("bundle-read", num_bytes, seconds["read"], seconds["sha256"]),
        "bundle-write": _rate_figure("bundle-write", num_bytes, seconds["write"], seconds["copy"]),
    }
    return {"figures": figures, "bytes": num_bytes, "seconds": seconds}


def _check_space(folder: Path, needed: float) -> None:
    """Exit if a folder has too little space, in bytes."""
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise SystemExit(
            f"bundle: needs {needed / 1e9:.1f} GB in {folder}, which has {free / 1e9:.1f} GB free: "
            "give another folder with --work, or a smaller size with --gigabytes"
        )


def _large_bundle(size: float) -> Bundle:
    """Return a bundle with so many bytes of images, which repeat a block of different ones."""
    num_images = max(1, round(size / (3 * _SIDE**2)))
    bundle = inputs.noise_bundle(num_images, 10)
    shape = (min(num_images, _NUM_DIFFERENT_IMAGES), 3, _SIDE, _SIDE)
    block = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    return replace(bundle, images=np.resize(block, (num_images, 3, _SIDE, _SIDE)))


def _seconds_figure(key: str, seconds: Sequence[float], detail: str = "") -> dict[str, Any]:
    spread = min(seconds), max(seconds)
    return figure(key, "cpu", median(seconds), spread=spread, detail=detail)


def _rate_figure(
    key: str, num_bytes: int, seconds: Sequence[float], plain_seconds: Sequence[float]
) -> dict[str, Any]:
    """Return the ratio of a rate to the rate of plain work on the same bytes."""
    ratio = paired_ratios(seconds, plain_seconds)
    rate = num_bytes / median(seconds) / 1e9
    plain_rate = num_bytes / median(plain_seconds) / 1e9
    detail = f"{rate:.2f} of {plain_rate:.2f} GB/s"
    spread = ratio["low"], ratio["high"]
    return figure(key, "cpu", ratio["median"], spread=spread, detail=detail)


@benchmark("start-up", on_cpu=True)
def measure_start_up(settings: Settings) -> Result:
    """Measure commands in fresh processes, beside Python alone and `import torch`.

    Takes 7 rounds where 3 are asked for.
    """
    settings.work.mkdir(parents=True, exist_ok=True)
    path = settings.work.resolve() / "small.safetensors"
    formats.write(str(path), inputs.noise_bundle(100, size=32), force=True)
    commands = {
        "help": inputs.ddlabel_command("--help"),
        "list": inputs.ddlabel_command("list", "losses"),
        "info": inputs.ddlabel_command("info", path),
        "python": [sys.executable, "-c", ""],
        "torch": [sys.executable, "-c", "import torch"],
    }
    rounds = settings.rounds
    if rounds >= Settings.rounds:
        rounds = max(_START_UP_ROUNDS, rounds)
        # The first processes read from the disk: they fill the caches and do not count.
        _command_seconds(commands)
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(rounds):
        for name, taken in _command_seconds(commands).items():
            seconds[name].append(taken)
    torch_seconds = median(seconds["torch"])
    python_seconds = median(seconds["python"])
    detail = f"`import torch` {torch_seconds:.2g} s, Python alone {python_seconds:.2g} s"
    figures = {
        "help": _seconds_figure("help", seconds["help"], detail),
        "list": _seconds_figure("list", seconds["list"]),
        "info": _seconds_figure("info", seconds["info"]),
    }
    return {"figures": figures, "seconds": seconds}


def _command_seconds(commands: Mapping[str, list[str]]) -> dict[str, float]:
    """Run every command once in a process of its own, and return the seconds of each."""
    seconds = {}
    for name, words in commands.items():
        run = partial(subprocess.run, words, cwd=inputs.ROOT, check=True, capture_output=True)
        seconds[name] = _seconds_of(run)
    return seconds
