"""Labelling: `relabel`, `densify` and the memory of it, `refine`."""

import threading
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ddlabel.commands.densify import densify_images
from ddlabel.commands.labeling import label_images
from ddlabel.commands.refine import refine_labels
from ddlabel.core.config import DensifyOptions, RefineOptions, RelabelOptions
from ddlabel.data import formats
from ddlabel.methods.labels import views
from ddlabel.training.labeler import Labeler
from ddlabel.training.runtime import Runtime

from . import inputs, reference
from .figures import figure
from .harness import Result, Settings, Side, Turn, benchmark, versus
from .machine import flops, status_bytes

VIEWS = 25
_CHECKED = 8  # images whose labels both sides show


def _expert(run: Path, device: str) -> torch.nn.Module:
    """The reference's network with an expert's weights."""
    picks = inputs.pick(run)
    about = picks[0][0].about
    body = Labeler(
        picks, Runtime(device=torch.device("cpu"), precision="fp32", compile="off"), num_images=1
    ).bodies[0]
    net = reference.network(about.net, about.size, len(about.classes))
    copy_weights(body, net)
    return net.to(device).eval()


def copy_weights(source: torch.nn.Module, target: torch.nn.Module) -> None:
    """Weights and buffers by their order: the names differ."""
    target.load_state_dict(
        dict(zip(target.state_dict(), source.state_dict().values(), strict=True))
    )


