"""Benchmark of `--precision auto` and `--compile auto`: `defaults`.

Each network is run with every fixed choice, by turns. A run of some length takes the time of its
steps and, where it is compiled, that of compiling. What `auto` takes is compared with the fastest
choice and with a plain loop.
"""

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ddlabel.core.config import RuntimeOptions
from ddlabel.methods.nets import build
from ddlabel.methods.nets.prepare import normalisation
from ddlabel.training.runtime import Runtime

from . import reference
from .figures import figure
from .harness import Result, Settings, benchmark
from .machine import synchronised_time

_NUM_CLASSES = 10
_ROUNDS = 11
# Images that pass through a network in a run: from the shortest runs that count to long ones.
_LENGTHS = (1_000, 10_000, 100_000, 1_000_000)
_PRECISIONS = {"cpu": ("fp32", "bf16"), "cuda": ("fp32", "tf32", "bf16", "fp16")}
_PLAIN = "plain loop"

Step = Callable[[], object]


class Choice(NamedTuple):
    """A precision, and whether networks are compiled."""

    precision: str
    compiles: bool

    def __str__(self) -> str:
        return f"{self.precision} compiled" if self.compiles else self.precision


@dataclass(frozen=True, kw_only=True)
class Case:
    """A network, and batches of images for it; in training with `backward`, else for labels."""

    net: str
    size: int
    batch: int
    backward: bool
    # The networks of the plain loop are ConvNets and ResNet18.
    has_plain: bool = True

    def __str__(self) -> str:
        work = "training" if self.backward else "labels"
        return f"{self.net}, {self.size} px, {self.batch}, {work}"

    @property
    def shape(self) -> tuple[int, int, int]:
        """The shape of an image."""
        return (3, self.size, self.size)

    def body(self) -> nn.Module:
        """Build the network."""
        prepare = normalisation((0.5,) * 3, (0.2,) * 3)
        options = {"channels": 3, "size": self.size, "num_classes": _NUM_CLASSES}
        return build(self.net, prepare, **options, seed=0).body.train(self.backward)


CASES = (
    Case(net="convnet-d3", size=32, batch=100, backward=True),
    Case(net="convnet-d3:width=32", size=32, batch=100, backward=True),
    Case(net="convnet-d3:norm=batch", size=32, batch=100, backward=True, has_plain=False),
    Case(net="resnet18-modified", size=32, batch=32, backward=True),
    Case(net="alexnet", size=32, batch=100, backward=True, has_plain=False),
    Case(net="vgg11", size=32, batch=100, backward=True, has_plain=False),
    Case(net="torchvision-mobilenet-v2", size=64, batch=16, backward=True, has_plain=False),
    Case(net="convnet-d5", size=128, batch=8, backward=True),
    Case(net="convnet-d3", size=32, batch=64, backward=False),
    Case(net="convnet-d3:width=32", size=32, batch=64, backward=False),
    Case(net="convnet-d5", size=128, batch=4, backward=False),
    Case(net="resnet18-modified", size=32, batch=64, backward=False),
)


@benchmark("defaults")
def measure_defaults(settings: Settings) -> Result:
    """Measure all cases. The figures are those of the worst one, with an empty compiler cache."""
    with _empty_compiler_cache():
        cases = [_measure_case(case, settings.device) for case in CASES]
    for case in cases:
        _print_case(case)
    runs = [{"case": case["case"], **run} for case in cases for run in case["runs"]]
    worst = max(runs, key=lambda run: float(run["against_best"]))
    warm = max(float(run["against_best_warm"]) for run in runs)
    slowest = min((run for run in runs if "plain" in run), key=lambda run: float(run["plain"]))
    detail = f"{_name_of(worst)}; {warm:.2f} × with a full compiler cache"
    figures = {
        "defaults": figure("defaults", settings.device, worst["against_best"], detail=detail),
        "defaults-plain": figure(
            "defaults-plain", settings.device, slowest["plain"], detail=_name_of(slowest)
        ),
    }
    return {"figures": figures, "cases": cases}


def _name_of(run: Result) -> str:
    return f"{run['case']}, {run['images']:,} images ({run['default']})"


def _print_case(case: Result) -> None:
    steps = ", ".join(f"{name} {1e3 * each:.1f}" for name, each in case["seconds"].items())
    print(f"{case['case']}: ms a step: {steps}")
    for run in case["runs"]:
        print(
            f"    {run['images']:,} images: {run['default']}, {run['against_best']:.2f} × the best "
            f"({run['best']}), {run['against_best_warm']:.2f} × with a full compiler cache"
        )


