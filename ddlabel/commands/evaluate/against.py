"""The other side of `--against`: the same students on the labels of another bundle."""

from collections.abc import Sequence
from dataclasses import replace

from ddlabel.commands.evaluate.experiment import (
    VIEW_OPTIONS,
    Experiment,
    choose_labels,
    same_for_all_seeds,
    settle,
)
from ddlabel.commands.evaluate.presets import Completed
from ddlabel.commands.inputs import OpenBundle
from ddlabel.core.config import EvaluateOptions
from ddlabel.core.errors import IncompatibleError
from ddlabel.data.bundle import Bundle


def against_experiments(
    experiment: Experiment, other: OpenBundle, grid: Sequence[Completed]
) -> list[Experiment]:
    """Return the settled experiments of a grid on another bundle.

    Raises:
        UsageError: Options do not go together, or a spec cannot be resolved.
        IncompatibleError: The loss cannot use the labels of the other bundle.
    """
    on_other = replace(
        experiment,
        bundle_for=same_for_all_seeds(other.bundle),
        digests=experiment.digests | {"bundle": other.digest},
        origins=experiment.origins | {"bundle": other.origin},
    )
    settled = []
    try:
        for options, preset in grid:
            of_other = _options_of(options, other.bundle, has_teacher=bool(experiment.teacher))
            settled.append(settle(replace(on_other, options=of_other, preset=preset)))
    except IncompatibleError as error:
        raise IncompatibleError(
            f"--against: {error}; --against-loss sets the loss of that side"
        ) from error
    return settled


def _options_of(options: EvaluateOptions, bundle: Bundle, *, has_teacher: bool) -> EvaluateOptions:
    """Return the options of the other side: those that only this side can use fall back.

    Labels that the other bundle lacks are replaced by its richest, whatever is for views has no
    effect without them, and hard labels are not blended.
    """
    if options.against_loss is not None:
        options = replace(options, loss=options.against_loss)
    if options.labels in ("soft", "dense") and not _has(bundle, options.labels):
        options = replace(options, labels="auto")
    labels = choose_labels(bundle, options, has_teacher=has_teacher)
    if labels != "dense":
        options = replace(options, **VIEW_OPTIONS)
    elif options.global_labels == "soft" and bundle.soft is None:
        options = replace(options, global_labels="auto")
    if labels == "hard":
        options = replace(options, mix="none")
    return options


def _has(bundle: Bundle, field: str) -> bool:
    return getattr(bundle, field) is not None
