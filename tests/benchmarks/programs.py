"""Benchmarks of whole commands, `command-NAME`: from the shell, beside a plain program."""

import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import NamedTuple

from . import inputs
from .figures import figure, format_number, paired_ratios
from .harness import Result, Settings, benchmark

# Epochs of five students, and images of an expert: on a GPU a step takes a fiftieth of the time.
_STUDENT_EPOCHS = {"cpu": 20, "cuda": 300}
_EXPERT_IMAGES = {"cpu": 10_000, "cuda": 50_000}
_NET = "convnet-d3"
# The folder of torch's compiled code.
_CACHE_VARIABLE = "TORCHINDUCTOR_CACHE_DIR"


@dataclass(frozen=True, kw_only=True)
class Programs:
    """The words of two programs that do the same work; `{out}` stands for what they write."""

    plain: Sequence[object]
    ddlabel: Sequence[object]


class Taken(NamedTuple):
    """What a program took: seconds by the clock, and seconds of all cores."""

    seconds: float
    cpu_seconds: float


def _expert_programs(settings: Settings) -> Programs:
    whole = inputs.real_images(settings)
    real = inputs.sample_file(settings, whole, _EXPERT_IMAGES[settings.device])
    words = (real, "{out}", "--epochs", 2, "--device", settings.device)
    return Programs(plain=words, ddlabel=words)


def _evaluate_programs(settings: Settings) -> Programs:
    few = inputs.few_images(settings)
    test = inputs.real_images(settings, split="test")
    epochs = ("--epochs", _STUDENT_EPOCHS[settings.device], "--device", settings.device)
    return Programs(
        plain=(few, "{out}", "--test", test, *epochs),
        ddlabel=(few, "--test", test, "--out", "{out}.jsonl", "--seeds", 5, *epochs),
    )


def _label_programs(settings: Settings) -> Programs:
    few = inputs.few_images(settings, ipc=50)
    run = inputs.expert_run(settings, _NET)
    weights = max(run.glob("step-*.safetensors"))
    device = ("--device", settings.device)
    return Programs(
        plain=(few, "{out}.safetensors", "--weights", weights, *device),
        ddlabel=(few, "{out}.safetensors", "--expert", run, "--epoch", "last", *device),
    )


def run_program(words: Sequence[object], cache: Path) -> Taken:
    """Run a program to its end, with a folder for compiled code."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.perf_counter()
    subprocess.run(
        [str(word) for word in words],
        cwd=inputs.ROOT,
        check=True,
        stdout=subprocess.DEVNULL,
        env=os.environ | {_CACHE_VARIABLE: str(cache)},
    )
    seconds = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Taken(seconds, cpu_seconds)


@contextmanager
def _work_folder(settings: Settings) -> Iterator[Path]:
    settings.work.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=settings.work.resolve()))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def _measure_command(
    settings: Settings, name: str, programs_of: Callable[[Settings], Programs]
) -> Result:
    """Measure a command with and without its compiled code in the cache, by turns."""
    programs = programs_of(settings)
    plain_start = [sys.executable, "-m", "tests.benchmarks.plain", name]
    options = [f"--{key.replace('_', '-')}={value}" for key, value in settings.options.items()]
    taken: dict[str, list[Taken]] = {"plain": [], "cold": [], "warm": []}
    with _work_folder(settings) as folder:
        for number in range(settings.rounds):
            for side in taken:
                out = str(folder / f"{side}-{number}")
                words = programs.plain if side == "plain" else programs.ddlabel
                filled = [str(word).replace("{out}", out) for word in words]
                if side == "plain":
                    full = [*plain_start, *filled]
                else:
                    full = inputs.ddlabel_command(name, *filled, *options, "--quiet")
                taken[side].append(run_program(full, folder / f"cache-{number}"))
    return _result(name, settings.device, taken)


def _result(name: str, device: str, taken: Mapping[str, Sequence[Taken]]) -> Result:
    """Return the figure of a command: how many times faster than the plain program it is."""
    seconds = {side: [each.seconds for each in rounds] for side, rounds in taken.items()}
    cpu_seconds = {side: [each.cpu_seconds for each in rounds] for side, rounds in taken.items()}
    ratio = paired_ratios(seconds["warm"], seconds["plain"])
    cold = paired_ratios(seconds["cold"], seconds["plain"])
    cpu_ratio = paired_ratios(cpu_seconds["warm"], cpu_seconds["plain"])
    times = [format_number(median(seconds[side])) for side in ("plain", "warm", "cold")]
    detail = (
        f"{times[0]} → {times[1]} s, {times[2]} s with an empty compiler cache "
        f"({format_number(cold['median'])} ×); by time of the cores "
        f"{format_number(cpu_ratio['median'])} ×"
    )
    key = f"command-{name}"
    spread = ratio["low"], ratio["high"]
    return {
        "figures": {key: figure(key, device, ratio["median"], spread=spread, detail=detail)},
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
    }


for _name, _programs_of in (
    ("train-expert", _expert_programs),
    ("relabel", _label_programs),
    ("densify", _label_programs),
    ("evaluate", _evaluate_programs),
):
    benchmark(f"command-{_name}")(partial(_measure_command, name=_name, programs_of=_programs_of))
