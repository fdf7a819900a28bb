"""`learn`: soft labels by distillation, with the images as they are (Label-Worth, section 5.2 and appendix D)."""

import inspect
import math
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_, parameters_to_vector
from torch.optim import Optimizer

from ddlabel.commands.checkpoints import pick_checkpoints as pick
from ddlabel.core import rng
from ddlabel.core.config import LearnOptions, gift_batch_size
from ddlabel.core.errors import InvalidInputError, UsageError
from ddlabel.core.registry import Registry, parse_spec
from ddlabel.data.bundle import Bundle, check_same_task
from ddlabel.data.expert_run import ExpertRun
from ddlabel.data.labels import Labels
from ddlabel.data.schema import LabelMeta
from ddlabel.methods.augmentations import augment_of
from ddlabel.methods.labels.gift import smooth
from ddlabel.methods.nets import Network, build
from ddlabel.methods.nets.prepare import normalisation
from ddlabel.methods.optimizers import optimizer_of
from ddlabel.training.batches import BatchTransform, image_batches
from ddlabel.training.device_data import DeviceBundle, DeviceLabels, to_device, to_unit
from ddlabel.training.labeler import Labeler, network_of
from ddlabel.training.loop import Progress
from ddlabel.training.runtime import Runtime, pick_device
from ddlabel.training.unroll import Update, functional_logits, unroll, updates

State = dict[str, Any]
# The outer loss of label logits [N, K] at an iteration.
Outer = Callable[[Tensor, int], Tensor]
learners: Registry[Callable[..., Outer]] = Registry("learner")


class Task:
    """The images that labels are learned for, on the options' device, and how students are trained on them."""

    def __init__(self, bundle: Bundle, options: LearnOptions) -> None:
        self.bundle, self.options = bundle, options
        self.augment = augment_of(
            options.augment, channels=bundle.images.shape[1], size=bundle.side
        )
        self.update: Update = updates.resolve(options.inner)
        self.data = DeviceBundle.of(bundle.without_views(), pick_device(options.device))

    def student(self, iteration: int) -> Network:
        """A network with fresh weights, those of an iteration."""
        (channels, size, _), pixels = self.bundle.images.shape[1:], self.bundle.pixels
        prepare, seed = (
            normalisation(pixels.mean, pixels.std),
            rng.stream(self.options.seed, "weights", iteration),
        )
        net = build(
            self.options.net,
            prepare,
            channels=channels,
            size=size,
            num_classes=self.data.num_classes,
            seed=seed,
        )
        return self.functional(net, self.options.net)

    def functional(self, network: Network, spec: str) -> Network:
        """The network, dropout off, on the device; UsageError if it has running statistics, which have no gradient."""
        if any(True for _ in network.body.buffers()):
            raise UsageError(
                f"the network {spec!r} keeps running statistics (batch norm): take one with another norm"
            )
        return network.to(self.data.images.device).eval()

    def train(
        self, network: Network, weights: Tensor, labels: Tensor, iteration: int, **steps: int
    ) -> Tensor:
        """Weights [P] after training on the images with the label logits [N, K]: see `unroll`."""
        learned = DeviceLabels(values=labels, meta=LabelMeta(space="logits"))
        data = replace(self.data, soft=learned)
        pictures = BatchTransform(prepare=network.prepare, augment=self.augment)
        size = self.options.batch_size or gift_batch_size(len(data))
        seed = rng.stream(self.options.seed, "student", iteration)
        batch = image_batches(data, pictures, data.soft_target, batch_size=size, seed=seed)
        return unroll(network.body, weights, batch, self.update, **steps)


