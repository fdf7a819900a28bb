"""Checks of the images alone: of one colour, clipped, or there twice."""

from collections.abc import Callable

import numpy as np

from ddlabel.commands.doctor.case import Case, Finding, blocks_of, checks, listed, percent
from ddlabel.data.labels import Array
from ddlabel.data.likeness import like_images

_HALF_A_LEVEL = 0.5 / 255
# So large a share of an image's pixels are black, and so large a share are white, in an image that
# was cut off at both ends. Digits on black have the one, and few real images have both.
_CLIPPED_SHARE = 0.2
# More rows than this do not fit a command line well.
MOST_ROWS = 100


@checks.add
def constant_images(case: Case) -> list[Finding]:
    """Whether images have one colour: they teach nothing, and are often the sign of a bad file."""
    rows = _rows_where(case, lambda block: np.ptp(block, axis=(2, 3)).max(1) < _HALF_A_LEVEL)
    if not rows:
        return []
    return [
        Finding(
            check="constant-images",
            found=f"images of one colour: {len(rows)} of {len(case.bundle)}, rows {listed(rows)}",
            certainty="certain",
            advice="look at the source; take them out if it has them too",
            commands=without_images(case, rows),
            rows=tuple(rows),
        )
    ]


@checks.add
def saturated_images(case: Case) -> list[Finding]:
    """Whether images were cut off: many of their pixels are black, and many are white."""

    def is_clipped(block: Array) -> Array:
        black = (np.abs(block) <= _HALF_A_LEVEL).mean((1, 2, 3))
        white = (np.abs(block - 1) <= _HALF_A_LEVEL).mean((1, 2, 3))
        return np.asarray((black >= _CLIPPED_SHARE) & (white >= _CLIPPED_SHARE))

    rows = _rows_where(case, is_clipped)
    share = len(rows) / len(case.bundle)
    if not rows:
        return []
    return [
        Finding(
            check="saturated-images",
            found="images with a fifth of their pixels black and a fifth white: "
            f"{len(rows)} of {len(case.bundle)} ({percent(share)}), rows {listed(rows)}",
            certainty="likely" if share > 0.5 else "possible",
            advice="normalised pixels that were saved as uint8 are cut off like this: import them "
            "from the tensors, and look at the images",
            commands=(),
            rows=tuple(rows),
        )
    ]


@checks.add
def duplicated_images(case: Case) -> list[Finding]:
    """Whether images are there twice: equal, nearly equal, or mirrored."""
    found = like_images(case.bundle.images)
    if not found:
        return []
    rows = [each.row for each in found]
    hard_labels = case.bundle.hard_labels
    num_equal = sum(each.distance == 0 and not each.is_mirrored for each in found)
    num_other = sum(hard_labels[each.row] != hard_labels[each.other] for each in found)
    first = found[0]
    text = (
        f"images like an earlier one: {len(found)} of {len(case.bundle)}, {num_equal} equal and "
        f"{len(found) - num_equal} nearly equal or mirrored (row {first.row} is like row "
        f"{first.other})"
    )
    if num_other:
        text += f"; with another class than it: {num_other}"
    return [
        Finding(
            check="duplicated-images",
            found=text,
            certainty="certain" if num_equal else "likely",
            advice="keep one of each",
            commands=without_images(case, rows),
            rows=tuple(rows),
        )
    ]


def without_images(case: Case, rows: list[int]) -> tuple[str, ...]:
    """Return the command line that takes images out; none if they are too many to name, or all."""
    if len(rows) > MOST_ROWS or len(rows) == len(case.bundle):
        return ()
    return (case.edit("--without-images", ",".join(map(str, rows))),)


def _rows_where(case: Case, is_so: Callable[[Array], Array]) -> list[int]:
    """Return the rows of the images for which a function of images [n, C, H, W] is true."""
    rows: list[int] = []
    for first, block in blocks_of(case.bundle):
        rows += (first + np.flatnonzero(is_so(block))).tolist()
    return rows
