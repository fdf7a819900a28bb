"""Checks of labels: their space, whether hard labels contradict them, and those of views."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch.nn.functional as F

from ddlabel.commands.doctor.case import (
    Case,
    Finding,
    checks,
    class_list,
    command_line,
    listed,
    percent,
)
from ddlabel.commands.doctor.class_order import best_order, is_better
from ddlabel.commands.doctor.images import without_images
from ddlabel.data.bundle import FIELDS, Bundle
from ddlabel.data.checks import sum_to_one
from ddlabel.data.labels import Array
from ddlabel.methods.labels.blocks import label_blocks, label_figures
from ddlabel.methods.labels.target import Target

# How far the numbers of a softmaxed distribution may be from one, after rounding.
_ROUNDING = 1e-3
# A label contradicts its image's class if it gives it less than the first, and another class more
# than the second.
_HARDLY = 0.01
_SURELY = 0.9
# Log-probabilities of classes that a label leaves out.
_SMALLEST_PROBABILITY = 1e-12


@checks.add
def label_space(case: Case) -> list[Finding]:
    """Whether labels are logits or probabilities as the header says."""
    findings = []
    for field, labels in _labels_of(case.bundle):
        space = labels.meta.space
        name = f"{field} labels"
        if space == "logits" and _all_blocks(case.bundle, field, _are_distributions):
            findings.append(
                Finding(
                    check="label-space",
                    found=f"the {name} are declared as logits, and every row is a distribution: a "
                    "softmax makes them almost uniform",
                    certainty="certain",
                    advice="declare them as probabilities",
                    commands=_as_probabilities(case, field),
                )
            )
        elif space != "direction" and _all_blocks(case.bundle, field, _are_softmaxed_twice):
            findings.append(
                Finding(
                    check="label-space",
                    found=f"the {name} are almost uniform, as distributions are that went through "
                    "a softmax: it was applied twice",
                    certainty="likely",
                    advice="save the labels again, as logits or after one softmax",
                )
            )
    return findings


def _labels_of(bundle: Bundle) -> Iterator[tuple[str, Any]]:
    """Yield the kinds of labels that a bundle has."""
    for field in FIELDS:
        labels = getattr(bundle, field)
        if labels is not None:
            yield field, labels


def _all_blocks(bundle: Bundle, field: str, is_so: Any) -> bool:
    """Return whether a function of a target is true for every block of labels."""
    return all(is_so(target) for _, target in label_blocks(bundle, field))


def _are_distributions(target: Target) -> bool:
    values = target.values.numpy()
    return bool((values >= 0).all() and sum_to_one(values).all())


def _are_softmaxed_twice(target: Target) -> bool:
    """Return whether labels are the softmax of distributions.

    Then p = log softmax(p) + c for one c of each label, for which the sum of p is 1, and no p is
    negative.
    """
    logs = target.log_probs().double().numpy()
    if not np.isfinite(logs).all():
        return False
    shifted = logs + (1 - logs.sum(1, keepdims=True)) / logs.shape[1]
    differ = np.ptp(shifted, axis=1) > _ROUNDING
    return bool((shifted >= -_ROUNDING).all() and differ.any())


def _as_probabilities(case: Case, field: str) -> tuple[str, ...]:
    """Return the command line that declares labels as probabilities."""
    meta = f"replace(b.{field}.meta, space='probs', temperature=1.0)"
    return case.rewrite(**{field: f"replace(b.{field}, meta={meta})"})


@checks.add
def contradicted_labels(case: Case) -> list[Finding]:
    """Whether the hard labels contradict the soft ones: all of them, or those of some images."""
    bundle = case.bundle
    if bundle.soft is None:
        return []
    logs, hard_labels = _log_probs(bundle), np.asarray(bundle.hard_labels)
    order = best_order(logs, hard_labels, np.arange(bundle.num_classes))
    if is_better(order):
        made_in = [""] * bundle.num_classes
        for name, number in zip(bundle.classes, order.numbers, strict=True):
            made_in[number] = name
        before, name_list = class_list(made_in)
        found = (
            f"{percent(order.agreement)} of the soft labels agree with the hard ones, and "
            f"{percent(order.best_agreement)} with their entries in another order"
        )
        return [
            Finding(
                check="contradicted-labels",
                found=found,
                certainty="likely",
                advice="the soft labels were made in another order of the classes than this: move "
                "their entries",
                commands=(*before, case.edit("--label-order", name_list)),
            )
        ]
    return _contradicted_images(case, logs, hard_labels)


def _log_probs(bundle: Bundle) -> Array:
    """Return the soft labels [N, K] as log-probabilities; directions as if they were logits."""
    blocks = []
    for _, target in label_blocks(bundle, "soft"):
        if target.meta.space == "direction":
            logs = F.log_softmax(target.values, 1)
        else:
            logs = target.probs().clamp_min(_SMALLEST_PROBABILITY).log()
        blocks.append(logs.double().numpy())
    return np.concatenate(blocks)


def _contradicted_images(case: Case, logs: Array, hard_labels: Array) -> list[Finding]:
    """Return a finding of images whose label is sure of another class."""
    own = np.exp(logs[np.arange(len(logs)), hard_labels])
    rows = np.flatnonzero((own < _HARDLY) & (np.exp(logs.max(1)) > _SURELY)).tolist()
    if not rows:
        return []
    classes = case.bundle.classes
    first = rows[0]
    example = f"{classes[hard_labels[first]]}, labelled {classes[int(logs[first].argmax())]}"
    return [
        Finding(
            check="contradicted-labels",
            found="soft labels that are sure of another class than the hard one: "
            f"{len(rows)} of {len(case.bundle)}, rows {listed(rows)} (the first: {example})",
            certainty="possible",
            advice="look at them: either the expert errs there, or the hard labels are wrong; take "
            "out those that are",
            commands=without_images(case, rows),
            rows=tuple(rows),
        )
    ]


@checks.add
def labels_of_views(case: Case) -> list[Finding]:
    """Whether the labels of views agree with the class less than half the time."""
    if case.bundle.dense is None:
        return []
    agreement = label_figures(case.bundle, "dense")["accuracy"]
    if agreement >= 0.5:
        return []
    return [
        Finding(
            check="labels-of-views",
            found=f"{percent(agreement)} of the dense labels agree with the class of their image",
            certainty="possible",
            advice="views show less than whole images: label them with a later epoch of the "
            "expert, and let evaluate compare the two",
            commands=_label_views_again(case),
        )
    ]


def _label_views_again(case: Case) -> tuple[str, ...]:
    """Return the command lines that label the views at the last epoch, and compare the two."""
    made_by = [entry for entry in case.bundle.history if entry.command == "densify"]
    if not made_by:
        return ()
    words = []
    for given in made_by[-1].inputs:
        if given.role == "expert":
            words += ["--expert", given.name.partition("@")[0]]
    options = made_by[-1].options
    if options.get("views"):
        words += ["--views", str(options["views"])]
    densify = command_line("densify", case.name, case.mended, *words, "--epoch", "last")
    compare = command_line("evaluate", case.mended, "--test", "TEST", "--against", case.name)
    return densify, compare
