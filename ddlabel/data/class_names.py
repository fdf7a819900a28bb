"""Names of classes: what kind of names they are, and how two lists of them differ."""

import re
import unicodedata
from collections.abc import Sequence

from ddlabel.data.schema import require

_SHOWN = 8
# The first pattern that fits every class; its group, where it has one, is the class number.
_KINDS = {
    r"n\d{8}": "wnids",
    r"new(\d+)": "numbers of SRe2L",
    r"(\d{5})": "numbers of RDED",
    r"class(\d+)": "numbers",
    r"(\d+)": "numbers",
}
NAMES = "names"
# Control characters, and separators of lines and paragraphs.
_CONTROL_CATEGORIES = {"Cc", "Zl", "Zp"}


def kind_of(classes: Sequence[str]) -> str:
    """Return what class names are: `wnids`, `numbers of SRe2L`, …, or `names`."""
    return _KINDS.get(_pattern_of(classes), NAMES)


def numbers_of(classes: Sequence[str]) -> list[int] | None:
    """Return the class numbers that stand in place of names (`new007`, `00007`), or None."""
    pattern = _pattern_of(classes)
    if "(" not in pattern:
        return None
    return [int(re.fullmatch(pattern, name)[1]) for name in classes]  # type: ignore[index]


def _pattern_of(classes: Sequence[str]) -> str:
    for pattern in _KINDS:
        if all(re.fullmatch(pattern, name, re.ASCII) for name in classes):
            return pattern
    return ""


def listed(names: Sequence[str]) -> str:
    """Return the first of some names with commas, and how many more there are."""
    more = f", … {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def describe_difference(found: Sequence[str], expected: Sequence[str], expert: str = "") -> str:
    """Say how class names differ from the expected ones, and which command mends it.

    It ends a message that begins with whose names they are: a bundle, or the run `expert`, which
    the other bundle has to follow.
    """
    others = "has other classes than the bundle" if expert else "has other classes"
    if len(found) != len(expected):
        return f"{others}: {len(found)} of them, expected {len(expected)}"
    pairs = enumerate(zip(found, expected, strict=True))
    number, (name, wanted) = next(pair for pair in pairs if pair[1][0] != pair[1][1])
    first = f"number {number} is {name!r}, expected {wanted!r}"
    what = "the bundle" if expert else "it"
    edit = f"'ddlabel edit BUNDLE OUT --class-{{}} {expert or 'OTHER'}'"
    if set(found) == set(expected):
        return (
            f"has the same classes in another order ({first}): reorder {what} with "
            f"{edit.format('order')}"
        )
    kinds = kind_of(found), kind_of(expected)
    if kinds[0] != kinds[1]:
        return (
            f"has {kinds[0]} as classes and not {kinds[1]} ({first}): if they stand in one order, "
            f"rename {what} with {edit.format('names')}"
        )
    look = f": 'ddlabel doctor BUNDLE --expert {expert}' finds which class is which"
    return f"{others}: {first}{look if expert else ''}"


def check_class_names(name: str, classes: Sequence[str]) -> None:
    """Check that no class name has a control character, such as a newline.

    Raises:
        InvalidInputError: A class name has one; the message shows it escaped.
    """
    for class_name in classes:
        categories = {unicodedata.category(character) for character in class_name}
        require(
            not categories & _CONTROL_CATEGORIES,
            f"{name}: the class name {class_name!r} has a control character: rename the class",
        )
