"""A check of images that were distilled for hard labels."""

import numpy as np

from ddlabel.commands.doctor.case import (
    Case,
    Expert,
    Finding,
    HeldOut,
    checks,
    command_line,
    sample_rows,
)
from ddlabel.commands.doctor.class_order import MOST_NATS, taken_for
from ddlabel.commands.learned_pixels import learned_with_hard_labels
from ddlabel.data.labels import Array
from ddlabel.data.likeness import as_unit

# The mean cross-entropies of images and of test images must differ by so many standard errors.
_LEAST_ERRORS = 3.0


@checks.add
def distilled_for_hard_labels(case: Case, expert: Expert, test: HeldOut) -> list[Finding]:
    """Whether the images were optimised for hard labels: soft labels of an expert may cost them.

    The signs are pixels that are no whole grey levels, and a cross-entropy of the expert that is
    unlike that on test images: what they teach is in their pixels. For DC's images of CIFAR-10, 10
    of each class, an expert's soft labels cost 9 points.
    """
    bundle = case.bundle
    if not learned_with_hard_labels(bundle):
        return []
    rows = sample_rows(len(test.bundle))
    taken = taken_for(bundle.classes, expert.classes)
    own = _cross_entropies(expert, case.images, taken[case.hard_labels])
    real = _cross_entropies(
        expert, as_unit(test.bundle.images[rows]), taken[test.bundle.hard_labels[rows]]
    )
    error = (own.var() / len(own) + real.var() / len(real)) ** 0.5
    if abs(own.mean() - real.mean()) < _LEAST_ERRORS * error:
        return []
    is_easier = own.mean() < real.mean()
    return [
        Finding(
            check="distilled-for-hard-labels",
            found="the pixels are no whole grey levels, as of images that were optimised, and came "
            "with hard labels alone; the "
            f"expert finds their classes {'easier' if is_easier else 'harder'} than those of test "
            f"images (cross-entropy {own.mean():.2f} nats, and {real.mean():.2f})",
            certainty="possible",
            advice="images that were distilled for hard labels can lose by an expert's soft "
            "labels: compare the two before you use soft ones",
            commands=_comparison(case, expert, test),
        )
    ]


def _cross_entropies(expert: Expert, images: Array, taken: Array) -> Array:
    """Return the cross-entropy [n] in nats of images for the predicted classes that they are of."""
    log_probs = expert.log_probs(images)
    own = np.take_along_axis(log_probs, taken[:, None], 1)[:, 0]
    return np.asarray(-np.maximum(own, -MOST_NATS))


def _comparison(case: Case, expert: Expert, test: HeldOut) -> tuple[str, ...]:
    """Return the command lines that evaluate hard and soft labels."""
    commands = []
    soft = case.name
    if case.bundle.soft is None:
        soft = case.mended
        commands.append(command_line("relabel", case.name, soft, "--expert", expert.run))
    for labels, name in (("hard", case.name), ("soft", soft)):
        commands.append(command_line("evaluate", name, "--test", test.name, "--labels", labels))
    return tuple(commands)
