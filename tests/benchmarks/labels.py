"""Benchmarks of labelling: `relabel`, `densify` and its memory, `refine`."""

import math
import threading
from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import nn

from ddlabel.commands.densify import densify_images
from ddlabel.commands.labeling import label_images
from ddlabel.commands.refine import refine_labels
from ddlabel.core.config import DensifyOptions, RefineOptions, RelabelOptions
from ddlabel.data import formats
from ddlabel.data.bundle import Bundle
from ddlabel.methods.labels import views
from ddlabel.training.labeler import Labeler
from ddlabel.training.runtime import Runtime

from . import inputs, reference
from .figures import figure
from .harness import Result, Settings, Side, Turn, benchmark, compare_sides
from .machine import flops, status_bytes

# The number of images whose labels both sides return for comparison.
_NUM_CHECKED = 8
_NUM_LABELS_TO_REFINE = 100_000
_NUM_CLASSES_TO_REFINE = 100
_SECONDS_BETWEEN_LOOKS = 0.005


def copy_weights(source: nn.Module, target: nn.Module) -> None:
    """Copy parameters and buffers by their order, because their names differ."""
    names = target.state_dict()
    values = source.state_dict().values()
    target.load_state_dict(dict(zip(names, values, strict=True)))


def _reference_network(run: Path, device: str) -> nn.Module:
    """Return the reference's network with the weights of an expert."""
    checkpoints = inputs.checkpoint_of(run)
    runtime = Runtime(device=torch.device("cpu"), precision="fp32", compile="off")
    body = Labeler(checkpoints, runtime, num_images=1).bodies[0]
    info = checkpoints[0].run.about
    net = reference.network(info.net, info.size, len(info.classes))
    copy_weights(body, net)
    return net.to(device).eval()


def _passes(amount: int, num_images: int) -> tuple[int, int]:
    """Split an amount of work into equal passes over at most `num_images` images.

    Returns:
        The number of passes and the images of each.
    """
    num_passes = math.ceil(amount / num_images)
    return num_passes, math.ceil(amount / num_passes)


def _sampler(bundle: Bundle) -> Callable[[int], Bundle]:
    """Return a function that returns so many images of a bundle, and keeps the last answer."""

    @lru_cache(maxsize=1)
    def sample(num_images: int) -> Bundle:
        return bundle.take(inputs.sample_rows(len(bundle), num_images))

    return sample


def reference_relabel(path: Path, run: Path, device: str) -> Turn:
    """Make a turn that labels images with the reference; they are normalised beforehand."""
    bundle = formats.read(str(path))
    net = _reference_network(run, device)
    rows = inputs.sample_rows(len(bundle), len(bundle))
    images, _ = inputs.normalised_tensors(bundle, rows)

    def turn(amount: int) -> Result:
        num_passes, num_images = _passes(amount, len(bundle))
        for _ in range(num_passes):
            logits = reference.relabel(net, images[:num_images], device)
        return {"count": num_passes * num_images, "check": logits[:_NUM_CHECKED].numpy()}

    return turn


def ddlabel_relabel(path: Path, run: Path, device: str, options: Mapping[str, Any]) -> Turn:
    """Make a turn that labels images with ddlabel."""
    bundle = inputs.without_soft_labels(formats.read(str(path)))
    checkpoints = inputs.checkpoint_of(run)
    sample = _sampler(bundle)

    def turn(amount: int) -> Result:
        num_passes, num_images = _passes(amount, len(bundle))
        settings = RelabelOptions(epoch="last", device=device, **options)
        for _ in range(num_passes):
            labelled = label_images(sample(num_images), checkpoints, settings)
        logits = labelled.labels("soft").decode()
        return {"count": num_passes * num_images, "check": logits[:_NUM_CHECKED]}

    return turn


def reference_densify(path: Path, run: Path, device: str) -> Turn:
    """Make a turn that labels views with the reference; it normalises one image at a time."""
    bundle = formats.read(str(path))
    net = _reference_network(run, device)
    rows = inputs.sample_rows(len(bundle), len(bundle))
    grid = views.grid(1, bundle.side, bundle.side, 0)
    boxes = (grid.boxes * bundle.side).round().astype(int).tolist()

    def turn(amount: int) -> Result:
        logits = []
        for number in range(amount):
            position = number % len(rows)
            images, _ = inputs.normalised_tensors(bundle, rows[[position]])
            logits.append(reference.densify(net, images, boxes, device))
        check = torch.cat(logits)[:_NUM_CHECKED].numpy()
        return {"count": amount * len(boxes), "check": check}

    return turn


def ddlabel_densify(
    path: Path, run: Path, device: str, options: Mapping[str, Any], layout: str = "grid"
) -> Turn:
    """Make a turn that labels views with ddlabel.

    With `whole` a turn takes the bundle itself, so that its images stay in the mapped file. The
    result has `own_bytes`, the peak of anonymous memory, which leaves mapped files out.
    """
    bundle = formats.read(str(path))
    checkpoints = inputs.checkpoint_of(run)
    sample = _sampler(bundle)

    def turn(amount: int, whole: bool = False) -> Result:
        num_passes, num_images = _passes(amount, len(bundle))
        settings = DensifyOptions(epoch="last", views=layout, device=device, **options)
        with _MemoryMonitor() as monitor:
            for _ in range(num_passes):
                images = bundle if whole else sample(num_images)
                labels = densify_images(images, checkpoints, settings).labels("dense").decode()
        num_views = labels.shape[1]
        return {
            "count": num_passes * num_images * num_views,
            "check": labels[:_NUM_CHECKED],
            "own_bytes": monitor.peak_bytes,
        }

    return turn


