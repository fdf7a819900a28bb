"""`learn`: soft labels by distillation, with the images fixed (Label-Worth, section 5.2)."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ddlabel import __version__
from ddlabel.commands.command import Made, command
from ddlabel.commands.inputs import (
    BundleLike,
    OpenBundle,
    check_one_standard_input,
    open_bundle,
    open_experts,
)
from ddlabel.commands.label_learning import State, learn_labels
from ddlabel.commands.label_report import describe_figures
from ddlabel.commands.reporter import Reporter
from ddlabel.core import interruption, protocols
from ddlabel.core.config import LearnOptions
from ddlabel.core.errors import IncompatibleError
from ddlabel.core.protocols import Facts
from ddlabel.data.bundle import Bundle
from ddlabel.data.expert_run import ExpertRun
from ddlabel.data.provenance import (
    LEARNED_LR,
    Input,
    canonical_json,
    sha256_of_path,
    sha256_of_text,
)
from ddlabel.training.resume import loaded_state, save_state


@command("learn", LearnOptions)
def learn(
    bundle: BundleLike,
    resume: str | Path | None = None,
    *,
    options: LearnOptions,
    reporter: Reporter,
) -> Made:
    """Learn soft labels for the images as they are, by students' loss or experts' training.

    Returns the bundle with soft labels [N, K]: probabilities of any sum (`mass`), or logits.

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
    given = options.recorded()
    options = _with_protocol(options, opened.bundle)
    opened_real = None if options.real is None else open_bundle(options.real)
    experts = open_experts(options.expert, reporter)
    inputs = _inputs(opened_real, experts)
    saved = _SavedState(resume, _key(options, opened.digest, inputs), reporter)
    with interruption.outlook(saved.outlook), interruption.deferred(enabled=resume is not None):
        learned = learn_labels(
            opened.bundle,
            options,
            real=None if opened_real is None else opened_real.bundle,
            experts=experts,
            state=saved.load(),
            save=saved.save,
            note=reporter.note,
            progress=reporter.progress,
        )
    reporter.note(describe_figures(learned.bundle, "soft"))
    facts = _preset_by_rows(options, given)
    if learned.lr is not None:
        facts[LEARNED_LR] = learned.lr
        reporter.note(
            f"learned with a step size of {learned.lr:.4g}: evaluate with --optimizer "
            f"sgd:lr={learned.lr:.4g}"
        )
    return Made(bundle=learned.bundle, source=opened.digest, inputs=inputs, facts=facts)


def _with_protocol(options: LearnOptions, bundle: Bundle) -> LearnOptions:
    """Return the options with those of the protocol for this bundle.

    Raises:
        UsageError: The protocol has no row for it.
    """
    if options.protocol is None:
        return options
    facts = Facts(
        images=len(bundle),
        classes=bundle.num_classes,
        size=bundle.side,
        labels="hard",
        dataset=options.dataset,
    )
    given = options.from_user()
    preset = protocols.preset(options.protocol, "learn", facts=facts, given=given)
    return options.with_preset(preset)


def _preset_by_rows(options: LearnOptions, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the history says of a protocol's rows: the options that they have changed."""
    recorded = options.recorded()
    changed = {name: value for name, value in recorded.items() if value != given[name]}
    return {"preset": changed} if changed else {}


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
        iteration, loss, lr = state["iteration"], state["loss"], state["lr"]
        line = f"iteration {iteration}: outer loss {loss:.4f}"
        if lr is not None:
            line += f", step size {lr:.4g}"
        self._reporter.note(line)
        numbers = {"outer_loss": loss} if lr is None else {"outer_loss": loss, "step_size": lr}
        self._reporter.numbers("labels", iteration, numbers)
        if self._path is not None:
            save_state(self._path, state | {"key": self._key})
            self._iteration = iteration
            interruption.leave_if_requested()


def _inputs(real: OpenBundle | None, runs: Sequence[ExpertRun]) -> list[Input]:
    """Return the entries of a history for the real images and for whole runs."""
    inputs = [] if real is None else [real.as_input("real")]
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
