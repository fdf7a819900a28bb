"""Students: `evaluate`, `resnet`, `gift`, `accuracy-IPC-LABELS`."""

import itertools
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import torch

from ddlabel.commands.evaluate.experiment import Experiment, settle
from ddlabel.commands.evaluate.grid import train_students
from ddlabel.commands.labeling import label_images
from ddlabel.commands.refine import refine_labels
from ddlabel.core.config import EvaluateOptions, RefineOptions, RelabelOptions
from ddlabel.data import formats
from ddlabel.data.bundle import Bundle
from ddlabel.methods.metrics import summarise

from . import inputs, reference
from .figures import WANTED, figure, number, paired
from .harness import Result, Settings, Side, Turn, benchmark, versus
from .machine import flops

SGD = {
    "optimizer": "sgd:lr=0.01,momentum=0.9,weight-decay=5e-4",
    "schedule": "multistep:milestones=0.501,factor=0.1",
}
LOSSES = {"hard": "ce", "soft": "soft-ce"}


@dataclass(frozen=True, kw_only=True)
class Work:
    """What students learn: both sides are given the same."""

    train: Path
    test: Path
    device: str
    net: str = "convnet-d3"
    labels: str = "hard"
    seeds: int = 5
    options: Mapping[str, Any] = field(default_factory=dict)

    def batch_size(self, images: int) -> int:
        """The field's 256, or all."""
        return min(256, images)

    def tested(self, test: Bundle, images: int | None, epochs: int) -> Any:
        """Rows to test on: by default the share of the work that 10,000 are beside 1,000 epochs."""
        return inputs.some(len(test), 10 * epochs if images is None else images)


def plain(work: Work) -> Turn:
    """Epochs of the reference's students."""
    train, test = formats.read(str(work.train)), formats.read(str(work.test))
    images, labels = inputs.tensors(train, device=work.device)
    if work.labels == "soft":
        labels = torch.from_numpy(train.labels("soft").decode()).softmax(1).to(work.device)

    def turn(epochs: int, tested: int | None = None) -> Result:
        rows, seeds = work.tested(test, tested, epochs), range(work.seeds)
        how = {
            "epochs": epochs,
            "batch_size": work.batch_size(len(train)),
            "seeds": seeds,
            "device": work.device,
        }
        found = reference.train_students(
            work.net, (images, labels), inputs.tensors(test, rows), **how
        )
        return {"count": len(train) * epochs * work.seeds, "accuracies": found}

    return turn


def fast(work: Work) -> Turn:
    """Epochs of ddlabel's."""
    train, test = formats.read(str(work.train)), formats.read(str(work.test))
    bundle = train if work.labels == "soft" else inputs.hard_only(train)
    given = {
        "net": work.net,
        "labels": work.labels,
        "loss": LOSSES[work.labels],
        "seeds": work.seeds,
    } | SGD
    given |= {"batch_size": work.batch_size(len(train)), "device": work.device} | work.options

    def turn(epochs: int, tested: int | None = None) -> Result:
        some = test.take(work.tested(test, tested, epochs))
        options = EvaluateOptions(**given, epochs=epochs)
        digests = {"bundle": "", "test": ""}
        experiment = settle(Experiment.of(bundle, test=some, options=options, digests=digests))
        students = train_students([experiment])
        found = [student.record.result["accuracy"] for student in students]
        return {"count": len(bundle) * epochs * work.seeds, "accuracies": found}

    return turn


@benchmark("evaluate")
def evaluate_(settings: Settings) -> Result:
    """Five students of ConvNet-D3 on CIFAR-10 IPC 10."""
    work = _work(settings, "convnet-d3")
    result = _versus("evaluate", settings, work)
    own = result["ddlabel"]
    # A machine without units for bfloat16 has no other rate than float32's to be measured by.
    dtype = min(own["share_of_matmul"], key=own["share_of_matmul"].get)
    share, seconds = 100 * own["share_of_matmul"][dtype], 5 * 1000 * 100 / own["rate"]
    once = f"extrapolated, and {own['set_up_seconds']:.1f} s once"
    if seconds < 3 * settings.seconds:
        with Side(settings.device, fast, work) as side:
            cold, seconds = (side.run(1000, tested=10_000)["seconds"] for _ in range(2))
        once = f"{cold:.1f} s in a fresh process"
    reached, device = (
        f"of {dtype}: {number(own['flops_per_second'] / 1e9)} GFLOP/s",
        settings.device,
    )
    result["figures"] |= {
        "share": figure("share", device, share, also=reached),
        "evaluate-1000": figure("evaluate-1000", device, seconds, also=once),
    }
    return result


@benchmark("resnet")
def resnet(settings: Settings) -> Result:
    """The same with ResNet18-modified."""
    return _versus("resnet", settings, _work(settings, "resnet18-modified"))


def _work(settings: Settings, net: str) -> Work:
    train, test = inputs.few(settings), inputs.real(settings, split="test")
    return Work(train=train, test=test, device=settings.device, net=net, options=settings.given)


