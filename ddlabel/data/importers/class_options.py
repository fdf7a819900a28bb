"""`--class-names` and `--class-order` of an import: names for numbered classes, and their order."""

from dataclasses import replace

import numpy as np

from ddlabel.core.config import ImportOptions
from ddlabel.core.errors import UsageError
from ddlabel.data.bundle import Bundle
from ddlabel.data.class_lists import read_class_list, reorder_classes
from ddlabel.data.class_names import NAMES, kind_of, listed, numbers_of


def with_class_options(bundle: Bundle, options: ImportOptions) -> tuple[Bundle, list[str]]:
    """Name the classes of a bundle, then reorder them, and return what was done as notes.

    Raises:
        UsageError: The classes have other names already, or a list does not fit them.
        InvalidInputError: A list cannot be read.
    """
    notes = []
    found = bundle.classes
    kind = kind_of(found)
    if kind not in (NAMES, "numbers"):
        notes.append(f"the classes of the source are {kind}: {listed(found)}")
    if options.class_names is not None:
        names = read_class_list("--class-names", options.class_names).classes
        bundle = _with_names(bundle, names)
        pairs = [f"{name} is {found_name}" for found_name, name in _pairs(found, names)]
        notes.append(f"--class-names: {listed(pairs)}")
    if options.class_order is not None:
        order = read_class_list("--class-order", options.class_order).classes
        notes.append(f"--class-order: the order of the source was {listed(bundle.classes)}")
        bundle = reorder_classes(bundle, order)
    return bundle, notes


def _pairs(found: tuple[str, ...], names: tuple[str, ...]) -> list[tuple[str, str]]:
    """Return every class of the source with its new name."""
    numbers = numbers_of(found) or range(len(found))
    return [(name, names[number]) for name, number in zip(found, numbers, strict=True)]


def _with_names(bundle: Bundle, names: tuple[str, ...]) -> Bundle:
    """Return the bundle with names in place of class numbers: class n gets the n-th name."""
    if names == bundle.classes:
        return bundle
    numbers = numbers_of(bundle.classes)
    if numbers is None:
        raise UsageError(_named_already(bundle.classes, names))
    if max(numbers) >= len(names):
        raise UsageError(
            f"--class-names gives {len(names)} names, and the numbers of the classes go from "
            f"{min(numbers)} to {max(numbers)}: name all classes, the first one is number 0"
        )
    # Of classes that have no image, the source may not know.
    hard_labels = np.array(numbers)[bundle.hard_labels]
    return replace(bundle, classes=names, hard_labels=hard_labels)


def _named_already(classes: tuple[str, ...], names: tuple[str, ...]) -> str:
    line = f"--class-names is for classes without names, and these have some ({listed(classes)})"
    if set(names) == set(classes):
        return f"{line}: use --class-order {','.join(names)} for another order"
    return (
        f"{line}: leave it out, and rename them in the bundle with 'ddlabel edit BUNDLE OUT "
        "--class-names'"
    )
