"""Soft labels that a file holds image by image, each as a list of numbers."""

from collections.abc import Sequence
from typing import Any, NamedTuple, get_args

import numpy as np

from ddlabel.core.errors import UsageError
from ddlabel.data.checks import check_labels
from ddlabel.data.importers.label_arrays import check_num_classes, read_soft
from ddlabel.data.labels import Array, Labels
from ddlabel.data.reading import reading
from ddlabel.data.schema import LabelMeta, Space, require

_SPACES = get_args(Space)


class SoftLabels(NamedTuple):
    """Soft labels [N, K] and their space."""

    values: Array
    space: Space


def soft_row(value: Any) -> Array:
    """Return a list of numbers of a JSON text as an array [K].

    Raises:
        InvalidInputError: It is something else.
    """
    is_list = isinstance(value, list) and len(value) > 0
    are_numbers = is_list and all(type(number) in (int, float) for number in value)
    require(are_numbers, "its soft label is no list of numbers")
    return np.array(value, np.float64)


class SoftRows:
    """Collects the soft labels of images, one after another: of all images or of none."""

    def __init__(self) -> None:
        self._rows: list[Array] = []
        self._without: list[str] = []

    def add(self, image: str, row: Array | None) -> None:
        """Add the soft label [K] of an image, or None if it has none.

        Raises:
            InvalidInputError: It has another length than those before.
        """
        if row is None:
            self._without.append(image)
            return
        expected = len(self._rows[0]) if self._rows else len(row)
        require(
            len(row) == expected,
            f"{image}: its soft label has {len(row)} numbers, and those before have {expected}",
        )
        self._rows.append(row)

    def labels(
        self, name: str, stored: Sequence[str | None], stated: str | None
    ) -> SoftLabels | None:
        """Return the labels of all images; None if no image has any.

        `stored` are the spaces that the parts of the source `name` give them, None where they do
        not, and `stated` is that of `--label-space`.

        Raises:
            InvalidInputError: Some images have no soft label, or a number has no meaning.
            UsageError: The space is not clear and not stated, or stated against the file.
        """
        if not self._rows:
            return None
        num_images = len(self._rows) + len(self._without)
        require(
            not self._without,
            f"{name}: {len(self._without)} of {num_images} images have no soft label, as "
            f"{(*self._without, '')[0]}: give all images one, or none",
        )
        space = _one_space(name, stored)
        if space is not None and stated not in (None, space):
            raise UsageError(f"--label-space {stated}: {name} says {space}: leave it out")
        check_num_classes(len(self._rows[0]))
        labels = SoftLabels(*read_soft(name, np.stack(self._rows), space or stated))
        with reading(name, "cannot be read"):
            meta = LabelMeta(space=labels.space)
            check_labels("soft", Labels(values=labels.values, meta=meta))
        return labels


def _one_space(name: str, stored: Sequence[str | None]) -> str | None:
    """Return the space that all parts of a source say, or None."""
    spaces = set(stored)
    known = ", ".join(_SPACES)
    require(len(spaces) == 1, f"{name}: parts of it have labels of different spaces")
    (space,) = spaces
    require(
        space is None or space in _SPACES, f"{name}: its labels are {space!r}: expected {known}"
    )
    return space


def num_classes_of(name: str, hard_labels: Array, soft: SoftLabels | None) -> int:
    """Return the number of classes of hard labels [N] and soft labels [N, K].

    Raises:
        InvalidInputError: A hard label is none of the K classes, or there are too many classes.
    """
    num_classes = int(hard_labels.max()) + 1
    check_num_classes(num_classes)
    if soft is None:
        return num_classes
    num_soft = int(soft.values.shape[1])
    require(
        num_classes <= num_soft,
        f"{name}: the classes go up to {num_classes - 1}, and the soft labels have {num_soft}",
    )
    return num_soft
