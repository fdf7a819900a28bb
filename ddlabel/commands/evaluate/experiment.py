"""Experiments: the cells of an evaluation, settled and checked before any training."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from ddlabel.commands.evaluate import training_plan
from ddlabel.commands.evaluate.training_plan import Whitening
from ddlabel.core.config import EvaluateOptions, gift_batch_size
from ddlabel.core.errors import UsageError
from ddlabel.core.memory import is_out_of_memory
from ddlabel.data.bundle import Bundle, check_same_task
from ddlabel.data.expert_run import Checkpoints
from ddlabel.methods.nets import Network
from ddlabel.methods.optimizers import optimizer_of
from ddlabel.methods.schedules import rate_of
from ddlabel.training.batches import OnlineLabels, auto_global_labels
from ddlabel.training.cost import Cost
from ddlabel.training.device_data import DeviceBundle

# Options that have an effect with dense labels only, with their defaults.
VIEW_OPTIONS = EvaluateOptions.only_with("labels=dense")
# The role of an experiment on the labels that are evaluated.
OWN = "own"


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """One cell of an evaluation: what its students learn from, how, and what they are tested on.

    Attributes:
        bundle_for: Returns the images and labels for a seed. A random control has other images for
            every seed.
        test: The test set.
        options: The options of the students, with one value for every axis.
        digests: The digest of every input by its role: bundle, test, teacher, zca, real.
        origins: The name and the history of these inputs, by role: see `Record.origins`.
        teacher: The checkpoints that label augmented images (online) or random images (controls).
        whitening: The ZCA mean and matrix by which the student whitens its images.
        role: The purpose of the experiment: own, or the name of a control such as random.
        preset: The options of the protocol for this bundle and network, by name.
    """

    bundle_for: Callable[[int], Bundle]
    test: Bundle
    options: EvaluateOptions
    digests: dict[str, str]
    origins: dict[str, dict[str, Any]] = field(default_factory=dict)
    teacher: Checkpoints = ()
    whitening: Whitening | None = None
    role: str = OWN
    preset: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, bundle: Bundle, **fields: Any) -> Self:
        """Return an experiment whose students all learn from the same bundle."""
        return cls(bundle_for=same_for_all_seeds(bundle), **fields)

    @property
    def seeds(self) -> range:
        """The seeds of the students."""
        return range(self.options.seed, self.options.seed + self.options.seeds)

    @property
    def teacher_digest(self) -> str:
        """The digest that stands for the teacher's checkpoints."""
        return " + ".join(run.digest(step) for run, step in self.teacher)

    def build_student(self, bundle: Bundle, seed: int) -> Network:
        """Build a student with fresh weights for the images and classes of a bundle."""
        return training_plan.build_student(self.options, bundle, seed, self.whitening)

    def training_cost(self, bundle: Bundle) -> Cost:
        """Count the cost of training a student on a bundle."""
        return training_plan.training_cost(self.options, bundle, self.teacher)


@dataclass(frozen=True, kw_only=True)
class Student:
    """One training.

    Attributes:
        experiment: The experiment that the student belongs to.
        bundle: What it learns from.
        test: What it is tested on.
        classes: The numbers of the classes of both bundles among all classes.
        seed: Its seed.
    """

    experiment: Experiment
    bundle: Bundle
    test: Bundle
    classes: Sequence[int]
    seed: int


def same_for_all_seeds(bundle: Bundle) -> Callable[[int], Bundle]:
    """Return a function that gives the same bundle for every seed."""

    def bundle_for(seed: int) -> Bundle:  # noqa: ARG001
        return bundle

    return bundle_for


def settle(experiment: Experiment) -> Experiment:
    """Choose every default of an experiment, and refuse what can be refused before any training.

    Raises:
        UsageError: A spec cannot be resolved, or options do not go together.
        IncompatibleError: The labels are missing, the loss cannot use them, or the test set is of
            another task.
    """
    bundle = experiment.bundle_for(experiment.options.seed)
    check_same_task("the test set", bundle, experiment.test)
    options = _settled_options(experiment, bundle)
    digests = experiment.digests
    if options.labels == "online":
        digests = digests | {"teacher": experiment.teacher_digest}
    settled = replace(experiment, options=options, digests=digests)
    # The labels are known now: check again the options that go with some labels only.
    objects = ("teacher",) if settled.teacher else ()
    options.check_together(objects=objects, about="labels")
    _check_continual(bundle, options)
    _check_mixed_views(bundle, options)
    _check_holdout(bundle, options)
    rate_of(options.schedule, epochs=options.epochs, steps_per_epoch=1, warm_up=options.warm_up)
    _try_a_step(bundle, settled)
    return settled


