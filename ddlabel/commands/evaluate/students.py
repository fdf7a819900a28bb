"""Training students from scratch, and testing them."""

import resource
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch

from ddlabel.commands.evaluate.device_cache import DeviceCache
from ddlabel.commands.evaluate.experiment import Experiment, Student
from ddlabel.commands.evaluate.monitor import StudentMonitor
from ddlabel.commands.evaluate.online_accuracy import OnlineAccuracy
from ddlabel.commands.evaluate.records import save_student
from ddlabel.commands.evaluate.student_stack import StudentStack
from ddlabel.commands.evaluate.training_plan import (
    steps_per_epoch,
    student_batches,
    student_loss,
)
from ddlabel.core import rng
from ddlabel.core.config import EvaluateOptions
from ddlabel.data.bundle import Bundle
from ddlabel.data.provenance import canonical_json
from ddlabel.methods.nets import Network
from ddlabel.methods.optimizers import optimizer_of
from ddlabel.methods.schedules import rate_of
from ddlabel.training.batches import OnlineLabels
from ddlabel.training.device_data import DeviceBundle
from ddlabel.training.environment import environment
from ddlabel.training.loop import Progress, TrainSpec, fit

Figures = dict[str, Any]
# Options that decide which augmented images a student sees, beside its data and its seed.
_IMAGE_OPTIONS = (
    "augment",
    "mix",
    "batch_size",
    "teacher_epoch",
    "select",
    "holdout",
    "continual",
)


# What the training of a student returns beside its figures.
_COST_OF_STUDENT = ("flops", "precision")


def train_stack(
    cache: DeviceCache, stack: Sequence[tuple[Experiment, int]], progress: Progress
) -> list[tuple[Figures, Figures]]:
    """Train and test the students of these experiments and seeds side by side.

    Returns the figures of every student on the test images, and its cost.
    """
    started = time.perf_counter()
    runtime = cache.runtime
    if runtime.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(runtime.device)
    first, seed = stack[0]
    with runtime.arithmetic():
        if first.options.continual is None:
            students = [_student(experiment, seed) for experiment, seed in stack]
            figures = _train_and_test(cache, students, progress)
        else:
            figures = [_train_continually(cache, first, seed, progress)]
    cost = {
        "seconds": (time.perf_counter() - started) / len(stack),
        "peak_memory_bytes": _peak_memory(runtime.device),
        "stack": len(stack),
        **environment(runtime.device),
    }
    outcomes = []
    for result in figures:
        own_cost = {name: result.pop(name) for name in _COST_OF_STUDENT}
        outcomes.append((result, cost | own_cost))
    return outcomes


def _student(experiment: Experiment, seed: int) -> Student:
    """Return the student of a seed that learns all classes at once."""
    return Student(
        experiment=experiment,
        bundle=experiment.bundle_for(seed),
        test=experiment.test,
        classes=range(experiment.test.num_classes),
        seed=seed,
    )


def _train_continually(
    cache: DeviceCache, experiment: Experiment, seed: int, progress: Progress
) -> Figures:
    """Return the figures of a class-incremental student and of each of its steps.

    It is trained from scratch for each number of classes seen, in an order drawn from the seed, on
    all their images (GDumb, Prabhu et al. 2020). Its accuracy is the mean over the steps.
    """
    bundle = experiment.bundle_for(seed)
    generator = np.random.default_rng(rng.stream(seed, "classes"))
    order = generator.permutation(experiment.test.num_classes)
    num_seen = 0
    steps = []
    for new_classes in np.array_split(order, experiment.options.continual or 1):
        num_seen += len(new_classes)
        classes = sorted(order[:num_seen].tolist())
        student = Student(
            experiment=experiment,
            bundle=bundle.of_classes(classes),
            test=experiment.test.of_classes(classes),
            classes=classes,
            seed=seed,
        )
        (figures,) = _train_and_test(cache, [student], progress)
        steps.append({"classes": num_seen} | figures)
    total_flops = sum(step.pop("flops") for step in steps)
    precisions = [step.pop("precision") for step in steps]
    accuracy = float(np.mean([step["accuracy"] for step in steps]))
    return {
        "accuracy": accuracy,
        "class_order": order.tolist(),
        "steps": steps,
        "flops": total_flops,
        "precision": precisions[-1],
    }


def _train_and_test(
    cache: DeviceCache, students: Sequence[Student], progress: Progress
) -> list[Figures]:
    """Train and test students of one kind, with one test set, side by side."""
    first = students[0]
    options = first.experiment.options
    test = cache.data(first.test)
    is_tested = options.curve or options.select == "best-on-test"
    check_on = test if is_tested else None
    if options.select == "val":
        held_out, rest = _hold_out(first.bundle, options.holdout, first.seed)
        check_on = cache.data(held_out)
        students = [replace(first, bundle=rest)]
    per_epoch = steps_per_epoch(options, len(students[0].bundle))
    specs, stack = _prepare(cache, students, per_epoch)
    check_epochs = set() if check_on is None else _check_epochs(options)

    def end_epoch(epoch: int, losses: list[float]) -> None:
        stack.record(losses)
        if check_on is not None and epoch in check_epochs:
            stack.check(epoch, check_on)

    fit(
        stack.forward,
        specs,
        steps=progress(range(per_epoch * options.epochs)),
        layer_seed=partial(rng.stream, first.seed, "layers"),
        callbacks={
            epoch * per_epoch: partial(end_epoch, epoch)
            for epoch in _recorded_epochs(options) | check_epochs
        },
        scaler=cache.runtime.loss_scaler(),
    )
    precision = cache.precision(students[0], per_epoch)
    figures = []
    for student, result in zip(students, _test(stack, students, test), strict=True):
        figures.append(result | {"flops": cache.flops(student), "precision": precision})
    return figures


