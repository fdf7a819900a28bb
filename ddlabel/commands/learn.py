"""`learn`: soft labels by distillation, with the images fixed (Label-Worth, section 5.2)."""

import inspect
import math
from collections.abc import Callable, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_
from torch.optim import Optimizer

from ddlabel import __version__
from ddlabel.commands.command import Made, command
from ddlabel.commands.inputs import (
    BundleLike,
    check_one_standard_input,
    open_bundle,
    open_experts,
)
from ddlabel.commands.label_report import describe_figures
from ddlabel.commands.learners import OuterLoss, Task, learners
from ddlabel.commands.reporter import Reporter
from ddlabel.core import interruption
from ddlabel.core.config import LearnOptions
from ddlabel.core.errors import IncompatibleError, InvalidInputError, UsageError
from ddlabel.core.registry import parse_spec
from ddlabel.data.bundle import Bundle
from ddlabel.data.expert_run import ExpertRun
from ddlabel.data.labels import Labels
from ddlabel.data.provenance import Input, canonical_json, sha256_of_path, sha256_of_text
from ddlabel.data.schema import LabelMeta
from ddlabel.methods.labels.gift import smooth
from ddlabel.methods.optimizers import optimizer_of
from ddlabel.training.device_data import DeviceBundle
from ddlabel.training.loop import Progress
from ddlabel.training.resume import loaded_state, save_state

# The learned labels and the state of their optimizer, with the number of finished iterations.
State = dict[str, Any]
# A logarithm of 0 would be no logit: stored probabilities are at least this.
_SMALLEST_PROBABILITY = 1e-6


@command("learn", LearnOptions)
def learn(
    bundle: BundleLike,
    resume: str | Path | None = None,
    *,
    options: LearnOptions,
    reporter: Reporter,
) -> Made:
    """Learn soft labels for the images as they are, by students' loss or experts' training.

    Returns the bundle with soft labels [N, K] as logits.

    Args:
        bundle: The images.
        resume: A file to which the state is saved every `save_every` iterations. If it exists, the
            run goes on from it. Remove it when the labels are written.
        options: The options.
        reporter: Reports the outer loss.

    Raises:
        UsageError: An option is out of its range, or the learner lacks --real or --expert.
        IncompatibleError: The inputs do not fit each other, or other options or inputs left the
            state in `resume`.
        InvalidInputError: An input cannot be read, or learning diverges.
        ResourceError: The device is not there.
    """
    check_one_standard_input([bundle, options.real])
    opened = open_bundle(bundle)
    inputs: list[Input] = []
    real = None
    if options.real is not None:
        opened_real = open_bundle(options.real)
        inputs.append(opened_real.as_input("real"))
        real = opened_real.bundle
    experts = open_experts(options.expert, reporter)
    inputs += _inputs_of_runs(experts)
    saved = _SavedState(resume, _key(options, opened.digest, inputs), reporter)
    with interruption.outlook(saved.outlook), interruption.deferred(enabled=resume is not None):
        learned = learn_labels(
            opened.bundle,
            options,
            real=real,
            experts=experts,
            state=saved.load(),
            save=saved.save,
            progress=reporter.progress,
        )
    reporter.note(describe_figures(learned, "soft"))
    return Made(bundle=learned, source=opened.digest, inputs=inputs)


class _SavedState:
    """The file that a killed run goes on from, or none."""

    def __init__(self, path: str | Path | None, key: str, reporter: Reporter) -> None:
        self._path = None if path is None else Path(path)
        self._key = key
        self._reporter = reporter
        self._iteration = 0

    def outlook(self) -> str | None:
        """Return what the same command does if this one ends now: see `interruption.outlook`."""
        if self._iteration == 0:
            return None
        return interruption.goes_on_from(f"iteration {self._iteration}")

    def load(self) -> State | None:
        """Return the state that a killed run left, or None.

        Raises:
            InvalidInputError: The file is damaged.
            IncompatibleError: Other options or inputs left it.
        """
        if self._path is None or not self._path.exists():
            return None
        with loaded_state(self._path) as state:
            if state["key"] != self._key:
                raise IncompatibleError(
                    "left by other options or inputs: give those, or delete it to begin again"
                )
            self._iteration = state["iteration"]
            self._reporter.note(f"{self._path}: going on from iteration {self._iteration}")
        return state

    def save(self, state: State) -> None:
        """Report the outer loss, and save the state. Leave if a signal has asked for it.

        Raises:
            Interrupted: A signal has.
        """
        iteration, loss = state["iteration"], state["loss"]
        self._reporter.note(f"iteration {iteration}: outer loss {loss:.4f}")
        if self._path is not None:
            save_state(self._path, state | {"key": self._key})
            self._iteration = iteration
            interruption.leave_if_requested()


