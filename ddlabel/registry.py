"""Registries of functions, and the spec strings that pick and configure one: `kl:temperature=20,scale=false`."""

from __future__ import annotations

import difflib
import inspect
import types
import typing
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar

from ddlabel.errors import UsageError

F = TypeVar("F", bound=Callable[..., Any])


def nearest(word: str, known: Iterable[str]) -> str:
    """A hint for a misspelt word: the nearest known one, or all of them."""
    known = list(known)
    close = difflib.get_close_matches(word, known, n=1)
    return f"did you mean {close[0]!r}?" if close else f"known are: {', '.join(known)}"


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One registered function as `ddlabel list` shows it."""

    name: str
    summary: str
    options: dict[str, Any]


class Registry(Generic[F]):
    """Functions of one kind by name; a function is registered where it is defined.

    The keyword-only arguments of a function are its options: they are what a spec string may set, with their
    annotations as types and their defaults as defaults.
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._functions: dict[str, F] = {}

    def add(self, function: F) -> F:
        """Register `function` under its own name, with dashes for underscores."""
        return self.named(function.__name__.strip("_").replace("_", "-"))(function)

    def named(self, name: str) -> Callable[[F], F]:
        """A decorator that registers a function under `name`."""

        def register(function: F) -> F:
            if name in self._functions:
                raise ValueError(f"{self.kind} {name!r} is registered twice")
            self._functions[name] = function
            return function

        return register

    def __iter__(self) -> Iterator[str]:
        return iter(self._functions)

    def __len__(self) -> int:
        return len(self._functions)

    def __contains__(self, name: str) -> bool:
        return name in self._functions

    def get(self, name: str) -> F:
        """The function called `name`.

        Raises:
            UsageError: if there is none, with the nearest name.
        """
        if name not in self._functions:
            raise UsageError(f"unknown {self.kind} {name!r}: {nearest(name, self)}")
        return self._functions[name]

    def resolve(self, spec: str) -> Callable[..., Any]:
        """The function that a spec string names, with the options of the spec set.

        Raises:
            UsageError: for an unknown name or option, or a value of another type.
        """
        name, values = parse_spec(spec)
        function = self.get(name)
        known = _options(function)
        settings = {}
        for key, text in values.items():
            key = key.replace("-", "_")
            if key not in known:
                hint = nearest(key, known) if known else "it has none"
                raise UsageError(f"{self.kind} {name!r} has no option {key!r}: {hint}")
            settings[key] = _convert(text, known[key].annotation, f"option {key!r} of {self.kind} {name!r}")
        return partial(function, **settings)

    def entries(self) -> list[Entry]:
        """Every function with its options, in the order of their registration."""
        return [
            Entry(
                name=name,
                summary=(inspect.getdoc(function) or "").split("\n")[0],
                options={key: parameter.default for key, parameter in _options(function).items()},
            )
            for name, function in self._functions.items()
        ]


def parse_spec(spec: str) -> tuple[str, dict[str, str]]:
    """Split `name:key=value,key=value` into the name and its settings, all text.

    Raises:
        UsageError: if a setting has no `=` or comes twice.
    """
    name, _, rest = spec.strip().partition(":")
    values: dict[str, str] = {}
    for item in filter(None, rest.split(",")):
        key, equals, value = item.partition("=")
        if not equals or not key.strip() or key.strip() in values:
            raise UsageError(f"cannot read {item!r} in {spec!r}: expected each key once, as NAME:KEY=VALUE,KEY=VALUE")
        values[key.strip()] = value.strip()
    return name, values


def _options(function: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """The keyword-only arguments that have a default: an argument without one is for callers, not for specs."""
    parameters = inspect.signature(function, eval_str=True).parameters
    return {
        key: parameter
        for key, parameter in parameters.items()
        if parameter.kind is parameter.KEYWORD_ONLY and parameter.default is not parameter.empty
    }


def _convert(text: str, annotation: Any, what: str) -> Any:
    """Read `text` as the type that `annotation` names; tuples are written `0.5/0.8`."""
    if isinstance(annotation, types.UnionType):
        if text.lower() == "none" and types.NoneType in typing.get_args(annotation):
            return None
        annotation = next(a for a in typing.get_args(annotation) if a is not types.NoneType)
    if typing.get_origin(annotation) is typing.Literal:
        if text in typing.get_args(annotation):
            return text
        raise UsageError(f"{what} is {text!r}: expected one of {', '.join(typing.get_args(annotation))}")
    if typing.get_origin(annotation) is tuple:
        return tuple(_convert(part, typing.get_args(annotation)[0], what) for part in text.split("/"))
    if annotation is bool:
        if text.lower() in ("true", "false"):
            return text.lower() == "true"
        raise UsageError(f"{what} is {text!r}: expected true or false")
    try:
        return annotation(text)
    except ValueError:
        raise UsageError(f"{what} is {text!r}: expected a value of type {annotation.__name__}") from None
