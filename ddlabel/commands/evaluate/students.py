"""Students: trained from scratch on a case's labels, and tested."""

import copy
import math
import resource
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import get_total_norm
from torch.optim import Optimizer
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from ddlabel.commands.evaluate.device_cache import DeviceCache, Student
from ddlabel.commands.evaluate.experiment import (
    Experiment,
    Record,
    batches,
    loss_for,
    steps_per_epoch,
    student,
)
from ddlabel.core import rng
from ddlabel.core.config import EvaluateOptions
from ddlabel.data.bundle import Bundle
from ddlabel.data.provenance import canonical_json
from ddlabel.methods.metrics import confusion, correct, student_figures
from ddlabel.methods.nets import Network
from ddlabel.methods.optimizers import optimizer_of
from ddlabel.methods.schedules import rate_of
from ddlabel.training.device_data import DeviceBundle, predict
from ddlabel.training.loop import Progress, TrainSpec, fit
from ddlabel.training.stacking import Forward

Weights = dict[str, Tensor]


def run(
    bench: DeviceCache, stack: Sequence[tuple[Experiment, int]], progress: Progress
) -> list[tuple[Record, Record]]:
    """Train the students of these cases and seeds side by side: figures on the test images, and what each one cost.

    A class-incremental one, which is alone, is trained from scratch for each number of classes seen, in an order of
    the seed, on all their images (GDumb, Prabhu et al. 2020); its accuracy is the mean over the steps.
    """
    started, machine = time.perf_counter(), bench.machine
    if machine.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(machine.device)
    case, seed = stack[0]
    if case.options.continual is None:
        whole = range(len(case.test.classes))
        students = [
            Student(case=c, bundle=c.bundle(s), test=c.test, columns=whole, seed=s)
            for c, s in stack
        ]
        with machine.matmul_precision():
            each = _train(bench, students, progress)
    else:
        with machine.matmul_precision():
            each = [_continual(bench, case, seed, progress)]
    cost = {
        "seconds": (time.perf_counter() - started) / len(stack),
        "peak_memory_bytes": _peak_memory(machine.device),
        "device": machine.device.type,
        "precision": machine.precision,
        "stack": len(stack),
    }
    return [(figures, cost | {"flops": figures.pop("flops")}) for figures in each]


def _continual(bench: DeviceCache, case: Experiment, seed: int, progress: Progress) -> Record:
    """The figures of a class-incremental student and of each of its steps."""
    bundle, classes = case.bundle(seed), len(case.test.classes)
    order = np.random.default_rng(rng.stream(seed, "classes")).permutation(classes)
    ends = np.cumsum(
        [len(part) for part in np.array_split(order, case.options.continual or 1)]
    ).tolist()
    steps = []
    for end in ends:
        seen = sorted(order[:end].tolist())
        parts = {"bundle": bundle.of_classes(seen), "test": case.test.of_classes(seen)}
        (figures,) = _train(bench, [Student(case=case, **parts, columns=seen, seed=seed)], progress)
        steps.append({"classes": end} | figures)
    total = sum(step.pop("flops") for step in steps)
    accuracy = float(np.mean([step["accuracy"] for step in steps]))
    return {"accuracy": accuracy, "class_order": order.tolist(), "steps": steps, "flops": total}


def _train(bench: DeviceCache, students: Sequence[Student], progress: Progress) -> list[Record]:
    """Train and test students of one kind side by side; they have one test set."""
    first, options = students[0], students[0].case.options
    tested = bench.data(first.test)
    looked_at = tested if options.select == "best-on-test" else None
    if options.select == "val":
        held_out, rest = _hold_out(first.bundle, options.holdout, first.seed)
        looked_at, students = bench.data(held_out), [replace(first, bundle=rest)]
    per_epoch = steps_per_epoch(options, len(students[0].bundle))
    networks, forward = bench.networks(students[0], len(students), per_epoch)
    courses = [_course(bench, *each, per_epoch) for each in zip(students, networks, strict=True)]
    watches = [
        StudentMonitor(n.body, course.optimizer, options)
        for n, course in zip(networks, courses, strict=True)
    ]
    looks = {
        max(1, round(options.epochs * i / options.checks)) for i in range(1, options.checks + 1)
    }
    epochs = (
        set(range(1, options.epochs + 1)) if options.curve else {options.epochs - 1, options.epochs}
    )

    def stop(epoch: int, losses: list[float]) -> None:
        for watch, loss in zip(watches, losses, strict=True):
            watch.note(loss)
        if looked_at is not None and epoch in looks:
            each = _logits(networks, forward, looked_at, [watch.weights() for watch in watches])
            for watch, logits in zip(watches, each, strict=True):
                watch.look(epoch, int(correct(logits, looked_at.hard)) / len(looked_at))

    fit(
        forward,
        courses,
        steps=progress(range(per_epoch * options.epochs)),
        layer_seed=partial(rng.stream, first.seed, "layers"),
        callbacks={
            epoch * per_epoch: partial(stop, epoch)
            for epoch in epochs | (looks if looked_at else set())
        },
        scale_losses=bench.machine.precision == "fp16",
    )
    each = _logits(networks, forward, tested, [watch.best_weights() for watch in watches])
    seen = zip(watches, each, students, strict=True)
    return [w.figures(logits, tested.hard) | {"flops": bench.flops(s)} for w, logits, s in seen]