class _MemoryMonitor:
    """Measures the peak of this process's anonymous memory, every five milliseconds."""

    def __enter__(self) -> Self:
        self.peak_bytes = 0
        self._finished = threading.Event()
        self._thread = threading.Thread(target=self._monitor)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._finished.set()
        self._thread.join()

    def _monitor(self) -> None:
        while not self._finished.wait(_SECONDS_BETWEEN_LOOKS):
            self.peak_bytes = max(self.peak_bytes, status_bytes("RssAnon"))


def reference_refine(num_labels: int) -> Turn:
    """Make a turn that refines labels with the reference."""
    bundle = inputs.noise_bundle(num_labels, _NUM_CLASSES_TO_REFINE)
    logits = torch.from_numpy(bundle.labels("soft").decode())
    hard = torch.from_numpy(bundle.hard_labels)

    def turn(amount: int) -> Result:
        num_passes, count = _passes(amount, num_labels)
        for _ in range(num_passes):
            refined = reference.refine(logits[:count], hard[:count])
        return {"count": num_passes * count, "check": refined[:_NUM_CHECKED].numpy()}

    return turn


def ddlabel_refine(num_labels: int) -> Turn:
    """Make a turn that refines labels with ddlabel."""
    bundle = inputs.noise_bundle(num_labels, _NUM_CLASSES_TO_REFINE)

    @lru_cache(maxsize=1)
    def first_images(count: int) -> Bundle:
        return bundle.take(np.arange(count))

    def turn(amount: int) -> Result:
        num_passes, count = _passes(amount, num_labels)
        for _ in range(num_passes):
            refined = refine_labels(first_images(count), RefineOptions())
        labels = refined.labels("soft").decode()
        return {"count": num_passes * count, "check": labels[:_NUM_CHECKED]}

    return turn


@benchmark("relabel")
def measure_relabel(settings: Settings) -> Result:
    """Measure soft labels of CIFAR-10."""
    net = "convnet-d3"
    device = settings.device
    path = inputs.real_images(settings)
    run = inputs.expert_run(settings, net)
    result = compare_sides(
        "relabel",
        settings,
        "images/s",
        reference=partial(reference_relabel, path, run, device),
        ddlabel=partial(ddlabel_relabel, path, run, device, settings.options),
        start=256,
        expected=_expected_ratio(device),
        flops=flops(reference.network(net, 32, 10), 32, backward=False),
    )
    return _with_difference("relabel", result)


@benchmark("densify")
def measure_densify(settings: Settings) -> Result:
    """Measure labels of 25 views of Imagenette, and the peak memory at N and 4 N images."""
    net = "convnet-d5"
    name = "imagenette128"
    device = settings.device
    path = inputs.real_images(settings, name)
    run = inputs.expert_run(settings, net, name)
    result = compare_sides(
        "densify",
        settings,
        "views/s",
        reference=partial(reference_densify, path, run, device),
        ddlabel=partial(ddlabel_densify, path, run, device, settings.options),
        expected=_expected_ratio(device),
        flops=flops(reference.network(net, 128, 10), 128, backward=False),
    )
    result = _with_difference("densify", result)
    memory = _densify_memory(settings, path, run)
    result["figures"] |= memory["figures"]
    result["memory"] = memory["memory"]
    return result


def _densify_memory(settings: Settings, path: Path, run: Path) -> Result:
    """Measure the peak memory of densify at N and at 4 N images, in fresh processes.

    One view of each image is enough, because views are labelled one after another.
    """
    device = settings.device
    layout = "grid:n=1"
    turns = []
    for num_images in (settings.num_images, 4 * settings.num_images):
        images = inputs.sample_file(settings, path, num_images)
        make_turn = partial(ddlabel_densify, images, run, device, settings.options, layout)
        with Side(device, make_turn) as side:
            turns.append(side.run(num_images, whole=True))
    key = "peak_memory_bytes" if device == "cuda" else "own_bytes"
    few_bytes, many_bytes = (turn[key] for turn in turns)
    megabytes = f"{few_bytes / 1e6:,.0f} and {many_bytes / 1e6:,.0f} MB"
    detail = f"N = {settings.num_images}, {layout}: {megabytes}"
    growth = 100 * (many_bytes / few_bytes - 1)
    kept = ("amount", "own_bytes", "peak_memory_bytes")
    return {
        "figures": {"densify-memory": figure("densify-memory", device, growth, detail=detail)},
        "memory": [{key: turn[key] for key in kept} for turn in turns],
    }


@benchmark("refine", on_cpu=True)
def measure_refine(settings: Settings) -> Result:
    """Measure GIFT's refinement of labels over 100 classes, on the CPU."""
    result = compare_sides(
        "refine",
        settings,
        "labels/s",
        reference=partial(reference_refine, _NUM_LABELS_TO_REFINE),
        ddlabel=partial(ddlabel_refine, _NUM_LABELS_TO_REFINE),
        start=500,
        expected=20,
    )
    return _with_difference("refine", result)


def _expected_ratio(device: str) -> int:
    return 6 if device == "cpu" else 30


def _with_difference(key: str, result: Result) -> Result:
    """Return the result with the largest difference of both sides' labels, in deviations."""
    equal_work = result["at_equal_work"]
    expected = equal_work["reference"].pop("check")
    labels = equal_work["ddlabel"].pop("check")
    difference = float(abs(expected - labels).max() / expected.std())
    result["labels_differ_by_deviations"] = difference
    result["figures"][key]["text"] += f", labels differ by at most {difference:.1g} deviations"
    return result
