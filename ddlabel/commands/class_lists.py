"""Class names in messages, and the lists of them that options name in histories."""

from collections.abc import Sequence
from typing import Any

from ddlabel.data.class_lists import read_class_list
from ddlabel.data.provenance import Input

CLASS_LISTS = ("class_names", "class_order", "label_order")
_SHOWN_CLASSES = 20


def class_list_inputs(options: Any) -> list[Input]:
    """Return the entries of a history for the options that are lists of class names."""
    inputs = []
    for name in CLASS_LISTS:
        value = getattr(options, name, None)
        if value is not None:
            role = name.replace("_", "-")
            given = read_class_list(f"--{role}", value)
            inputs.append(Input(role=role, name=given.name, sha256=given.digest))
    return inputs


def describe_classes(classes: Sequence[str], before: Sequence[str] | None = None) -> str:
    """Return classes in their order, which is often wrong, and the order that they had before."""
    line = f"classes in order: {_numbered(classes)}"
    return line if before is None else f"{line} (before: {_numbered(before)})"


def _numbered(classes: Sequence[str]) -> str:
    shown = enumerate(classes[:_SHOWN_CLASSES])
    names = ", ".join(name if name == str(number) else f"{number} {name}" for number, name in shown)
    rest = len(classes) - _SHOWN_CLASSES
    return f"{names}, … {rest} more" if rest > 0 else names