def _course(bench: DeviceCache, each: Student, network: Network, per_epoch: int) -> TrainSpec:
    """How one student is trained, from fresh weights, its teacher included."""
    options, data = each.case.options, bench.data(each.bundle)
    network.body.load_state_dict(student(each.case, each.bundle, each.seed).body.state_dict())
    network.train()
    teach = None
    if options.labels == "online":
        names = ("augment", "mix", "batch_size", "teacher_epoch", "select", "holdout", "continual")
        shown = [getattr(options, name) for name in names]
        pictures = canonical_json(
            [each.case.digests, each.case.role, shown, each.seed, list(each.columns)]
        )
        labeler = bench.labeler(each.case, per_epoch)
        teach = bench.teach(labeler.after(network.prepare), pictures, each.columns)
    return TrainSpec(
        batch=batches(options, data, network.prepare, each.seed, teach),
        loss=loss_for(options, data),
        optimizer=optimizer_of(options.optimizer, network.body.parameters()),
        lr_factor=rate_of(
            options.schedule,
            epochs=options.epochs,
            steps_per_epoch=per_epoch,
            warm_up=options.warm_up,
        ),
    )


class StudentMonitor:
    """What is seen of a student while it trains: losses, gradients, a running mean, and the best epoch so far."""

    def __init__(self, body: nn.Module, optimizer: Optimizer, options: EvaluateOptions) -> None:
        self.body, self.options = body, options
        self._losses: list[float | None] = []
        self._norms: list[float | None] = []
        self._norm, self._steps = torch.zeros(()), 0
        self._best: tuple[float, int, Weights] | None = None
        self._mean: AveragedModel | None = None
        if options.curve:
            optimizer.register_step_pre_hook(self._add_norm)
        if options.ema is not None:
            average = get_ema_multi_avg_fn(options.ema)  # type: ignore[no-untyped-call]
            mean = AveragedModel(body, multi_avg_fn=average, use_buffers=True)
            optimizer.register_step_post_hook(lambda *_: mean.update_parameters(body))
            self._mean = mean

    def note(self, loss: float) -> None:
        """After an epoch: `loss` is the mean since the last time."""
        self._losses.append(loss if math.isfinite(loss) else None)
        if self.options.curve:
            norm = float(self._norm) / self._steps
            self._norms.append(norm if math.isfinite(norm) else None)
            self._norm, self._steps = torch.zeros(()), 0

    def look(self, epoch: int, accuracy: float) -> None:
        """Keep the weights if they are the best so far."""
        if self._best is None or accuracy > self._best[0]:
            self._best = accuracy, epoch, copy.deepcopy(self.weights())

    def weights(self) -> Weights:
        """The student's weights, or their running mean."""
        body = self.body if self._mean is None else self._mean.module
        weights: Weights = body.state_dict()
        return weights

    def best_weights(self) -> Weights:
        """Those of the epoch that counts."""
        return self.weights() if self._best is None else self._best[2]

    def figures(self, logits: Tensor, hard: Tensor) -> Record:
        """The student's figures on the test images, and what was seen of it."""
        seen: Record = {"loss": self._losses[-1]}
        if self._best is not None:
            seen |= {"chosen_epoch": self._best[1], "accuracy_when_chosen": self._best[0]}
        if self.options.curve:
            seen["curve"] = {"loss": self._losses, "gradient_norm": self._norms}
        if self.options.confusion:
            seen["confusion"] = confusion(logits, hard)
        return student_figures(logits, hard) | seen

    def _add_norm(self, optimizer: Optimizer, *_: Any) -> None:
        gradients = [
            p.grad
            for group in optimizer.param_groups
            for p in group["params"]
            if p.grad is not None
        ]
        self._norm, self._steps = self._norm + get_total_norm(gradients), self._steps + 1


def _logits(
    networks: Sequence[Network], forward: Forward, data: DeviceBundle, weights: Sequence[Weights]
) -> Tensor:
    """Logits [S, N, K] with these weights; the training goes on as if nothing had been."""
    own = [copy.deepcopy(network.body.state_dict()) for network in networks]
    for network, other in zip(networks, weights, strict=True):
        network.body.load_state_dict(other)
    logits = predict(networks, forward, data)
    for network, other in zip(networks, own, strict=True):
        network.body.load_state_dict(other)
    return logits


def _hold_out(bundle: Bundle, share: float, seed: int) -> tuple[Bundle, Bundle]:
    """A share of every class, at least one image and not all of them, and the rest."""
    generator = np.random.default_rng(rng.stream(seed, "holdout"))
    held = []
    for number in range(len(bundle.classes)):
        rows = generator.permutation(np.flatnonzero(bundle.hard_labels == number))
        held.append(rows[: min(max(1, round(share * len(rows))), len(rows) - 1)])
    mask = np.zeros(len(bundle), bool)
    mask[np.concatenate(held)] = True
    return bundle.take(np.flatnonzero(mask)), bundle.take(np.flatnonzero(~mask))


def _peak_memory(device: torch.device) -> int:
    """Peak bytes: of this student on a GPU, of the whole process so far on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    peak = int(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    return peak if sys.platform == "darwin" else peak * 1024