@learners.add
def bptt(
    task: Task,
    *,
    real: Bundle,
    steps: int = 200,
    window: int = 60,
    real_batch: int = 500,
    vary: bool = False,
) -> Outer:
    """Cross-entropy on real images of a fresh student after `steps`, through the last `window` (Algorithm 1).

    With `vary` the number of steps is drawn anew for each student, from `window` to `steps` (RaT-BPTT).
    """
    if not 1 <= window <= steps:
        raise UsageError(
            f"--method bptt: the window is {window}: expected 1 to the number of steps, {steps}"
        )
    if real_batch < 1:
        raise UsageError(f"--method bptt: real-batch is {real_batch}: expected at least 1")
    check_same_task("the bundle of --real", task.bundle, real)
    task.student(0)

    def outer(labels: Tensor, iteration: int) -> Tensor:
        network = task.student(iteration)
        generator = np.random.default_rng(rng.stream(task.options.seed, "real", iteration))
        count = int(generator.integers(window, steps, endpoint=True)) if vary else steps
        fresh = parameters_to_vector(network.body.parameters())
        weights = task.train(network, fresh, labels, iteration, steps=count, window=window)
        rows = generator.integers(len(real), size=real_batch)
        images, hard = (
            to_device(array[rows], labels.device) for array in (real.images, real.hard_labels)
        )
        return F.cross_entropy(
            functional_logits(network.body, weights, network.prepare(to_unit(images))), hard
        )

    return outer


@learners.add
def mtt(
    task: Task,
    *,
    expert: Sequence[ExpertRun],
    steps: int = 20,
    ahead: float = 1.0,
    latest: float = 10.0,
) -> Outer:
    """‖θ̂ − θ*‖² / ‖θ − θ*‖²: θ an expert's at an epoch up to `latest`, θ* its weights `ahead` epochs later (MTT).

    θ̂ is where a student gets from θ in `steps` (Cazenavette et al. 2022, Algorithm 1).
    """
    pick(task.bundle, expert, "last")  # refuses foreign experts
    if task.options.net != LearnOptions.net:
        raise UsageError(
            "--net is for --method bptt, and mtt trains the experts' own network: leave it out"
        )
    if any(run.epoch for run in expert):
        raise UsageError("--method mtt follows experts from epoch to epoch: leave out the @EPOCH")
    ways = []
    for run in expert:
        network = task.functional(network_of(run.about, run), run.about.net)
        apart, epochs = ahead * run.about.steps_per_epoch, {0: 0.0} | run.epochs
        pairs = [
            (a, min(epochs, key=lambda b: abs(b - a - apart)))
            for a in epochs
            if epochs[a] <= latest
        ]
        # Fractions of an epoch are saved at whole steps: each end is exact to half a step.
        ways += [(run, network, a, b) for a, b in pairs if a < b and abs(b - a - apart) <= 1]
    if not ways or steps < 1:
        message = (
            f"no checkpoint up to epoch {latest:g} has one {ahead:g} epochs later"
            if steps >= 1
            else "no steps"
        )
        raise UsageError(f"--method mtt: {message}: choose other steps, ahead or latest")

    def outer(labels: Tensor, iteration: int) -> Tensor:
        generator = np.random.default_rng(rng.stream(task.options.seed, "way", iteration))
        run, network, first, last = ways[int(generator.integers(len(ways)))]
        begin, end = (_weights(run, step, labels.device) for step in (first, last))
        weights = task.train(network, begin, labels, iteration, steps=steps, window=steps)
        return (weights - end).square().sum() / (begin - end).square().sum()

    return outer


