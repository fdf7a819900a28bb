"""Benchmarks of students: `evaluate`, `resnet`, `gift`, `accuracy-IPC-LABELS`."""

import itertools
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
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
from ddlabel.data.labels import Array
from ddlabel.methods.intervals import summarise
from ddlabel.training import device_data

from . import inputs, reference
from .figures import GOALS, figure, format_number, paired_ratios
from .harness import Result, Settings, Side, Turn, benchmark, compare_sides
from .machine import flops

SGD = {
    "optimizer": "sgd:lr=0.01,momentum=0.9,weight-decay=5e-4",
    "schedule": "multistep:milestones=0.501,factor=0.1",
}
LOSSES = {"hard": "ce", "soft": "soft-ce"}
# All test images of CIFAR-10.
_ALL_TESTED = 10_000
# A turn tests on this number of images for each epoch, so that testing takes the share of the work
# that 10,000 images take of 1,000 epochs, on the side with few epochs too.
_TESTED_PER_EPOCH = 10
_LONG_EPOCHS = 1000
_START_EPOCHS = 10


@dataclass(frozen=True, kw_only=True)
class Work:
    """What students learn; it is the same for both sides. `options` are ddlabel's only."""

    train: Path
    test: Path
    device: str
    net: str = "convnet-d3"
    labels: str = "hard"
    num_students: int = 5
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def seeds(self) -> range:
        """The seeds of the students."""
        return range(self.num_students)

    def batch_size(self, num_images: int) -> int:
        """Return the field's batch size: 256, or all images."""
        return min(256, num_images)

    def tested_rows(self, test: Bundle, num_tested: int | None, epochs: int) -> Array:
        """Return the rows to test on; without `num_tested` their number goes by the epochs."""
        if num_tested is None:
            num_tested = _TESTED_PER_EPOCH * epochs
        return inputs.sample_rows(len(test), num_tested)


def reference_students(work: Work) -> Turn:
    """Make a turn of so many epochs of the reference's students."""
    train = formats.read(str(work.train))
    test = formats.read(str(work.test))
    images, labels = inputs.normalised_tensors(train, device=work.device)
    if work.labels == "soft":
        logits = torch.from_numpy(train.labels("soft").decode())
        labels = logits.softmax(1).to(work.device)

    def turn(epochs: int, num_tested: int | None = None) -> Result:
        rows = work.tested_rows(test, num_tested, epochs)
        accuracies = reference.train_students(
            work.net,
            train=(images, labels),
            test=inputs.normalised_tensors(test, rows),
            epochs=epochs,
            batch_size=work.batch_size(len(train)),
            seeds=work.seeds,
            device=work.device,
        )
        return {"count": len(train) * epochs * work.num_students, "accuracies": accuracies}

    return turn


def ddlabel_students(work: Work) -> Turn:
    """Make a turn of so many epochs of ddlabel's students."""
    bundle = formats.read(str(work.train))
    test = formats.read(str(work.test))
    if work.labels == "hard":
        bundle = inputs.without_soft_labels(bundle)
    settings: dict[str, Any] = {
        "net": work.net,
        "labels": work.labels,
        "loss": LOSSES[work.labels],
        "seeds": work.num_students,
        "batch_size": work.batch_size(len(bundle)),
        "device": work.device,
        **SGD,
        **work.options,
    }

    def turn(epochs: int, num_tested: int | None = None) -> Result:
        rows = work.tested_rows(test, num_tested, epochs)
        experiment = _experiment(bundle, test.take(rows), settings, epochs)
        students = train_students([experiment])
        accuracies = [student.record.result["accuracy"] for student in students]
        return {"count": len(bundle) * epochs * work.num_students, "accuracies": accuracies}

    return turn


def _experiment(
    bundle: Bundle, test: Bundle, settings: Mapping[str, Any], epochs: int
) -> Experiment:
    """Return a settled experiment of so many epochs."""
    options = EvaluateOptions(**settings, epochs=epochs)
    digests = {"bundle": "", "test": ""}
    return settle(Experiment.of(bundle, test=test, options=options, digests=digests))


@benchmark("evaluate")
def measure_evaluate(settings: Settings) -> Result:
    """Measure five students of ConvNet-D3 on CIFAR-10 IPC 10."""
    device = settings.device
    work = _cifar_work(settings, "convnet-d3")
    result = _compare_students("evaluate", settings, work, num_tested=2000)
    measured = result["ddlabel"]
    # A machine without units for bfloat16 is measured by its rate of float32.
    shares = measured["share_of_matmul"]
    dtype = min(shares, key=lambda name: shares[name])
    gigaflops = format_number(measured["flops_per_second"] / 1e9)
    detail = f"of {dtype}: {gigaflops} GFLOP/s"
    result["figures"]["share"] = figure("share", device, 100 * shares[dtype], detail=detail)
    return result


