"""Labels by matching the trajectories of experts."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector

from ddlabel.commands.checkpoints import pick_checkpoints
from ddlabel.commands.learners.task import Objective, StepSize, Task, check_at_least, learners
from ddlabel.core import rng
from ddlabel.core.config import LearnOptions
from ddlabel.core.errors import UsageError
from ddlabel.data.expert_run import Checkpoint, ExpertRun
from ddlabel.methods.nets import Network
from ddlabel.training.labeler import Labeler, network_of
from ddlabel.training.runtime import Runtime
from ddlabel.training.unroll import Moments

# The weights of this many checkpoints are kept in memory.
_MAX_CHECKPOINTS = 50


@learners.add
def mtt(
    task: Task,
    *,
    expert: Sequence[ExpertRun],
    steps: int = 20,
    ahead: float = 1.0,
    latest: float = 10.0,
    lr: float = 0.01,
    lr_lr: float = 1e-5,
) -> Objective:
    """‖θ̂ − θ*‖² / ‖θ − θ*‖²: how far a student stays behind an expert (MTT).

    θ is an expert's weights at an epoch up to `latest`, θ* its weights `ahead` epochs later, and θ̂
    those of a student after `steps` of plain gradient descent from θ (Cazenavette et al. 2022,
    Algorithm 1). Its step size is learned with the labels: it begins at `lr` and is learned by
    gradient descent with momentum ½ and rate `lr_lr`.

    The first weights of a run of `train-expert` are drawn again from its seed. Those of an imported
    run are its checkpoint of epoch 0, as MTT's buffers have it; without one, students begin at its
    first checkpoint.

    Raises:
        UsageError: An option is out of its range, no two checkpoints are `ahead` epochs apart, or
            the network keeps a state.
        IncompatibleError: An expert has other classes or takes other images, or its weights do not
            fit its network.
    """
    check_at_least("mtt", 1, steps=steps)
    check_at_least("mtt", 0, latest=latest, lr_lr=lr_lr)
    if not lr > 0:
        raise UsageError(f"--method mtt: lr is {lr:g}: expected above 0")
    _check_options(task.options, expert)
    segments = _all_segments(task, expert, ahead=ahead, latest=latest)
    step_size = nn.Parameter(torch.tensor(lr, device=task.data.device))
    loss = _distance_left(task, segments, step_size, steps=steps)
    return Objective(
        loss=loss,
        step_size=StepSize(value=step_size, lr=lr_lr),
        notes=[_without_first_weights(run) for run in expert if 0 not in _epochs(run)],
    )


def _distance_left(
    task: Task, segments: Sequence["_Segment"], step_size: Tensor, *, steps: int
) -> Callable[[Tensor, int], Tensor]:
    """Return the outer loss of labels [N, K] at an iteration, which draws one of the segments."""
    weights_of = _weights_on(task.data.device)
    # Weights that do not fit their network are refused before the first iteration.
    for run in {segment.run for segment in segments}:
        weights_of(run, next(iter(run.epochs)))
    batch_size = task.options.batch_size or len(task.data)

    def descend(weights: Tensor, gradient: Tensor, moments: Moments) -> tuple[Tensor, Moments]:
        return weights - step_size * gradient, moments

    def outer_loss(labels: Tensor, iteration: int) -> Tensor:
        generator = np.random.default_rng(rng.stream(task.options.seed, "way", iteration))
        segment = segments[int(generator.integers(len(segments)))]
        begin = weights_of(segment.run, segment.first_step)
        end = weights_of(segment.run, segment.last_step)
        arrived = task.train(
            segment.network,
            begin,
            labels,
            descend,
            iteration=iteration,
            batch_size=batch_size,
            steps=steps,
            window=steps,
        )
        return (arrived - end).square().sum() / (begin - end).square().sum()

    return outer_loss


def _check_options(options: LearnOptions, expert: Sequence[ExpertRun]) -> None:
    """Raise UsageError for options of the students of `bptt`, and for an epoch of an expert."""
    if options.net != LearnOptions.net:
        raise UsageError(
            "--net is for --method bptt, and mtt trains the experts' own network: leave it out"
        )
    if options.inner != LearnOptions.inner:
        raise UsageError(
            "--inner is for --method bptt, and mtt trains by plain gradient descent with a learned "
            "step size: leave it out, and begin at another one with --method mtt:lr=0.02"
        )
    if any(run.epoch for run in expert):
        raise UsageError("--method mtt follows experts from epoch to epoch: leave out the @EPOCH")


def _all_segments(
    task: Task, expert: Sequence[ExpertRun], *, ahead: float, latest: float
) -> list["_Segment"]:
    """Return the parts of all runs that students follow; every run must have one."""
    # Picked for its checks: experts of other classes or images are refused.
    pick_checkpoints(task.bundle, expert, "last")
    segments: list[_Segment] = []
    for run in expert:
        network = task.ready(network_of(run.about, run))
        found = _segments(run, network, ahead=ahead, latest=latest)
        if not found:
            known = ", ".join(f"{epoch:g}" for epoch in _epochs(run).values())
            raise UsageError(
                f"--method mtt: no checkpoint of {run.folder} up to epoch {latest:g} has one "
                f"{ahead:g} epochs later: choose another ahead or latest (epochs {known})"
            )
        segments += found
    return segments


class _Segment(NamedTuple):
    """A part of an expert's training, from one checkpoint to another."""

    run: ExpertRun
    network: Network
    first_step: int
    last_step: int


def _segments(run: ExpertRun, network: Network, *, ahead: float, latest: float) -> list[_Segment]:
    """Return the parts of a run that begin up to epoch `latest` and are `ahead` epochs long."""
    length = ahead * run.about.steps_per_epoch
    epochs = _epochs(run)
    segments = []
    for first, epoch in epochs.items():
        if epoch > latest:
            continue
        last = _nearest(epochs, first + length)
        # Fractions of an epoch are saved at whole steps: each end is exact to half a step.
        if first < last and abs(last - first - length) <= 1:
            segments.append(_Segment(run, network, first, last))
    return segments


def _epochs(run: ExpertRun) -> dict[int, float]:
    """Return the epoch of each step whose weights are known, in order."""
    # The seed of an imported run is not that of its training.
    fresh = {} if run.about.is_imported else {0: 0.0}
    return fresh | run.epochs


def _without_first_weights(run: ExpertRun) -> str:
    first = next(iter(run.epochs.values()))
    return f"{run.folder}: imported without its first weights: students begin at epoch {first:g}"


def _nearest(steps: dict[int, float], wanted: float) -> int:
    return min(steps, key=lambda step: abs(step - wanted))


def _weights_on(device: torch.device) -> Callable[[ExpertRun, int], Tensor]:
    """Return a function that gives the weights [P] after a step of a run, on the device.

    Those of step 0 are drawn again from the seed if the run has not kept them.
    """

    @lru_cache(maxsize=_MAX_CHECKPOINTS)
    def weights_of(run: ExpertRun, step: int) -> Tensor:
        if step not in run.epochs:
            body = network_of(run.about).body.to(device)
        else:
            runtime = Runtime(device=device, precision="fp32", compile="off")
            body = Labeler([Checkpoint(run, step)], runtime, num_images=1).bodies[0]
        return parameters_to_vector(body.parameters()).detach()

    return weights_of
