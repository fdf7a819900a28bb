"""Registries of functions, and the spec strings that choose and configure one of them.

A spec string is `NAME:KEY=VALUE,KEY=VALUE`, for example `kl:temperature=20,scale=false`.
"""

import difflib
import inspect
import math
import types
import typing
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar, cast

from ddlabel.core.errors import UsageError
from ddlabel.core.memory import is_out_of_memory

F = TypeVar("F", bound=Callable[..., Any])


def nearest(word: str, known: Collection[str]) -> str:
    """Return a hint for a misspelt word: the nearest known word, or all known words."""
    close = difflib.get_close_matches(word, known, n=1)
    if close:
        return f"did you mean {close[0]!r}?"
    return f"expected one of {', '.join(known)}"


@contextmanager
def as_usage_error(prefix: str) -> Iterator[None]:
    """Raise a UsageError in place of the errors that functions raise for unusable values.

    These are ValueError, RuntimeError, OverflowError and ZeroDivisionError. The message is `prefix`
    and the first line of theirs. An error that says that memory is exhausted passes.

    Raises:
        UsageError: The block raised one of these errors.
    """
    try:
        yield
    except (RuntimeError, ValueError, OverflowError, ZeroDivisionError) as error:
        if is_out_of_memory(error):
            raise
        lines = str(error).splitlines() or [type(error).__name__]
        raise UsageError(f"{prefix}: {lines[0]}") from error


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A registered function as `ddlabel list` shows it."""

    name: str
    options: dict[str, Any]
    summary: str


class Registry(dict[str, F]):
    """Functions of one kind, by name. A function is registered where it is defined.

    The keyword-only arguments of a function that have a default are its options: a spec string may
    set them. Their annotations are the options' types.
    """

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    def add(self, function: F) -> F:
        """Register `function` under its own name, with dashes for underscores."""
        name = function.__name__.strip("_").replace("_", "-")
        return self.named(name)(function)

    def named(self, name: str) -> Callable[[F], F]:
        """Return a decorator that registers a function under `name`.

        Raises:
            ValueError: The name is registered already.
        """

        def register(function: F) -> F:
            if name in self:
                raise ValueError(f"{self.kind} {name!r} is registered twice")
            self[name] = function
            return function

        return register

    def get(self, name: str) -> F:  # type: ignore[override]  # dict.get has a default
        """Return the function called `name`.

        Raises:
            UsageError: There is no such function.
        """
        if name not in self:
            raise UsageError(f"unknown {self.kind} {name!r}: {nearest(name, self)}")
        return self[name]

    def resolve(self, spec: str) -> F:
        """Return the function that a spec string names, with the spec's options set.

        Raises:
            UsageError: The spec cannot be read, its name or an option is unknown, or a value has
                the wrong type.
        """
        name, texts = parse_spec(spec)
        function = self.get(name)
        known = _options(function)
        settings = {}
        for key, text in texts.items():
            option = key.replace("-", "_")
            if option not in known:
                hint = nearest(option, known) if known else "it has none"
                raise UsageError(f"{self.kind} {name!r} has no option {option!r}: {hint}")
            parameter = known[option]
            where = f"option {option!r} of {self.kind} {name!r}"
            settings[parameter.name] = _parse_value(text, parameter.annotation, where)
        return cast(F, partial(function, **settings))

    def entries(self) -> list[Entry]:
        """Return every function with its options, in the order of registration."""
        entries = []
        for name, function in self.items():
            defaults = {key: parameter.default for key, parameter in _options(function).items()}
            docstring = inspect.getdoc(function) or ""
            summary = docstring.split("\n")[0]
            entries.append(Entry(name=name, options=defaults, summary=summary))
        return entries


def with_options_of(shared: Callable[..., Any]) -> Callable[[F], F]:
    """Return a decorator for a function that passes its `**options` on to `shared`.

    In the signature of the decorated function, the keyword-only arguments of `shared` take the
    place of `**options`, so that a spec string can set them.
    """

    def decorate(function: F) -> F:
        signature = inspect.signature(function, eval_str=True)
        passed_on = inspect.signature(shared, eval_str=True)
        parameters = []
        for parameter in signature.parameters.values():
            if parameter.kind is not parameter.VAR_KEYWORD:
                parameters.append(parameter)
        for parameter in passed_on.parameters.values():
            is_option = parameter.kind is parameter.KEYWORD_ONLY
            if is_option and parameter.name not in signature.parameters:
                parameters.append(parameter)
        merged = signature.replace(parameters=parameters)
        function.__signature__ = merged  # type: ignore[attr-defined]
        return function

    return decorate


def parse_spec(spec: str) -> tuple[str, dict[str, str]]:
    """Return the name and the options, as text, of a spec `NAME:KEY=VALUE,KEY=VALUE`.

    Raises:
        UsageError: An option has no `=`, no key, or the same key as another one.
    """
    name, _, rest = spec.strip().partition(":")
    values: dict[str, str] = {}
    for item in rest.split(","):
        if not item:
            continue
        key, equals, value = item.partition("=")
        key = key.strip()
        if not equals or not key or key in values:
            raise UsageError(
                f"cannot read {item!r} in {spec!r}: expected each key once, "
                "as NAME:KEY=VALUE,KEY=VALUE"
            )
        values[key] = value.strip()
    return name, values


def split_specs(text: str) -> list[str]:
    """Return the specs of a list with commas, such as `sgd:lr=0.1,momentum=0.9,adam`.

    A comma before `KEY=VALUE` belongs to the spec before it.
    """
    specs: list[str] = []
    for piece in text.split(","):
        piece = piece.strip()
        if not piece:
            continue
        before_equals, equals, _ = piece.partition("=")
        is_option = bool(equals) and ":" not in before_equals
        if is_option and specs:
            specs[-1] += f",{piece}"
        else:
            specs.append(piece)
    return specs


def _options(function: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """Return the options of a function: keyword-only arguments that have a default.

    A keyword-only argument without a default is for callers in Python, not for specs. The argument
    `class_`, which Python cannot name otherwise, is the option `class`.
    """
    options = {}
    for name, parameter in inspect.signature(function, eval_str=True).parameters.items():
        if parameter.kind is parameter.KEYWORD_ONLY and parameter.default is not parameter.empty:
            options[name.rstrip("_")] = parameter
    return options


def _parse_value(text: str, annotation: Any, where: str) -> Any:
    """Read `text` as the type `annotation`; the parts of a tuple are written `0.5/0.8`.

    Raises:
        UsageError: The text is no such value. The message begins with `where`.
    """
    origin = typing.get_origin(annotation)
    members = typing.get_args(annotation)
    if origin is types.UnionType:  # always `X | None`
        return None if text.lower() == "none" else _parse_value(text, members[0], where)
    if origin is tuple:
        return tuple(_parse_value(part, members[0], where) for part in text.split("/"))
    if origin is typing.Literal:
        if text in members:
            return text
        raise UsageError(f"{where} is {text!r}: expected one of {', '.join(members)}")
    if annotation is bool:
        if text.lower() in ("true", "false"):
            return text.lower() == "true"
        raise UsageError(f"{where} is {text!r}: expected true or false")
    return _parse_plain(text, annotation, where)


def _parse_plain(text: str, kind: Callable[[str], Any], where: str) -> Any:
    """Read `text` as a number or a text."""
    try:
        value = kind(text)
    except ValueError:
        expected = "a whole number" if kind is int else "a number"
        raise UsageError(f"{where} is {text!r}: expected {expected}") from None
    if isinstance(value, float) and not math.isfinite(value):
        raise UsageError(f"{where} is {text!r}: expected a finite number")
    return value
