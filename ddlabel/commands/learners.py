"""Learners: the outer losses of label logits that `learn` lowers.

A learner is `learner(task, *, real or expert, options) → outer loss`; it gets what it asks for.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils import parameters_to_vector

from ddlabel.commands.checkpoints import pick_checkpoints
from ddlabel.core import rng
from ddlabel.core.config import LearnOptions, gift_batch_size
from ddlabel.core.errors import UsageError
from ddlabel.core.registry import Registry
from ddlabel.data.bundle import Bundle, check_same_task
from ddlabel.data.expert_run import Checkpoint, ExpertRun
from ddlabel.data.schema import LabelMeta
from ddlabel.methods.augmentations import augment_of
from ddlabel.methods.nets import Network, build
from ddlabel.methods.nets.prepare import normalisation
from ddlabel.training.batches import BatchTransform, image_batches
from ddlabel.training.device_data import DeviceBundle, DeviceLabels, to_device, to_unit
from ddlabel.training.labeler import Labeler, network_of
from ddlabel.training.runtime import Runtime, pick_device
from ddlabel.training.unroll import Update, functional_logits, unroll, updates

# Returns the outer loss of label logits [N, K] at an iteration.
OuterLoss = Callable[[Tensor, int], Tensor]
learners: Registry[Callable[..., OuterLoss]] = Registry("learner")


class Task:
    """The images whose labels are learned, and how students are trained on them.

    Attributes:
        bundle: The images and their labels.
        options: The options.
        data: The bundle without its views, on the device.
    """

    def __init__(self, bundle: Bundle, options: LearnOptions) -> None:
        self.bundle = bundle
        self.options = options
        num_channels = bundle.images.shape[1]
        self._augment = augment_of(options.augment, channels=num_channels, size=bundle.side)
        self._update: Update = updates.resolve(options.inner)
        self.data = DeviceBundle.of(bundle.without_views(), pick_device(options.device))

    def student(self, iteration: int) -> Network:
        """Return a network with the fresh weights of an iteration.

        Raises:
            UsageError: The network has running statistics.
        """
        pixels = self.bundle.pixels
        network = build(
            self.options.net,
            normalisation(pixels.mean, pixels.std),
            channels=self.bundle.images.shape[1],
            size=self.bundle.side,
            num_classes=self.data.num_classes,
            seed=rng.stream(self.options.seed, "weights", iteration),
        )
        return self.without_layer_state(network, self.options.net)

    def without_layer_state(self, network: Network, spec: str) -> Network:
        """Return the network on the device, in evaluation mode so that dropout is off.

        Raises:
            UsageError: The network has running statistics, through which no gradient flows.
        """
        if any(True for _ in network.body.buffers()):
            raise UsageError(
                f"the network {spec!r} keeps running statistics (batch norm): take one with "
                "another norm"
            )
        return network.to(self.data.device).eval()

    def train(
        self,
        network: Network,
        weights: Tensor,
        labels: Tensor,
        iteration: int,
        *,
        steps: int,
        window: int,
    ) -> Tensor:
        """Return the weights [P] after training on the images with label logits [N, K].

        See `unroll` for `steps` and `window`.
        """
        learned = DeviceLabels(values=labels, meta=LabelMeta(space="logits"))
        data = replace(self.data, soft=learned)
        batch = image_batches(
            data,
            BatchTransform(prepare=network.prepare, augment=self._augment),
            data.soft_target,
            batch_size=self.options.batch_size or gift_batch_size(len(data)),
            seed=rng.stream(self.options.seed, "student", iteration),
        )
        return unroll(network.body, weights, batch, self._update, steps=steps, window=window)


@learners.add
def bptt(
    task: Task,
    *,
    real: Bundle,
    steps: int = 200,
    window: int = 60,
    real_batch: int = 500,
    vary: bool = False,
) -> OuterLoss:
    """Cross-entropy on real images of a fresh student after `steps` (Label-Worth, Algorithm 1).

    Gradients pass through the last `window` steps. With `vary` the number of steps is drawn anew
    for each student, from `window` to `steps` (RaT-BPTT).

    Raises:
        UsageError: An option is out of its range, or the network has running statistics.
        IncompatibleError: The real images have other classes or another shape.
    """
    if not 1 <= window <= steps:
        raise UsageError(
            f"--method bptt: the window is {window}: expected 1 to the number of steps, {steps}"
        )
    if real_batch < 1:
        raise UsageError(f"--method bptt: real-batch is {real_batch}: expected at least 1")
    check_same_task("the bundle of --real", task.bundle, real)
    # A network that cannot be used is refused before the first iteration.
    task.student(0)

    def outer_loss(labels: Tensor, iteration: int) -> Tensor:
        network = task.student(iteration)
        generator = np.random.default_rng(rng.stream(task.options.seed, "real", iteration))
        num_steps = int(generator.integers(window, steps, endpoint=True)) if vary else steps
        fresh = parameters_to_vector(network.body.parameters())
        weights = task.train(network, fresh, labels, iteration, steps=num_steps, window=window)
        rows = generator.integers(len(real), size=real_batch)
        images = to_device(real.images[rows], labels.device)
        hard = to_device(real.hard_labels[rows], labels.device)
        logits = functional_logits(network.body, weights, network.prepare(to_unit(images)))
        return F.cross_entropy(logits, hard)

    return outer_loss


@learners.add
def mtt(
    task: Task,
    *,
    expert: Sequence[ExpertRun],
    steps: int = 20,
    ahead: float = 1.0,
    latest: float = 10.0,
) -> OuterLoss:
    """‖θ̂ − θ*‖² / ‖θ − θ*‖²: how far a student stays behind an expert (MTT).

    θ is an expert's weights at an epoch up to `latest`, θ* its weights `ahead` epochs later, and θ̂
    those of a student after `steps` from θ (Cazenavette et al. 2022, Algorithm 1).

    Raises:
        UsageError: An option is out of its range, no two checkpoints are `ahead` epochs apart, or
            the network has running statistics.
        IncompatibleError: An expert has other classes or takes other images.
    """
    # Picked for its checks: experts of other classes or images are refused.
    pick_checkpoints(task.bundle, expert, "last")
    if task.options.net != LearnOptions.net:
        raise UsageError(
            "--net is for --method bptt, and mtt trains the experts' own network: leave it out"
        )
    if any(run.epoch for run in expert):
        raise UsageError("--method mtt follows experts from epoch to epoch: leave out the @EPOCH")
    if steps < 1:
        raise UsageError(f"--method mtt: steps is {steps}: expected at least 1")
    segments: list[_Segment] = []
    for run in expert:
        network = task.without_layer_state(network_of(run.about, run), run.about.net)
        segments += _segments(run, network, ahead=ahead, latest=latest)
    if not segments:
        raise UsageError(
            f"--method mtt: no checkpoint up to epoch {latest:g} has one {ahead:g} epochs later: "
            "choose other steps, ahead or latest"
        )

    def outer_loss(labels: Tensor, iteration: int) -> Tensor:
        generator = np.random.default_rng(rng.stream(task.options.seed, "way", iteration))
        segment = segments[int(generator.integers(len(segments)))]
        begin = _weights(segment.run, segment.first_step, labels.device)
        end = _weights(segment.run, segment.last_step, labels.device)
        weights = task.train(segment.network, begin, labels, iteration, steps=steps, window=steps)
        return (weights - end).square().sum() / (begin - end).square().sum()

    return outer_loss


class _Segment(NamedTuple):
    """A part of an expert's training, from one checkpoint to another."""

    run: ExpertRun
    network: Network
    first_step: int
    last_step: int


def _segments(run: ExpertRun, network: Network, *, ahead: float, latest: float) -> list[_Segment]:
    """Return the parts of a run that begin up to epoch `latest` and are `ahead` epochs long."""
    length = ahead * run.about.steps_per_epoch
    epochs = {0: 0.0} | run.epochs
    segments = []
    for first, epoch in epochs.items():
        if epoch > latest:
            continue
        last = _nearest(epochs, first + length)
        # Fractions of an epoch are saved at whole steps: each end is exact to half a step.
        if first < last and abs(last - first - length) <= 1:
            segments.append(_Segment(run, network, first, last))
    return segments


def _nearest(steps: dict[int, float], wanted: float) -> int:
    return min(steps, key=lambda step: abs(step - wanted))


def _weights(run: ExpertRun, step: int, device: torch.device) -> Tensor:
    """Return the weights [P] of a checkpoint; those of step 0 are drawn again from the seed."""
    if step == 0:
        body = network_of(run.about).body.to(device)
    else:
        runtime = Runtime(device=device, precision="fp32", compile="off")
        body = Labeler([Checkpoint(run, step)], runtime, num_images=1).bodies[0]
    return parameters_to_vector(body.parameters()).detach()
