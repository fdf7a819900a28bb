"""Texts of strangers in pictures: names of classes and files."""

import textwrap
from collections.abc import Sequence

LONGEST = 14


def short_text(text: str, longest: int = LONGEST) -> str:
    """Return a text without characters that cannot be drawn, cut to `longest` characters.

    A line break or a character that turns the direction of writing becomes `?`.
    """
    drawn = "".join(character if character.isprintable() else "?" for character in text)
    drawn = " ".join(drawn.split())
    return drawn if len(drawn) <= longest else f"{drawn[: longest - 1]}…"


def wrapped(text: str, width: int) -> str:
    """Return a text in lines of at most `width` characters."""
    return textwrap.fill(text, width, break_on_hyphens=False)


def class_names(classes: Sequence[str], longest: int = LONGEST) -> list[str]:
    """Return the names of classes as pictures show them; two that would look alike get numbers."""
    names = [short_text(name, longest) or "?" for name in classes]
    shown = []
    for number, name in enumerate(names):
        is_unique = names.count(name) == 1
        shown.append(name if is_unique else f"{number} {short_text(name, longest - 3)}")
    return shown
