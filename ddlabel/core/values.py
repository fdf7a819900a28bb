"""Values of TOML files and of Python calls: their types as options, and as messages show them."""

import os
import types
import typing
from typing import Any

from ddlabel.core.errors import UsageError

_EXPECTED = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}


def as_option_type(value: Any, annotation: Any, where: str, *, is_list: bool) -> Any:
    """Return a value as the type of its option; a list where the option takes several values.

    Args:
        value: The value.
        annotation: The type of the option.
        where: The beginning of the error's message.
        is_list: Whether a list of values is accepted.

    Raises:
        UsageError: The value has another type.
    """
    is_tuple = typing.get_origin(annotation) is tuple
    if is_tuple or (is_list and isinstance(value, list)):
        parts = value if isinstance(value, list) else [value]
        return [as_option_type(part, str, where, is_list=False) for part in parts]
    accepted = (annotation,)
    if isinstance(annotation, types.UnionType):
        accepted = typing.get_args(annotation)
    # In Python a bool is an int, but `epochs = true` is a mistake.
    is_bool_by_mistake = isinstance(value, bool) and bool not in accepted
    if isinstance(value, int) and float in accepted and not is_bool_by_mistake:
        return float(value)
    if is_bool_by_mistake or not isinstance(value, accepted):
        expected = " or ".join(_EXPECTED[kind] for kind in accepted if kind in _EXPECTED)
        raise UsageError(f"{where} is {shown(value)}: expected {expected}")
    return value


def shown(value: Any) -> str:
    """Return a value of a TOML file or a Python call as messages show it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{', '.join(shown(part) for part in value)}]"
    if isinstance(value, dict):
        return "a table"
    is_plain = isinstance(value, str | int | float)
    return repr(value) if is_plain else f"of type {type(value).__name__}"


def from_text(text: str, annotation: Any, flag: str) -> str | int | float:
    """Return the text of an option as a number where its type has no texts.

    Raises:
        UsageError: It is not a number.
    """
    accepted = typing.get_args(annotation) or (annotation,)
    if str in accepted or typing.get_origin(annotation) is tuple:
        return text
    kind = int if int in accepted else float
    try:
        return kind(text)
    except ValueError:
        raise UsageError(f"{flag} is {text!r}: expected {_EXPECTED[kind]}") from None


def from_python(
    name: str, value: Any, annotation: Any, *, is_list: bool, may_be_object: bool
) -> Any:
    """Return the value of a Python call as the type of the option `name`.

    A path becomes a text, and so does a number where a text is expected (`epoch=12`). A tuple for
    an option of one text becomes the text with commas (`mean=(0.49, 0.48, 0.45)`).

    Args:
        name: The name of the option.
        value: The value.
        annotation: The type of the option.
        is_list: Whether a list of values is accepted.
        may_be_object: Whether an option of type text may be an object, such as a bundle in place of
            its path. Objects are returned as they are; a single one of an option that takes several
            values is returned as a list.

    Raises:
        UsageError: The value has another type.
    """
    takes_text = str in (annotation, *typing.get_args(annotation))
    has_several = isinstance(value, list | tuple)
    parts = list(value) if has_several else [value]
    if takes_text:
        parts = [_as_text(part) for part in parts]
    converted = parts if has_several else parts[0]
    has_object = any(not isinstance(part, str | bool | int | float) for part in parts)
    is_text_alone = takes_text and not is_list and typing.get_origin(annotation) is not tuple
    if isinstance(value, tuple) and is_text_alone and not has_object:
        # Several numbers in one text, such as the means of the channels.
        return ",".join(str(part) for part in parts)
    if has_object and takes_text and may_be_object:
        takes_several = typing.get_origin(annotation) is tuple
        return parts if takes_several else converted
    return as_option_type(converted, annotation, name, is_list=is_list)


def _as_text(value: Any) -> Any:
    """Return paths and numbers as text, and other values as they are."""
    if isinstance(value, bool) or not isinstance(value, os.PathLike | int | float):
        return value
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value)