def _test(stack: StudentStack, students: Sequence[Student], test: DeviceBundle) -> list[Figures]:
    """Return the figures of students on the test images, and keep their weights if asked to."""
    figures = []
    outcomes = zip(students, stack.monitors, stack.test_logits(test), strict=True)
    for student, monitor, logits in outcomes:
        result = monitor.figures(logits, test.hard)
        figures.append(result)
        folder = student.experiment.options.save_students
        if folder is not None:
            save_student(folder, student, result["accuracy"], monitor.weights_to_test())
    return figures


def _prepare(
    cache: DeviceCache, students: Sequence[Student], per_epoch: int
) -> tuple[list[TrainSpec], StudentStack]:
    """Return how every student is trained, and the stack of their networks with fresh weights."""
    networks, forward = cache.networks(students[0], len(students), per_epoch)
    specs = []
    monitors = []
    for student, network in zip(students, networks, strict=True):
        options = student.experiment.options
        is_counted = options.curve and options.labels == "online"
        accuracy = OnlineAccuracy() if is_counted else None
        spec = _train_spec(cache, student, network, per_epoch, accuracy)
        specs.append(spec)
        monitors.append(StudentMonitor(network.body, spec.optimizer, options, accuracy))
    return specs, StudentStack(networks=networks, forward=forward, monitors=monitors)


def _recorded_epochs(options: EvaluateOptions) -> set[int]:
    """Return the epochs at whose end the loss is recorded: it is the mean since the one before."""
    if options.curve or options.ema_every == "epoch":
        return set(range(1, options.epochs + 1))
    return {options.epochs - 1, options.epochs}


def _check_epochs(options: EvaluateOptions) -> set[int]:
    """Return the epochs at which students are tested, spread evenly over the training."""
    epochs = set()
    for number in range(1, options.checks + 1):
        epochs.add(max(1, round(options.epochs * number / options.checks)))
    return epochs


def _train_spec(
    cache: DeviceCache,
    student: Student,
    network: Network,
    per_epoch: int,
    accuracy: OnlineAccuracy | None,
) -> TrainSpec:
    """Give a network the student's fresh weights, and return how it is trained."""
    experiment = student.experiment
    options = experiment.options
    fresh = experiment.build_student(student.bundle, student.seed)
    network.body.load_state_dict(fresh.body.state_dict())
    network.train()
    online = None
    if options.labels == "online":
        online = _online_labels(cache, student, network, per_epoch)
    data = cache.data(student.bundle)
    batches = student_batches(options, data, network.prepare, student.seed, online, accuracy)
    return TrainSpec(
        batch=batches,
        loss=student_loss(options, data),
        optimizer=optimizer_of(options.optimizer, network.body.parameters()),
        lr_factor=rate_of(
            options.schedule,
            epochs=options.epochs,
            steps_per_epoch=per_epoch,
            warm_up=options.warm_up,
        ),
    )


def _online_labels(
    cache: DeviceCache, student: Student, network: Network, per_epoch: int
) -> OnlineLabels:
    """Return the labels of the student's teacher for the student's augmented images."""
    experiment = student.experiment
    images_key = canonical_json(
        [
            experiment.digests,
            experiment.role,
            [getattr(experiment.options, name) for name in _IMAGE_OPTIONS],
            student.seed,
            list(student.classes),
        ]
    )
    label = cache.labeler(experiment, per_epoch).after(network.prepare)
    return cache.online_labels(label, images_key, student.classes)


def _hold_out(bundle: Bundle, share: float, seed: int) -> tuple[Bundle, Bundle]:
    """Return a share of the images of every class, at least one and not all, and the rest."""
    generator = np.random.default_rng(rng.stream(seed, "holdout"))
    is_held_out = np.zeros(len(bundle), bool)
    for number in range(bundle.num_classes):
        rows = generator.permutation(np.flatnonzero(bundle.hard_labels == number))
        num_held_out = min(max(1, round(share * len(rows))), len(rows) - 1)
        is_held_out[rows[:num_held_out]] = True
    return bundle.take(np.flatnonzero(is_held_out)), bundle.take(np.flatnonzero(~is_held_out))


def _peak_memory(device: torch.device) -> int:
    """Return peak bytes: of this student on a GPU, of the whole process so far on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    peak = int(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    return peak if sys.platform == "darwin" else peak * 1024