def _inputs_of_runs(runs: Sequence[ExpertRun]) -> list[Input]:
    """Return the entries of a history for whole runs."""
    inputs = []
    for run in runs:
        folder = run.folder.resolve()
        inputs.append(Input(role="expert", name=folder.name, sha256=sha256_of_path(folder)))
    return inputs


def _key(options: LearnOptions, digest: str, inputs: Sequence[Input]) -> str:
    """Return a digest of all that decides the outcome but the number of iterations.

    A run may go on to more iterations, or end with those that are done.
    """
    recorded = options.recorded() | {"iterations": 0}
    return sha256_of_text(canonical_json([__version__, recorded, digest, *map(vars, inputs)]))


def learn_labels(
    bundle: Bundle,
    options: LearnOptions,
    *,
    real: Bundle | None = None,
    experts: Sequence[ExpertRun] = (),
    state: State | None = None,
    save: Callable[[State], None] = lambda state: None,  # noqa: ARG005
    progress: Progress = iter,
) -> Bundle:
    """Learn soft labels [N, K], as logits, that lower the outer loss of a method.

    Every `save_every` iterations, and when a signal waits, `save` is given the state. Another call
    goes on from it, to the same bytes.

    Raises:
        UsageError: An option is out of its range, or the learner lacks `real` or `experts`.
        IncompatibleError: The images and what is learned from do not fit each other.
        InvalidInputError: The loss or the labels of an iteration are not finite.
    """
    task = Task(bundle, options)
    outer_loss = _outer_loss(task, real, experts)
    labels = nn.Parameter(_first_labels(task.data, options.start))
    optimizer = optimizer_of(options.optimizer, [labels])
    num_done = _resume(state, labels, optimizer, options.iterations)
    losses: list[float] = []
    for iteration in progress(range(num_done, options.iterations)):
        loss = outer_loss(labels, iteration)
        if not _update(loss, labels, optimizer, options.clip):
            # Before iteration 0 there is nothing to keep.
            if iteration > 0:
                save(_state(labels, optimizer, iteration, losses))
            raise InvalidInputError(_divergence(iteration))
        losses.append(float(loss.detach()))
        num_done = iteration + 1
        if num_done % options.save_every == 0 or interruption.is_requested():
            save(_state(labels, optimizer, num_done, losses))
            losses.clear()
    meta = LabelMeta(space="logits", source=parse_spec(options.method)[0])
    values = labels.detach().cpu().numpy()
    return bundle.with_labels("soft", Labels(values=values, meta=meta))


def _outer_loss(task: Task, real: Bundle | None, experts: Sequence[ExpertRun]) -> OuterLoss:
    """Return the outer loss of the method, which is given just what it learns from."""
    method = task.options.method
    learner: Callable[..., OuterLoss] = learners.resolve(method)
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


def _first_labels(data: DeviceBundle, start: str) -> Tensor:
    """Return the label logits [N, K] to begin with.

    They are those of the hard labels smoothed to 0.9, of uniform labels, or of the bundle's soft
    labels.
    """
    if start == "stored":
        rows = torch.arange(len(data), device=data.device)
        log_probs = data.soft_target(rows).log_probs()
        return log_probs.clamp_min(math.log(_SMALLEST_PROBABILITY))
    smoothed = smooth(data.hard, data.num_classes, alpha=0.1)
    return smoothed.log() if start == "hard" else torch.zeros_like(smoothed)


def _resume(state: State | None, labels: Tensor, optimizer: Optimizer, iterations: int) -> int:
    """Load a state and return the number of its finished iterations."""
    if state is None:
        return 0
    if state["iteration"] > iterations:
        raise UsageError(
            f"--iterations is {iterations} and {state['iteration']} are done: give at least as many"
        )
    labels.data.copy_(state["labels"])
    optimizer.load_state_dict(state["optimizer"])
    return int(state["iteration"])


def _state(labels: Tensor, optimizer: Optimizer, num_done: int, losses: Sequence[float]) -> State:
    """Return a copy of the state after `num_done` iterations, with the mean of `losses`."""
    learned = {"labels": labels.detach().cpu(), "optimizer": optimizer.state_dict()}
    mean_loss = sum(losses) / len(losses) if losses else math.nan
    return deepcopy(learned) | {"iteration": num_done, "loss": mean_loss}


def _update(loss: Tensor, labels: Tensor, optimizer: Optimizer, clip: float) -> bool:
    """Take a step down the loss, and return whether everything is finite.

    The labels are left as they were where the loss, its gradient or the new labels are not finite.
    """
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    gradient_norm = clip_grad_norm_(labels, clip)
    if not bool((loss.detach() + gradient_norm).isfinite()):
        return False
    before = labels.detach().clone()
    optimizer.step()
    is_finite = bool(labels.isfinite().all())
    if not is_finite:
        labels.data.copy_(before)
    return is_finite


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
