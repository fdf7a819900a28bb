"""Learning labels: the steps down an outer loss, and the state that a killed run goes on from."""

import inspect
import math
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import SGD, Optimizer

from ddlabel.commands.learners import Objective, StepSize, Task, learners
from ddlabel.core import interruption
from ddlabel.core.config import LearnOptions
from ddlabel.core.errors import IncompatibleError, InvalidInputError, UsageError
from ddlabel.data.bundle import Bundle
from ddlabel.data.expert_run import ExpertRun
from ddlabel.data.labels import Labels
from ddlabel.data.schema import require
from ddlabel.methods.labels.gift import smooth
from ddlabel.methods.optimizers import optimizer_of
from ddlabel.training.arithmetic import arithmetic
from ddlabel.training.device_data import DeviceBundle
from ddlabel.training.loop import Progress

# What is learned and the state of its optimizers, with the number of finished iterations.
State = dict[str, Any]
# A logarithm of 0 would be no logit: stored probabilities are at least this.
_SMALLEST_PROBABILITY = 1e-6
# How much of the running mean of the gradient's norm is kept in an iteration (RaT-BPTT's code).
_KEPT_NORM = 0.9
# MTT learns its step size with this momentum.
_STEP_SIZE_MOMENTUM = 0.5


class LearnedLabels(NamedTuple):
    """A bundle with learned soft labels, and the learning rate that was learned with them."""

    bundle: Bundle
    lr: float | None


def learn_labels(
    bundle: Bundle,
    options: LearnOptions,
    *,
    real: Bundle | None = None,
    experts: Sequence[ExpertRun] = (),
    state: State | None = None,
    save: Callable[[State], None] = lambda state: None,  # noqa: ARG005
    note: Callable[[str], None] = lambda text: None,  # noqa: ARG005
    progress: Progress = iter,
) -> LearnedLabels:
    """Learn soft labels [N, K] that lower the outer loss of a method.

    Every `save_every` iterations, and when a signal waits, `save` is given the state. Another call
    goes on from it, to the same bytes.

    Raises:
        UsageError: An option is out of its range, or the learner lacks `real` or `experts`.
        IncompatibleError: The images and what is learned from do not fit each other.
        InvalidInputError: The stored labels of an image have no mass, or the loss or the labels of
            an iteration are not finite.
    """
    task = Task(bundle, options)
    with arithmetic(task.data.device):
        objective = _objective(task, real, experts)
        for text in objective.notes:
            note(text)
        learning = _Learning.begin(task, objective)
        num_done = learning.resume(state)
        losses: list[float] = []
        for iteration in progress(range(num_done, options.iterations)):
            loss = objective.loss(learning.labels, iteration)
            if not learning.step(loss):
                # Before iteration 0 there is nothing to keep.
                if iteration > 0:
                    save(learning.state(iteration, losses))
                raise InvalidInputError(_divergence(iteration))
            losses.append(float(loss.detach()))
            num_done = iteration + 1
            if num_done % options.save_every == 0 or interruption.is_requested():
                save(learning.state(num_done, losses))
                losses.clear()
    labels = Labels(values=learning.values(), meta=task.meta)
    return LearnedLabels(bundle.with_labels("soft", labels), learning.lr)


def _objective(task: Task, real: Bundle | None, experts: Sequence[ExpertRun]) -> Objective:
    """Return the objective of the method, which is given just what it learns from."""
    method = task.options.method
    learner: Callable[..., Objective] = learners.resolve(method)
    parameters = inspect.signature(learner).parameters
    arguments = {}
    for name, value in {"real": real, "expert": experts or None}.items():
        is_needed = name in parameters
        if is_needed and value is None:
            raise UsageError(f"--method {method} needs --{name}: add it")
        if not is_needed and value is not None:
            raise UsageError(f"--method {method} does not use --{name}: leave it out")
        if is_needed:
            arguments[name] = value
    return learner(task, **arguments)