def _passes(amount: int, images: int) -> tuple[int, int]:
    """How often to label how many images, where there are no more than `images`."""
    times = -(-amount // images)
    return times, -(-amount // times)


def plain_relabel(path: Path, run: Path, device: str) -> Turn:
    """Images labelled by the reference; they are normalised beforehand."""
    bundle, net = formats.read(str(path)), _expert(run, device)
    images, _ = inputs.tensors(bundle, inputs.some(len(bundle), len(bundle)))

    def turn(amount: int) -> Result:
        times, count = _passes(amount, len(bundle))
        for _ in range(times):
            found = reference.relabel(net, images[:count], device)
        return {"count": times * count, "check": found[:_CHECKED].numpy()}

    return turn


def fast_relabel(path: Path, run: Path, device: str, options: Mapping[str, Any]) -> Turn:
    """Images labelled by ddlabel."""
    bundle, picks = formats.read(str(path)), inputs.pick(run)
    some = lru_cache(maxsize=1)(
        lambda count: inputs.hard_only(bundle.take(inputs.some(len(bundle), count)))
    )

    def turn(amount: int) -> Result:
        times, count = _passes(amount, len(bundle))
        for _ in range(times):
            found = label_images(
                some(count), picks, RelabelOptions(epoch="last", device=device, **options)
            )
        return {"count": times * count, "check": found.labels("soft").decode()[:_CHECKED]}

    return turn


def plain_densify(path: Path, run: Path, device: str) -> Turn:
    """Views labelled by the reference; each image is normalised when its turn comes."""
    bundle, net = formats.read(str(path)), _expert(run, device)
    sides, rows = np.array([bundle.side] * 4), inputs.some(len(bundle), len(bundle))
    boxes = (views.grid(1, bundle.side, bundle.side, 0).boxes * sides).round().astype(int).tolist()

    def turn(amount: int) -> Result:
        found = []
        for number in range(amount):
            row = rows[number % len(rows)]
            found.append(
                reference.densify(
                    net, inputs.tensors(bundle, slice(row, row + 1))[0], boxes, device
                )
            )
        return {"count": amount * len(boxes), "check": torch.cat(found)[:_CHECKED].numpy()}

    return turn


def fast_densify(
    path: Path, run: Path, device: str, options: Mapping[str, Any], layout: str = "grid"
) -> Turn:
    """Views labelled by ddlabel; also the most memory of its own at once, mapped files left out."""
    bundle, picks = formats.read(str(path)), inputs.pick(run)
    some = lru_cache(maxsize=1)(lambda count: bundle.take(inputs.some(len(bundle), count)))

    def turn(amount: int, whole: bool = False) -> Result:
        times, count = _passes(amount, len(bundle))
        chosen = DensifyOptions(epoch="last", views=layout, device=device, **options)
        with _Watched() as watched:
            for _ in range(times):
                found = (
                    densify_images(bundle if whole else some(count), picks, chosen)
                    .labels("dense")
                    .decode()
                )
        return {
            "count": times * count * found.shape[1],
            "check": found[:_CHECKED],
            "own_bytes": watched.peak,
        }

    return turn


class _Watched:
    """The largest anonymous memory of the process, looked at every five milliseconds."""

    def __enter__(self) -> "_Watched":
        self.peak, self._done = 0, threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(0.005):
            self.peak = max(self.peak, status_bytes("RssAnon"))


def plain_refine(images: int) -> Turn:
    """Labels refined by the reference."""
    bundle = inputs.noise(images, 100)
    logits, hard = (
        torch.from_numpy(bundle.labels("soft").decode()),
        torch.from_numpy(bundle.hard_labels),
    )

    def turn(amount: int) -> Result:
        times, count = _passes(amount, images)
        for _ in range(times):
            found = reference.refine(logits[:count], hard[:count])
        return {"count": times * count, "check": found[:_CHECKED].numpy()}

    return turn


def fast_refine(images: int) -> Turn:
    """Labels refined by ddlabel."""
    bundle = inputs.noise(images, 100)
    some = lru_cache(maxsize=1)(lambda count: bundle.take(np.arange(count)))

    def turn(amount: int) -> Result:
        times, count = _passes(amount, images)
        for _ in range(times):
            found = refine_labels(some(count), RefineOptions())
        return {"count": times * count, "check": found.labels("soft").decode()[:_CHECKED]}

    return turn


@benchmark("relabel")
def relabel_(settings: Settings) -> Result:
    """Soft labels of CIFAR-10."""
    given = inputs.real(settings), inputs.expert(settings, "convnet-d3"), settings.device
    return _versus(
        "relabel",
        settings,
        plain_relabel,
        fast_relabel,
        given,
        net="convnet-d3",
        size=32,
        start=256,
    )


@benchmark("densify")
def densify_(settings: Settings) -> Result:
    """Labels of 25 views of Imagenette's images; then the peak of memory at N and 4 N images in fresh processes."""
    name, net, device = "imagenette128", "convnet-d5", settings.device
    path, run = inputs.real(settings, name), inputs.expert(settings, net, name)
    result = _versus(
        "densify", settings, plain_densify, fast_densify, (path, run, device), net=net, size=128
    )
    layout, peaks = "grid:n=1" if device == "cpu" else "grid", []
    for count in (settings.images, 4 * settings.images):
        given = inputs.part(settings, path, count), run, device, settings.given, layout
        with Side(device, fast_densify, *given) as side:
            peaks.append(side.run(count, whole=True))
    which = "peak_memory_bytes" if device == "cuda" else "own_bytes"
    few, many = (peak[which] for peak in peaks)
    also = f"N = {settings.images}, {layout}: {few / 1e6:,.0f} and {many / 1e6:,.0f} MB"
    result["figures"]["densify-memory"] = figure(
        "densify-memory", device, 100 * (many / few - 1), also=also
    )
    keys = ("amount", "own_bytes", "peak_memory_bytes")
    result["memory"] = [{key: peak[key] for key in keys} for peak in peaks]
    return result


@benchmark("refine", on_cpu=True)
def refine_(settings: Settings) -> Result:
    """GIFT's refinement of labels over 100 classes, on the CPU."""
    images = 100_000
    result = versus(
        "refine",
        settings,
        "labels/s",
        (plain_refine, images),
        (fast_refine, images),
        start=500,
        expected=20,
    )
    return _compared("refine", result)


def _versus(
    key: str,
    settings: Settings,
    plain: Any,
    fast: Any,
    given: tuple[Any, ...],
    *,
    net: str,
    size: int,
    start: int = 1,
) -> Result:
    cost = flops(reference.network(net, size, 10), size, backward=False)
    unit, expected = (
        {"relabel": "images/s", "densify": "views/s"}[key],
        6 if settings.device == "cpu" else 30,
    )
    sides = (plain, *given), (fast, *given, settings.given)
    result = versus(key, settings, unit, *sides, start=start, expected=expected, flops=cost)
    return _compared(key, result)


def _compared(key: str, result: Result) -> Result:
    """The same, with how far the labels of both sides differ, as a share of their deviation."""
    first, second = (
        result["at_equal_work"][side].pop("check") for side in ("reference", "ddlabel")
    )
    difference = float(abs(first - second).max() / first.std())
    result["labels_differ_by_deviations"] = difference
    result["figures"][key]["text"] += f", labels differ by at most {difference:.1g} deviations"
    return result