@benchmark("evaluate-1000")
def measure_long_evaluate(settings: Settings) -> Result:
    """Measure five students of 1,000 epochs; on a CPU it is extrapolated from a shorter run."""
    device = settings.device
    work = _cifar_work(settings, "convnet-d3")
    with Side(device, partial(ddlabel_students, work)) as side:
        if device == "cpu":
            epochs, set_up_seconds = side.paced(1, settings.seconds)
            turns = [side.run(epochs)]
            detail = f"extrapolated, and {set_up_seconds:.1f} s once"
        else:
            turns = [side.run(_LONG_EPOCHS, num_tested=_ALL_TESTED) for _ in range(2)]
            detail = f"{turns[0]['seconds']:.1f} s in a fresh process"
    seconds = turns[-1]["seconds"] * _LONG_EPOCHS / turns[-1]["amount"]
    measured = figure("evaluate-1000", device, seconds, detail=detail)
    return {"figures": {"evaluate-1000": measured}, "turns": turns}


@benchmark("evaluate-32")
def measure_evaluate_narrow(settings: Settings) -> Result:
    """Measure five students of ConvNet-D3 of width 32 on CIFAR-10 IPC 10."""
    work = _cifar_work(settings, "convnet-d3:width=32")
    return _compare_students("evaluate-32", settings, work, num_tested=2000)


@benchmark("resnet")
def measure_resnet(settings: Settings) -> Result:
    """Measure five students of ResNet18-modified on CIFAR-10 IPC 10."""
    work = _cifar_work(settings, "resnet18-modified")
    return _compare_students("resnet", settings, work, num_tested=200)


def _cifar_work(settings: Settings, net: str) -> Work:
    return Work(
        train=inputs.few_images(settings),
        test=inputs.real_images(settings, split="test"),
        device=settings.device,
        net=net,
        options=settings.options,
    )


def _compare_students(key: str, settings: Settings, work: Work, *, num_tested: int) -> Result:
    """Compare the rates of students, and their accuracies on `num_tested` images."""
    goal = GOALS[key].bound(settings.device)
    result = compare_sides(
        key,
        settings,
        "images/s",
        reference=partial(reference_students, work),
        ddlabel=partial(ddlabel_students, work),
        expected=1 if goal is None else goal,
        flops=flops(reference.network(work.net, 32, 10), 32, backward=True),
        equal_work={"num_tested": num_tested},
    )
    equal_work = result["at_equal_work"]
    percent = []
    for side in ("reference", "ddlabel"):
        accuracies = equal_work[side]["accuracies"]
        percent.append(f"{100 * sum(accuracies) / len(accuracies):.1f} %")
    result["figures"][key]["text"] += (
        f", accuracy at epoch {equal_work['amount']} {' and '.join(percent)}"
    )
    return result


def students_on_a_small_device(work: Work) -> Turn:
    """Make the turns of `ddlabel_students` with a quarter of the memory that the images take."""
    num_bytes = formats.read(str(work.train)).images.nbytes
    device_data.free_bytes = lambda _: num_bytes // 4
    return ddlabel_students(work)


@benchmark("beyond-memory")
def measure_beyond_memory(settings: Settings) -> Result:
    """Measure one student of CIFAR-10 images that do not fit the device, against some that do."""
    work = replace(
        _cifar_work(settings, "convnet-d3"),
        train=inputs.few_images(settings, ipc=50),
        num_students=1,
    )
    return compare_sides(
        "beyond-memory",
        settings,
        "images/s",
        reference=partial(ddlabel_students, work),
        ddlabel=partial(students_on_a_small_device, work),
    )


def loss_steps(train: Path, loss: str, device: str, options: Mapping[str, Any]) -> Turn:
    """Make a turn of so many steps of one student of ddlabel with a loss.

    `cosine` is given labels that were refined beforehand.
    """
    bundle = inputs.with_random_logits(formats.read(str(train)))
    if loss == "cosine":
        bundle = refine_labels(bundle, RefineOptions())
    test = bundle.take(inputs.sample_rows(len(bundle), 10))
    settings: dict[str, Any] = {
        "loss": loss,
        "labels": "soft",
        "seeds": 1,
        "device": device,
        "batch_size": len(bundle),  # an epoch is a step
        **SGD,
        **options,
    }

    def turn(epochs: int) -> Result:
        experiment = _experiment(bundle, test, settings, epochs)
        list(train_students([experiment]))
        return {"count": epochs}

    return turn