@dataclass(kw_only=True)
class _Learning:
    """What is learned, and how.

    Attributes:
        options: The options.
        labels: The labels [N, K].
        step_size: The student's learning rate, where it is learned too.
        optimizers: One for the labels, and one for the step size.
        mean_norm: The running mean of the norm of the labels' gradient; None before the first.
    """

    options: LearnOptions
    labels: nn.Parameter
    step_size: StepSize | None
    optimizers: list[Optimizer] = field(default_factory=list)
    mean_norm: float | None = None

    @classmethod
    def begin(cls, task: Task, objective: Objective) -> "_Learning":
        options, step_size = task.options, objective.step_size
        labels = nn.Parameter(_first_labels(task.data, options))
        optimizers = [optimizer_of(options.optimizer, [labels])]
        if step_size is not None:
            optimizers.append(SGD([step_size.value], lr=step_size.lr, momentum=_STEP_SIZE_MOMENTUM))
        return cls(options=options, labels=labels, step_size=step_size, optimizers=optimizers)

    @property
    def learned(self) -> list[nn.Parameter]:
        """All that is learned."""
        return [self.labels] if self.step_size is None else [self.labels, self.step_size.value]

    @property
    def lr(self) -> float | None:
        """The step size, where it is learned."""
        return None if self.step_size is None else self.step_size.value.detach().item()

    def values(self) -> Any:
        """Return a copy of the labels [N, K] as an array."""
        return self.labels.detach().cpu().numpy().copy()

    def step(self, loss: Tensor) -> bool:
        """Take a step down the loss, and return whether everything is usable.

        What is learned is left as it was where the loss, a gradient or a new value is not finite,
        or the step size is not above 0.
        """
        for optimizer in self.optimizers:
            optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        assert self.labels.grad is not None
        gradient_norm = self.labels.grad.norm()
        if not bool((loss.detach() + gradient_norm).isfinite()):
            return False
        self._clip(float(gradient_norm))
        before = [learned.detach().clone() for learned in self.learned]
        for optimizer in self.optimizers:
            optimizer.step()
        if self.options.space == "probs":
            self.labels.data.clamp_(min=0)
        is_usable = all(bool(learned.isfinite().all()) for learned in self.learned)
        if self.step_size is not None:
            is_usable = is_usable and bool(self.step_size.value > 0)
        if not is_usable:
            for learned, value in zip(self.learned, before, strict=True):
                learned.data.copy_(value)
        return is_usable

    def _clip(self, norm: float) -> None:
        """Shorten a gradient that is much longer than those before it (RaT-BPTT's code)."""
        if self.mean_norm is None:
            self.mean_norm = norm
        self.mean_norm = _KEPT_NORM * self.mean_norm + (1 - _KEPT_NORM) * norm
        limit = self.options.clip * self.mean_norm
        if 0 < limit < norm:
            assert self.labels.grad is not None
            self.labels.grad.mul_(limit / norm)

    def state(self, num_done: int, losses: Sequence[float]) -> State:
        """Return a copy of the state after `num_done` iterations, with the mean of `losses`."""
        state = {
            "learned": [learned.detach().cpu() for learned in self.learned],
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "mean_norm": self.mean_norm,
        }
        mean_loss = sum(losses) / len(losses) if losses else math.nan
        figures = {"iteration": num_done, "loss": mean_loss, "lr": self.lr}
        return deepcopy(state) | figures

    def resume(self, state: State | None) -> int:
        """Load a state and return the number of its finished iterations."""
        if state is None:
            return 0
        iterations = self.options.iterations
        if state["iteration"] > iterations:
            raise UsageError(
                f"--iterations is {iterations} and {state['iteration']} are done: give at least as "
                "many"
            )
        for learned, value in zip(self.learned, state["learned"], strict=True):
            learned.data.copy_(value)
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self.mean_norm = state["mean_norm"]
        return int(state["iteration"])


def _first_labels(data: DeviceBundle, options: LearnOptions) -> Tensor:
    """Return the labels [N, K] to begin with, in the space that is learned."""
    num_classes = data.num_classes
    if options.start == "stored":
        return _stored_labels(data, options.space)
    if options.space == "probs":
        one_hot = F.one_hot(data.hard, num_classes).float()
        return one_hot if options.start == "hard" else torch.full_like(one_hot, 1 / num_classes)
    smoothed = smooth(data.hard, num_classes, alpha=0.1)
    return smoothed.log() if options.start == "hard" else torch.zeros_like(smoothed)


def _stored_labels(data: DeviceBundle, space: str) -> Tensor:
    """Return the soft labels of a bundle in the space that is learned.

    Raises:
        IncompatibleError: There are no soft labels, or they are directions.
        InvalidInputError: The label of an image is 0 for every class.
    """
    target = data.soft_target(torch.arange(len(data), device=data.device))
    if target.meta.space == "direction":
        raise IncompatibleError(
            "--start stored: the soft labels are directions, which have no probabilities: begin "
            "with --start hard"
        )
    mass = target.probs().sum(1)
    empty = (mass <= 0).nonzero().flatten().tolist()
    require(
        not empty,
        f"--start stored: the soft labels of {len(empty)} images have no mass (the first is image "
        f"{empty[0] if empty else 0}): begin with --start hard",
    )
    if space == "probs":
        return target.probs()
    return target.log_probs().clamp_min(math.log(_SMALLEST_PROBABILITY))


def _divergence(iteration: int) -> str:
    message = (
        f"learning diverged in iteration {iteration}: lower the learning rate in --inner or "
        "--optimizer"
    )
    if iteration == 0:
        return message
    # A run with other options does not go on from the state that is kept.
    return (
        f"{message}, for another OUT; the same with --iterations {iteration} writes the labels "
        "before it"
    )
