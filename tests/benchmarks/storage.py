"""Files and start-up: `bundle`, `start-up`. Neither knows a GPU."""

import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median

import numpy as np

from ddlabel.data import formats

from . import inputs
from .figures import figure, paired
from .harness import Result, Settings, benchmark

_SIDE = 128
_MOST_BYTES = 1 << 24


def _timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _hash(path: Path) -> None:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_MOST_BYTES):
            digest.update(chunk)


def _copy(path: Path, target: Path) -> None:
    shutil.copyfile(path, target)
    with target.open("rb+") as file:
        os.fsync(file.fileno())


@benchmark("bundle", on_cpu=True)
def bundle(settings: Settings) -> Result:
    """Header, verified read and write of a large bundle against raw sha256 and a file copy, all in the page cache."""
    size = settings.gigabytes * 1e9
    settings.work.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(settings.work).free
    if 3.2 * size > free:
        raise SystemExit(
            f"bundle: needs {3.2 * size / 1e9:.1f} GB in {settings.work}, which has {free / 1e9:.1f} free"
        )
    count = max(1, round(size / (3 * _SIDE**2)))
    large = inputs.noise(count, 10)
    block = np.random.default_rng(0).integers(0, 256, (min(count, 500), 3, _SIDE, _SIDE), np.uint8)
    large = replace(large, images=np.resize(block, (count, *block.shape[1:])))
    path, copy = settings.work / "large.safetensors", settings.work / "large.copy"
    work: dict[str, Callable[[], object]] = {
        "write": lambda: formats.write(str(path), large),
        "copy": lambda: _copy(path, copy),
        "open": lambda: (formats.read_header(str(path)), formats.read(str(path), verify=False)),
        "read": lambda: formats.read(str(path)),
        "sha256": lambda: _hash(path),
    }
    try:
        work["write"]()
        rounds = [{name: _timed(do) for name, do in work.items()} for _ in range(settings.rounds)]
        written = path.stat().st_size
    finally:
        path.unlink(missing_ok=True)
        copy.unlink(missing_ok=True)
    seconds = {name: [each[name] for each in rounds] for name in work}
    rates = {name: written / median(each) for name, each in seconds.items()}
    spread = min(seconds["open"]), max(seconds["open"])
    figures = {"bundle-open": figure("bundle-open", "cpu", median(seconds["open"]), spread=spread)}
    for name, against in (("read", "sha256"), ("write", "copy")):
        ratio = paired(seconds[name], seconds[against])
        also = f"{rates[name] / 1e9:.2f} of {rates[against] / 1e9:.2f} GB/s"
        spread = ratio["low"], ratio["high"]
        figures[f"bundle-{name}"] = figure(
            f"bundle-{name}", "cpu", ratio["median"], spread=spread, also=also
        )
    return {"figures": figures, "bytes": written, "seconds": seconds}


@benchmark("start-up", on_cpu=True)
def start_up(settings: Settings) -> Result:
    """Commands in fresh processes, against Python alone and `import torch`; 7 rounds where 3 are asked for."""
    settings.work.mkdir(parents=True, exist_ok=True)
    path = settings.work.resolve() / "small.safetensors"
    formats.write(str(path), inputs.noise(100, size=32))
    commands = {
        "help": inputs.command("--help"),
        "list": inputs.command("list", "losses"),
        "info": inputs.command("info", path),
        "python": [sys.executable, "-c", ""],
        "torch": [sys.executable, "-c", "import torch"],
    }
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    rounds = settings.rounds if settings.rounds < 3 else max(7, settings.rounds)
    for number in range(rounds + (rounds > 2)):
        for name, words in commands.items():
            took = _timed(
                lambda words=words: subprocess.run(
                    words, cwd=inputs.ROOT, check=True, capture_output=True
                )
            )
            if rounds <= 2 or number > 0:  # the first fills the caches
                seconds[name].append(took)
    middle = {name: median(each) for name, each in seconds.items()}
    also = f"`import torch` {middle['torch']:.2g} s, Python alone {middle['python']:.2g} s"
    spreads = {name: (min(seconds[name]), max(seconds[name])) for name in commands}
    figures = {
        name: figure(
            name, "cpu", middle[name], spread=spreads[name], also=also if name == "help" else ""
        )
        for name in ("help", "list", "info")
    }
    return {"figures": figures, "seconds": seconds}
