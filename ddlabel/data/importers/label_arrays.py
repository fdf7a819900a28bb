"""What the numbers of bare label arrays mean: classes, logits or distributions."""

from typing import cast

import numpy as np

from ddlabel.core.errors import UsageError
from ddlabel.data.checks import check_rows, sum_to_one
from ddlabel.data.labels import Array
from ddlabel.data.schema import Space, require

_MAX_CLASSES = 1 << 16
# Sums of probabilities that were rounded miss 1 by less.
_ROUNDED = 0.05


def check_numbers(name: str, role: str, array: Array) -> None:
    """Check that an array holds finite real numbers.

    Raises:
        InvalidInputError: It holds others.
    """
    require(
        array.dtype.kind in "buif",
        f"{name}: the {role} are of type {array.dtype.name}: expected real numbers",
    )
    check_rows(f"{name}: {role}", array, "finite numbers", np.isfinite)


# A number that float32 or int64 cannot hold becomes infinite or another number, which is refused.
@np.errstate(over="ignore", invalid="ignore")
def read_hard(name: str, labels: Array) -> Array:
    """Return labels [N] as whole numbers, the numbers of classes.

    Raises:
        InvalidInputError: They are no classes, or too many.
    """
    check_numbers(name, "labels", labels)
    hard = labels.astype(np.int64)
    whole = (hard == labels).all() and hard.min() >= 0
    require(
        whole,
        f"{name}: labels [N] must be classes 0, 1, 2, …: they are {labels.min()} … {labels.max()}",
    )
    check_num_classes(int(hard.max()) + 1)
    return np.asarray(hard)


def check_num_classes(num_classes: int) -> None:
    """Check that there are not more classes than a bundle can name.

    Raises:
        InvalidInputError: There are more.
    """
    require(
        num_classes <= _MAX_CLASSES,
        f"the labels go up to {num_classes - 1}: at most {_MAX_CLASSES} classes are read",
    )


@np.errstate(over="ignore", invalid="ignore")
def read_soft(name: str, labels: Array, stated: str | None) -> tuple[Array, Space]:
    """Return labels [..., K] as they are stored, and their space.

    They are logits if a number is negative, and probabilities if every row is a distribution.
    Otherwise the space has to be `stated`.

    Raises:
        InvalidInputError: A number is not finite.
        UsageError: The space is not clear and not stated, or stated against the numbers.
    """
    check_numbers(name, "labels", labels)
    soft = labels if labels.dtype == np.float16 else labels.astype(np.float32)
    check_numbers(name, "labels", soft)
    likely = _likely_space(labels, soft)
    if stated == "logits" and likely == "probs":
        raise UsageError(
            f"{name}: --label-space logits, but every row of the labels is a distribution: say "
            "--label-space probs"
        )
    space = stated or likely
    if space is None:
        raise UsageError(f"{name}: {_unclear(labels)}")
    return soft, cast(Space, space)


def _likely_space(labels: Array, soft: Array) -> Space | None:
    """Return the space of labels if their numbers leave no doubt; `soft` is as stored."""
    if labels.min() < 0:
        return "logits"
    tolerance = 1e-2 if soft.dtype == np.float16 else 1e-4
    if sum_to_one(labels, tolerance=tolerance).all():
        return "probs"
    return None


def _unclear(labels: Array) -> str:
    """Say why labels are neither clearly logits nor probabilities, and which is likelier."""
    sums = labels.sum(-1, dtype=np.float64)
    reason = f"no number is negative, and rows sum to {sums.min():.4g} … {sums.max():.4g}"
    are_rounded = abs(sums - 1).max() < _ROUNDED
    if are_rounded:
        advice = "divide them by their sums if they are probabilities, or add --label-space logits"
    else:
        advice = (
            "add --label-space logits (likelier: probabilities sum to 1), or mass if they are "
            "probabilities whose sum was learned"
        )
    return f"the labels may be logits or probabilities ({reason}): {advice}"
