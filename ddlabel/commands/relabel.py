"""`relabel`: soft labels from experts. `densify` labels views in the same way."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ddlabel.commands.checkpoints import pick_and_report, source_of
from ddlabel.commands.command import Made, command
from ddlabel.commands.inputs import (
    BundleLike,
    check_one_standard_input,
    expert_inputs,
    open_bundle,
    open_experts,
)
from ddlabel.commands.label_report import report_labels
from ddlabel.commands.labeling import Labelling, label_images
from ddlabel.commands.learned_pixels import learned_with_hard_labels
from ddlabel.commands.reporter import Reporter
from ddlabel.core.config import RelabelOptions
from ddlabel.core.errors import UsageError
from ddlabel.core.ranks import NUM_RANKS
from ddlabel.data.bundle import Bundle
from ddlabel.data.expert_run import Checkpoints, ExpertRun
from ddlabel.data.provenance import Input
from ddlabel.training import distributed
from ddlabel.training.runtime import Runtime

_LEARNED = (
    "the pixels seem learned, and came with hard labels alone: an expert's soft labels can cost "
    "such images accuracy: let 'ddlabel evaluate' compare --labels hard,soft"
)


@command("relabel", RelabelOptions)
def relabel(bundle: BundleLike, *, options: RelabelOptions, reporter: Reporter) -> Made:
    """Give every image the soft label of an expert, an early-stopped one, or an ensemble.

    Returns the bundle with soft labels [N, K], the experts' logits (Label-Worth, section 3.1).

    Raises:
        UsageError: An option is out of its range, or no expert is named.
        InvalidInputError: An input cannot be read, or a run has no such checkpoint.
        IncompatibleError: An expert has other classes than the bundle, or takes other images.
    """
    return label_with_experts(bundle, Labelling("soft", label_images), options, reporter)


@dataclass(frozen=True, kw_only=True)
class _Choice:
    """The checkpoints and the settled options of a labelling, and what else was read for them."""

    checkpoints: Checkpoints
    options: Any
    inputs: Sequence[Input]


def label_with_experts(
    bundle: BundleLike,
    labelling: Labelling,
    options: RelabelOptions,
    reporter: Reporter,
    check: Callable[[Bundle], object] | None = None,
) -> Made:
    """Find the experts, choose their checkpoints, label, and report how good the labels are.

    `check` refuses a bundle before the work.
    """
    check_one_standard_input([bundle, options.real])
    if not options.expert:
        raise UsageError("no expert is named: give its run with --expert RUN")
    runs = open_experts(options.expert, reporter)
    if options.epoch != "auto" and all(run.epoch for run in runs):
        raise UsageError(
            "--epoch is for experts without an epoch of their own (RUN@12), and all have one: "
            "leave it out"
        )
    opened = open_bundle(bundle)
    if check is not None:
        check(opened.bundle)
    # All ranks label in one precision, and the history names it.
    options = replace(options, precision=Runtime.of(options).precision)
    choice = _choose(opened.bundle, runs, options, labelling, reporter)
    inputs = [*choice.inputs, *expert_inputs(choice.checkpoints)]
    if NUM_RANKS > 1:
        _join_ranks(options, opened.digest, inputs)
    reporter.note(f"labels by {source_of(choice.checkpoints)}")
    if labelling.field == "soft" and learned_with_hard_labels(opened.bundle):
        reporter.note(f"note: {_LEARNED}")
    labelled = labelling.label(opened.bundle, choice.checkpoints, choice.options, reporter.progress)
    report_labels(labelled, labelling.field, reporter)
    # The names of the experts have their epochs.
    settled = replace(choice.options, epoch=type(options)().epoch)
    return Made(bundle=labelled, source=opened.digest, inputs=inputs, settled=settled)


def _join_ranks(options: RelabelOptions, bundle: str, inputs: Sequence[Input]) -> None:
    """Wait for all ranks, which must have the same work: `bundle` is the digest of theirs."""
    work = {
        "command": type(options).__name__,
        **options.recorded(),
        "bundle": bundle,
        "experts": [each.sha256 for each in inputs],
    }
    distributed.join(options.device, work)


def _choose(
    bundle: Bundle,
    runs: Sequence[ExpertRun],
    options: RelabelOptions,
    labelling: Labelling,
    reporter: Reporter,
) -> _Choice:
    """Choose what is `auto`: by quick students with --real, else by training accuracy."""
    if options.real is None:
        checkpoints = pick_and_report(bundle, runs, options.epoch, reporter)
        return _Choice(checkpoints=checkpoints, options=options, inputs=())
    # Here, because most commands train no quick students.
    from ddlabel.commands.trial import choose_epoch

    real = open_bundle(options.real)
    checkpoints, settled, trials = choose_epoch(
        bundle, runs, options, real.bundle, labelling, reporter.progress
    )
    chosen = f"{source_of(checkpoints)}, temperature {settled.temperature:g}"
    report_trials(trials, chosen, reporter)
    return _Choice(checkpoints=checkpoints, options=settled, inputs=[real.as_input("real")])


def report_trials(trials: dict[str, np.ndarray[Any, Any]], chosen: str, reporter: Reporter) -> None:
    """Report the accuracy of the quick students of each choice, and what was chosen."""
    for name, accuracies in trials.items():
        reporter.note(
            f"{name}: {100 * accuracies.mean():.1f} % of {len(accuracies)} quick students on "
            "held-out real images"
        )
    reporter.note(f"auto: {chosen}")