@contextmanager
def _empty_compiler_cache() -> Iterator[None]:
    """Let torch's compiler begin with an empty cache, which is removed afterwards."""
    name = "XDG_CACHE_HOME"
    before = os.environ.get(name)
    with tempfile.TemporaryDirectory() as folder:
        os.environ[name] = folder
        try:
            yield
        finally:
            os.environ.pop(name)
            if before is not None:
                os.environ[name] = before


def _measure_case(case: Case, device: str) -> Result:
    """Measure the steps of every choice by turns, and how long compiling takes."""
    choices = [
        Choice(precision, compiles)
        for precision in _PRECISIONS[device]
        for compiles in (False, True)
    ]
    steps: dict[str, Step] = {}
    cold: dict[str, float] = {}
    warm: dict[str, float] = {}
    for choice in choices:
        first_call = partial(_first_call, case, choice, device)
        steps[str(choice)], cold[str(choice)] = first_call()
        if choice.compiles:
            torch._dynamo.reset()
            steps[str(choice)], warm[str(choice)] = first_call()
    if case.has_plain:
        plain = reference.network(case.net, case.size, _NUM_CLASSES).train(case.backward)
        plain.to(device)
        steps[_PLAIN] = _step(case, plain, plain, device)
    seconds = _medians(steps, device)
    for name in cold:
        # Only what the first call took longer than a step is for compiling.
        cold[name] = max(0.0, cold[name] - seconds[name])
        warm[name] = max(0.0, warm.get(name, 0.0) - seconds[name])
    runs = [compare_run(case, device, length, seconds, cold, warm) for length in _LENGTHS]
    return {"case": str(case), "seconds": seconds, "cold": cold, "warm": warm, "runs": runs}


def _step(case: Case, body: nn.Module, forward: Callable[[Tensor], Tensor], device: str) -> Step:
    """Return a step of training without the optimizer's, or the labels of a batch."""
    images = torch.rand(case.batch, *case.shape, device=device)
    classes = torch.arange(len(images), device=device) % _NUM_CLASSES

    def train() -> None:
        # As every loop does. A captured graph writes gradients to the same memory in every step,
        # so torch refuses to add to them.
        body.zero_grad(set_to_none=True)
        F.cross_entropy(forward(images), classes).backward()

    @torch.no_grad()
    def label() -> Tensor:
        return forward(images)

    return train if case.backward else label


def _first_call(case: Case, choice: Choice, device: str) -> tuple[Step, float]:
    """Return a step of a choice, and the seconds of its first call, which compiles."""
    compile_option = "on" if choice.compiles else "off"
    options = RuntimeOptions(device=device, precision=choice.precision, compile=compile_option)
    body = case.body().to(device)
    runtime = Runtime.of(options)
    forward = runtime.forward([body], num_images=1, shape=case.shape, backward=case.backward)
    plain_step = _step(case, body, lambda images: forward(images[None])[0], device)

    def step() -> None:
        with runtime.arithmetic():
            plain_step()

    started = synchronised_time(device)
    step()
    return step, synchronised_time(device) - started


def _medians(steps: dict[str, Step], device: str) -> dict[str, float]:
    """Return the seconds of each step, which are taken by turns."""
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(_ROUNDS):
        for name, step in steps.items():
            started = synchronised_time(device)
            step()
            seconds[name].append(synchronised_time(device) - started)
    return {name: median(taken) for name, taken in seconds.items()}


def compare_run(
    case: Case,
    device: str,
    num_images: int,
    seconds: dict[str, float],
    cold: dict[str, float],
    warm: dict[str, float],
) -> dict[str, Any]:
    """Compare the default with the fixed choices for a run of so many images."""
    work = Runtime.of(RuntimeOptions(device=device)).work(
        case.body().to(device), num_images=num_images, shape=case.shape, backward=case.backward
    )
    default = str(Choice(work.precision, work.compiles))
    num_steps = num_images / case.batch
    of_cold = {name: cold[name] + num_steps * seconds[name] for name in cold}
    of_warm = {name: warm[name] + num_steps * seconds[name] for name in cold}
    best = min(of_cold, key=lambda name: of_cold[name])
    run = {
        "images": num_images,
        "default": default,
        "best": best,
        "against_best": of_cold[default] / of_cold[best],
        "against_best_warm": of_warm[default] / min(of_warm.values()),
    }
    if _PLAIN in seconds:
        run["plain"] = num_steps * seconds[_PLAIN] / of_cold[default]
    return run