@benchmark("gift")
def measure_gift(settings: Settings) -> Result:
    """Measure GIFT's loss, and the cosine loss on refined labels, against KL.

    Both the time of a step and the peak memory are compared.
    """
    losses = ("kl", "gift", "cosine")
    train = inputs.few_images(settings)
    sides: dict[str, Side] = {}
    turns: dict[str, list[Result]] = {loss: [] for loss in losses}
    with ExitStack() as stack:
        for loss in losses:
            make_turn = partial(loss_steps, train, loss, settings.device, settings.options)
            sides[loss] = stack.enter_context(Side(settings.device, make_turn))
        amounts = [side.paced(_START_EPOCHS, settings.seconds)[0] for side in sides.values()]
        epochs = min(amounts)
        for number in range(settings.rounds):
            shift = number % len(losses)
            for loss in losses[shift:] + losses[:shift]:
                turns[loss].append(sides[loss].run(epochs))
    milliseconds = {}
    peaks = {}
    for loss in losses:
        milliseconds[loss] = 1000 * median(turn["seconds"] for turn in turns[loss]) / epochs
        peaks[loss] = turns[loss][-1]["peak_memory_bytes"]
    return {
        "figures": _figures_above_kl(turns, settings.device),
        "steps": epochs,
        "milliseconds_per_step": milliseconds,
        "peak_memory_bytes": peaks,
    }


def _figures_above_kl(turns: Mapping[str, list[Result]], device: str) -> Result:
    """Return how much more time and memory than KL the other losses take, in per cent."""
    figures = {}
    for loss in ("gift", "cosine"):
        for quantity, name in (("seconds", "time"), ("peak_memory_bytes", "memory")):
            of_kl = [turn[quantity] for turn in turns["kl"]]
            of_loss = [turn[quantity] for turn in turns[loss]]
            ratio = paired_ratios(of_kl, of_loss)
            above = {bound: 100 * (ratio[bound] - 1) for bound in ("median", "low", "high")}
            key = f"{loss}-{name}"
            spread = above["low"], above["high"]
            figures[key] = figure(key, device, above["median"], spread=spread)
    return figures


def _measure_accuracy(settings: Settings, ipc: int, labels: str) -> Result:
    """Measure the accuracies of five students of each side on all test images.

    `settings.epochs` is for IPC 10. IPC 50 takes a fifth of it, which shows as many images.
    """
    train = inputs.few_images(settings, ipc)
    test = inputs.real_images(settings, split="test")
    if labels == "soft":
        train = _with_expert_labels(settings, train)
    work = Work(
        train=train, test=test, device=settings.device, labels=labels, options=settings.options
    )
    epochs = settings.epochs * 10 // ipc
    percent = {}
    for name, make_turn in (("reference", reference_students), ("ddlabel", ddlabel_students)):
        with Side(settings.device, partial(make_turn, work)) as side:
            accuracies = side.run(epochs, num_tested=_ALL_TESTED)["accuracies"]
        percent[name] = [100 * accuracy for accuracy in accuracies]
    measured = accuracy_figure(percent["reference"], percent["ddlabel"])
    return {
        "figures": {f"accuracy-{ipc}-{labels}": measured},
        "epochs": epochs,
        "accuracies": percent,
    }


for _ipc, _labels in itertools.product((10, 50), ("hard", "soft")):
    benchmark(f"accuracy-{_ipc}-{_labels}")(partial(_measure_accuracy, ipc=_ipc, labels=_labels))


def accuracy_figure(reference_percent: list[float], percent: list[float]) -> Result:
    """Return whether the mean of ddlabel lies in the 95 % interval of the reference.

    Both are the accuracies of two students or more, in per cent.
    """
    expected = summarise(reference_percent)
    summary = summarise(percent)
    assert expected.interval is not None  # there are several students
    difference = summary.mean - expected.mean
    text = (
        f"{summary.mean:.1f} ± {summary.interval:.1f} %, "
        f"reference {expected.mean:.1f} ± {expected.interval:.1f} %"
    )
    return {"value": difference, "reached": abs(difference) <= expected.interval, "text": text}


def _with_expert_labels(settings: Settings, train: Path) -> Path:
    """Return a bundle file with the soft labels of the expert of `--expert`; it is made once."""
    path = train.with_name(f"{train.stem}-soft.safetensors")
    if not path.exists():
        if settings.expert is None:
            raise SystemExit("accuracy: soft labels need an expert: name its run with --expert RUN")
        checkpoints = inputs.checkpoint_of(settings.expert)
        bundle = formats.read(str(train))
        formats.write(str(path), label_images(bundle, checkpoints, RelabelOptions(device="cpu")))
    return path