def _versus(key: str, settings: Settings, work: Work) -> Result:
    expected = getattr(WANTED[key], settings.device)
    cost = flops(reference.network(work.net, 32, 10), 32, backward=True)
    sides, tested = ((plain, work), (fast, work)), 2000 if key == "evaluate" else 200
    result = versus(key, settings, "images/s", *sides, expected=expected, flops=cost, tested=tested)
    equal = result["at_equal_work"]
    shown = (
        f"{100 * sum(equal[side]['accuracies']) / 5:.1f} %" for side in ("reference", "ddlabel")
    )
    result["figures"][key]["text"] += f", accuracy at epoch {equal['amount']} {' and '.join(shown)}"
    return result


def steps(train: Path, loss: str, device: str, options: Mapping[str, Any]) -> Turn:
    """Steps of one student of ddlabel with a loss; `cosine` is given labels refined beforehand."""
    bundle = inputs.with_logits(formats.read(str(train)))
    if loss == "cosine":
        bundle = refine_labels(bundle, RefineOptions())
    test = bundle.take(inputs.some(len(bundle), 10))
    given = {
        "loss": loss,
        "labels": "soft",
        "seeds": 1,
        "device": device,
        "batch_size": len(bundle),
    } | SGD

    def turn(epochs: int) -> Result:
        options_ = EvaluateOptions(**given | options, epochs=epochs)
        digests = {"bundle": "", "test": ""}
        experiment = settle(Experiment.of(bundle, test=test, options=options_, digests=digests))
        list(train_students([experiment]))
        return {"count": epochs}

    return turn


@benchmark("gift")
def gift(settings: Settings) -> Result:
    """GIFT's loss, and the cosine loss on refined labels, against KL: a step's time and the peak of memory."""
    losses, train = ("kl", "gift", "cosine"), inputs.few(settings)
    chunks_for_rank: dict[str, list[Result]] = {loss: [] for loss in losses}
    with ExitStack() as stack:
        make = {loss: (steps, train, loss, settings.device, settings.given) for loss in losses}
        sides = {loss: stack.enter_context(Side(settings.device, *make[loss])) for loss in losses}
        epochs = min(side.paced(10, settings.seconds)[0] for side in sides.values())
        for done in range(settings.rounds):
            for loss in losses[done % 3 :] + losses[: done % 3]:
                chunks_for_rank[loss].append(sides[loss].run(epochs))
    figures = {}
    for loss in ("gift", "cosine"):
        for what, name in (("seconds", "time"), ("peak_memory_bytes", "memory")):
            ratio = paired(
                *([turn[what] for turn in chunks_for_rank[each]] for each in ("kl", loss))
            )
            above = {key: 100 * (ratio[key] - 1) for key in ("median", "low", "high")}
            spread = above["low"], above["high"]
            figures[f"{loss}-{name}"] = figure(
                f"{loss}-{name}", settings.device, above["median"], spread=spread
            )
    each = {
        loss: 1000 * median(turn["seconds"] for turn in chunks_for_rank[loss]) / epochs
        for loss in losses
    }
    peaks = {loss: chunks_for_rank[loss][-1]["peak_memory_bytes"] for loss in losses}
    return {
        "figures": figures,
        "steps": epochs,
        "milliseconds_per_step": each,
        "peak_memory_bytes": peaks,
    }


def _accuracy(settings: Settings, ipc: int, labels: str) -> Result:
    """Five seeds of each side, tested on all test images.

    The epochs are those at IPC 10; at IPC 50 there are a fifth as many, which shows students as many images.
    """
    train, test = inputs.few(settings, ipc), inputs.real(settings, split="test")
    path = train if labels == "hard" else _soft(settings, train)
    work = Work(
        train=path, test=test, device=settings.device, labels=labels, options=settings.given
    )
    epochs, found = settings.epochs * 10 // ipc, {}
    for name, make in (("reference", plain), ("ddlabel", fast)):
        with Side(settings.device, make, work) as side:
            found[name] = [100 * each for each in side.run(epochs, tested=10_000)["accuracies"]]
    figures = {f"accuracy-{ipc}-{labels}": inside(found["reference"], found["ddlabel"])}
    return {"figures": figures, "epochs": epochs, "accuracies": found}


for _ipc, _labels in itertools.product((10, 50), ("hard", "soft")):
    benchmark(f"accuracy-{_ipc}-{_labels}")(partial(_accuracy, ipc=_ipc, labels=_labels))


def inside(reference: list[float], ddlabel: list[float]) -> Result:
    """Whether the mean of the second lies in the 95 % interval of the first."""
    first, second = summarise(reference), summarise(ddlabel)
    distance = abs(second.mean - first.mean)
    text = f"{second.mean:.1f} ± {second.interval:.1f} %, reference {first.mean:.1f} ± {first.interval:.1f} %"
    return {"value": second.mean - first.mean, "reached": distance <= first.interval, "text": text}


def _soft(settings: Settings, train: Path) -> Path:
    path = train.with_name(f"{train.stem}-soft.safetensors")
    if not path.exists():
        labelled = label_images(
            formats.read(str(train)), inputs.pick(settings.expert), RelabelOptions(device="cpu")
        )
        formats.write(str(path), labelled)
    return path