def learn(
    bundle: Bundle,
    options: LearnOptions,
    save: Callable[[State], None],
    *,
    real: Bundle | None = None,
    experts: Sequence[ExpertRun] = (),
    state: State | None = None,
    progress: Progress = iter,
) -> Bundle:
    """Soft labels [N, K], as logits, that lower the outer loss of a method.

    Every `save_every` iterations `save` is given the state, from which another call goes on to the same bytes.
    UsageError or IncompatibleError for what does not fit together, InvalidInputError in the iteration that diverges.
    """
    task = Task(bundle, options)
    outer = _outer(task, real, experts)
    labels = nn.Parameter(_start(task.data, options.start))
    optimizer = optimizer_of(options.optimizer, [labels])
    done = _resume(state, labels, optimizer, options.iterations)
    losses: list[float] = []

    def keep(iteration: int) -> None:
        made = {"labels": labels.detach().cpu(), "optimizer": optimizer.state_dict()}
        save(
            deepcopy(made)
            | {"iteration": iteration, "loss": sum(losses) / len(losses) if losses else math.nan}
        )
        losses.clear()

    for iteration in progress(range(done, options.iterations)):
        loss = outer(labels, iteration)
        if not _lower(loss, labels, optimizer, options.clip):
            message = f"learning diverged in iteration {iteration}: lower the learning rate in --inner or --optimizer"
            if iteration:  # else there is nothing to keep, and what is kept is not gone on from with other options
                keep(iteration)
                message += f", for another OUT; the same with --iterations {iteration} writes the labels before it"
            raise InvalidInputError(message)
        losses.append(float(loss.detach()))
        if (iteration + 1) % options.save_every == 0:
            keep(iteration + 1)
    made = LabelMeta(space="logits", source=parse_spec(options.method)[0])
    return bundle.with_labels("soft", Labels(values=labels.detach().cpu().numpy(), meta=made))


def _lower(loss: Tensor, labels: Tensor, optimizer: Optimizer, clip: float) -> bool:
    """One step down the loss; False, and none, where it, its gradient or the labels after it are not finite."""
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    if not bool((loss.detach() + clip_grad_norm_(labels, clip)).isfinite()):
        return False
    before = labels.detach().clone()
    optimizer.step()
    finite = bool(labels.isfinite().all())
    if not finite:
        labels.data.copy_(before)
    return finite


def _outer(task: Task, real: Bundle | None, experts: Sequence[ExpertRun]) -> Outer:
    """The outer loss of the method, which is given just what it learns from."""
    learner, given = (
        learners.resolve(task.options.method),
        {"real": real, "expert": experts or None},
    )
    asked = inspect.signature(learner).parameters.keys() & given.keys()
    for name, value in given.items():
        if (value is None) == (name in asked):
            raise UsageError(
                f"--method {task.options.method}: {'give' if name in asked else 'leave out'} --{name}"
            )
    outer: Outer = learner(task, **{name: given[name] for name in asked})
    return outer


def _start(data: DeviceBundle, start: str) -> Tensor:
    """Label logits [N, K] to begin with: of hard labels smoothed to 0.9, of none, or of the bundle's soft labels."""
    if start == "stored":
        rows = torch.arange(len(data), device=data.images.device)
        return (
            data.soft_target(rows).log_probs().clamp_min(math.log(1e-6))
        )  # of 0 too: logits stay finite
    smoothed = smooth(data.hard, data.num_classes, alpha=0.1)
    return smoothed.log() if start == "hard" else torch.zeros_like(smoothed)


def _resume(state: State | None, labels: Tensor, optimizer: Optimizer, iterations: int) -> int:
    """Load what was learned: the number of iterations that it took."""
    if state is None:
        return 0
    if state["iteration"] > iterations:
        raise UsageError(
            f"--iterations is {iterations} and {state['iteration']} are done: give at least as many"
        )
    labels.data.copy_(state["labels"])
    optimizer.load_state_dict(state["optimizer"])
    return int(state["iteration"])


def _weights(run: ExpertRun, step: int, device: torch.device) -> Tensor:
    """Weights [P] of a checkpoint; those of step 0 are drawn again from the run's seed."""
    if step == 0:
        return parameters_to_vector(network_of(run.about).body.to(device).parameters()).detach()
    labeler = Labeler(
        [(run, step)], Runtime(device=device, precision="fp32", compile="off"), num_images=1
    )
    return parameters_to_vector(labeler.bodies[0].parameters()).detach()
