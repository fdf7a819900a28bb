"""The options of a grid, completed by what a protocol has for the bundle."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from ddlabel.commands.evaluate.experiment import choose_labels
from ddlabel.core import protocols
from ddlabel.core.config import EvaluateOptions
from ddlabel.core.protocols import Facts
from ddlabel.data.bundle import Bundle
from ddlabel.data.expert_run import ExpertRun
from ddlabel.data.provenance import patch_factor


class Completed(NamedTuple):
    """Options with those of their protocol, and all that the protocol presets, by name."""

    options: EvaluateOptions
    preset: dict[str, Any]


def complete(
    grid: Sequence[EvaluateOptions], bundle: Bundle, teachers: Sequence[ExpertRun]
) -> list[Completed]:
    """Return the options of a grid with what their protocol has for this bundle and teacher.

    Raises:
        UsageError: The protocol has no row for them, or options do not go together.
        InvalidInputError: The bundle's history says nonsense of its patches.
    """
    objects = ("teacher",) if teachers else ()
    completed = []
    for options in grid:
        preset = _preset(options, bundle, teachers)
        if preset:
            options = options.with_preset(preset, objects=objects)
        completed.append(Completed(options, preset))
    return completed


def _preset(
    options: EvaluateOptions, bundle: Bundle, teachers: Sequence[ExpertRun]
) -> dict[str, Any]:
    """Return the options of the protocol for this bundle, network, labels and teacher."""
    networks = {run.about.net.partition(":")[0] for run in teachers}
    facts = Facts(
        images=len(bundle),
        classes=bundle.num_classes,
        size=bundle.side,
        labels=choose_labels(bundle, options, has_teacher=bool(teachers)),
        dataset=options.dataset,
        teacher=networks.pop() if len(networks) == 1 else "",
        factor=patch_factor(bundle.history),
    )
    return protocols.preset(options.protocol, facts=facts, given=options.from_user())
