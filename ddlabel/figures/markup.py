"""HTML and SVG as text: elements whose texts and attributes are always escaped."""

import html

from ddlabel.core.text import printable


class Markup(str):
    """Text that is markup already, and is not escaped again."""

    __slots__ = ()


Child = str | None
Attribute = str | float | bool | None


def element(name: str, *children: Child, **attributes: Attribute) -> Markup:
    """Return an element with its children and attributes.

    A child that is no `Markup` is text of anybody: it is escaped, and characters that could steer a
    terminal or change the direction of a line are shown as codes. A child or an attribute that is
    None is left out, and an attribute that is True has no value. Names of attributes have a dash
    for each underscore but the last: `class_="row"`, `text_anchor="end"`.
    """
    words = [name]
    for key, value in attributes.items():
        if value is None or value is False:
            continue
        attribute = key.rstrip("_").replace("_", "-")
        words.append(attribute if value is True else f'{attribute}="{_escaped(_text(value))}"')
    opening = f"<{' '.join(words)}>"
    return Markup(f"{opening}{joined(*children)}</{name}>")


def joined(*children: Child) -> Markup:
    """Return children side by side: texts are escaped."""
    parts = [
        child if isinstance(child, Markup) else _escaped(child)
        for child in children
        if child is not None
    ]
    return Markup("".join(parts))


def _text(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.6g}"


def _escaped(text: str) -> str:
    return html.escape(printable(text), quote=True)