def _settled_options(experiment: Experiment, bundle: Bundle) -> EvaluateOptions:
    """Return the options with labels and batch size chosen, and without those of no effect."""
    options = experiment.options
    labels = choose_labels(bundle, options, has_teacher=bool(experiment.teacher))
    batch_size = options.batch_size or gift_batch_size(len(bundle))
    options = replace(options, labels=labels, batch_size=batch_size)
    if labels == "dense" and options.global_labels == "auto":
        options = replace(options, global_labels=auto_global_labels(bundle))
    if labels != "dense":
        # What a protocol presets for views does not count without them.
        unused = {
            name: default
            for name, default in VIEW_OPTIONS.items()
            if getattr(options, name) == experiment.preset.get(name)
        }
        options = replace(options, **unused)
    if labels != "online":
        options = replace(options, teacher_epoch=EvaluateOptions.teacher_epoch)
    return options


def choose_labels(bundle: Bundle, options: EvaluateOptions, *, has_teacher: bool) -> str:
    """Return the labels to learn from: for auto those of a teacher, else the richest of the bundle.

    Raises:
        IncompatibleError: The labels that the user chose are missing.
    """
    labels = options.labels
    if labels in ("soft", "dense"):
        bundle.labels(labels)
    if labels != "auto":
        return labels
    if has_teacher and options.control == "none":
        return "online"
    if bundle.dense is not None:
        return "dense"
    return "hard" if bundle.soft is None else "soft"


def _check_continual(bundle: Bundle, options: EvaluateOptions) -> None:
    if options.continual is not None and options.continual > bundle.num_classes:
        raise UsageError(
            f"--continual is {options.continual} and there are {bundle.num_classes} classes: "
            "take fewer steps"
        )


def _check_mixed_views(bundle: Bundle, options: EvaluateOptions) -> None:
    """Refuse to part images whose views are mixed with each other."""
    parts_images = options.select == "val" or options.continual is not None
    if parts_images and _has_mixed_views(bundle):
        raise UsageError(
            "--select val and --continual need independent images, but these views mix pairs of "
            "images (CutMix, MixUp): use labels without mixing"
        )


def _check_holdout(bundle: Bundle, options: EvaluateOptions) -> None:
    images_per_class = np.bincount(bundle.hard_labels, minlength=bundle.num_classes)
    if options.select == "val" and images_per_class.min() < 2:
        raise UsageError(
            "--select val holds out images of every class, but a class has fewer than two images: "
            "use --select last"
        )


def _has_mixed_views(bundle: Bundle) -> bool:
    return bundle.views is not None and bundle.views.mix is not None


def _try_a_step(bundle: Bundle, experiment: Experiment) -> None:
    """Run one step on two images, so that a network, a loss or an option that does not fit fails.

    Raises:
        UsageError: The network cannot train on the images, or the loss is not finite.
        IncompatibleError: The loss cannot use the labels.
    """
    options = experiment.options
    network = experiment.build_student(bundle, options.seed)
    optimizer_of(options.optimizer, network.parameters())
    data = DeviceBundle.of(_smallest_batch(bundle, options), torch.device("cpu"))
    online = _uniform_labels(bundle) if options.labels == "online" else None
    batch_of = training_plan.student_batches(options, data, network.prepare, options.seed, online)
    images, target = batch_of(0)
    try:
        with torch.random.fork_rng(devices=[]):
            logits = torch.ones_like(network.body(images))
    except (RuntimeError, ValueError) as error:
        if is_out_of_memory(error):
            raise
        # Torch ends its message with the size of a tensor of the network.
        reason = str(error).partition(", got input size")[0]
        raise UsageError(
            f"--net {options.net} cannot train on {len(images)} images at once: {reason}; choose "
            "another --batch-size"
        ) from error
    value = training_plan.student_loss(options, data)(logits, target, 0)
    if not torch.isfinite(value):
        raise UsageError(
            f"--loss {options.loss} is {value:.3g} on these labels: change its options"
        )


def _uniform_labels(bundle: Bundle) -> OnlineLabels:
    """Return labels for any images in place of a teacher's."""

    def label(images: Tensor, step: int) -> Tensor:  # noqa: ARG001
        return torch.ones(len(images), bundle.num_classes)

    return label


def _smallest_batch(bundle: Bundle, options: EvaluateOptions) -> Bundle:
    """Return as many images as the smallest batch of an epoch has, two at most.

    The last batch may be the smallest, and batch norm cannot train on one image.
    """
    if bundle.views is not None and bundle.views.mix is not None:
        # Mix every image with itself: its partner need not be among the few.
        own_row = np.arange(len(bundle))[:, None].repeat(bundle.views.num_views, axis=1)
        bundle = replace(bundle, views=replace(bundle.views, mix=own_row))
    batch_size = training_plan.batch_size_of(options)
    last_batch_size = len(bundle) % batch_size or batch_size
    num_images = min(2, last_batch_size, len(bundle))
    return bundle.take(np.arange(num_images))
