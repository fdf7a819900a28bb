"""Registries of functions, and the spec strings that pick and configure one: `kl:temperature=20,scale=false`."""

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

F = TypeVar("F", bound=Callable[..., Any])


def nearest(word: str, known: Collection[str]) -> str:
    """A hint for a misspelt word: the nearest known one, or all of them."""
    close = difflib.get_close_matches(word, known, n=1)
    return f"did you mean {close[0]!r}?" if close else f"known are: {', '.join(known)}"


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One registered function as `ddlabel list` shows it."""

    name: str
    options: dict[str, Any]
    summary: str


@contextmanager
def trying(what: str) -> Iterator[None]:
    """Whatever a function says of values that it cannot have is a UsageError, in which `what` comes first."""
    try:
        yield
    except (RuntimeError, ValueError, ZeroDivisionError) as error:
        raise UsageError(f"{what}: {str(error).splitlines()[0]}") from error


class Registry(dict[str, F]):
    """Functions of one kind by name; a function is registered where it is defined.

    The keyword-only arguments of a function are its options: they are what a spec string may set, with their
    annotations as types and their defaults as defaults.
    """

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    def add(self, function: F) -> F:
        """Register `function` under its own name, with dashes for underscores."""
        return self.named(function.__name__.strip("_").replace("_", "-"))(function)

    def named(self, name: str) -> Callable[[F], F]:
        """A decorator that registers a function under `name`."""

        def register(function: F) -> F:
            if name in self:
                raise ValueError(f"{self.kind} {name!r} is registered twice")
            self[name] = function
            return function

        return register

    def get(self, name: str) -> F:  # type: ignore[override]  # a dict's has a default
        """The function called `name`; where there is none, a UsageError with the nearest name."""
        if name not in self:
            raise UsageError(f"unknown {self.kind} {name!r}: {nearest(name, self)}")
        return self[name]

    def resolve(self, spec: str) -> F:
        """The function of a spec with its options set; UsageError for an unknown name or option, or another type."""
        name, values = parse_spec(spec)
        function = self.get(name)
        known = _options(function)
        settings = {}
        for key, text in values.items():
            key = key.replace("-", "_")
            if key not in known:
                hint = nearest(key, known) if known else "it has none"
                raise UsageError(f"{self.kind} {name!r} has no option {key!r}: {hint}")
            settings[known[key].name] = _convert(
                text, known[key].annotation, f"option {key!r} of {self.kind} {name!r}"
            )
        return cast(F, partial(function, **settings))

    def entries(self) -> list[Entry]:
        """Every function with its options, in the order of their registration."""
        found = []
        for name, function in self.items():
            defaults = {key: parameter.default for key, parameter in _options(function).items()}
            found.append(
                Entry(
                    name=name,
                    options=defaults,
                    summary=(inspect.getdoc(function) or "").split("\n")[0],
                )
            )
        return found


def with_options_of(shared: Callable[..., Any]) -> Callable[[F], F]:
    """A decorator of a function that hands on its `**options` to `shared`: those of `shared` become its own."""

    def show(function: F) -> F:
        own, given = (inspect.signature(each, eval_str=True) for each in (function, shared))
        kept = [p for p in own.parameters.values() if p.kind is not p.VAR_KEYWORD]
        kept += [
            p
            for p in given.parameters.values()
            if p.kind is p.KEYWORD_ONLY and p.name not in own.parameters
        ]
        function.__signature__ = own.replace(parameters=kept)  # type: ignore[attr-defined]
        return function

    return show


def parse_spec(spec: str) -> tuple[str, dict[str, str]]:
    """The name and the settings of `name:key=value,key=value`, all text; UsageError for one without `=`, or twice."""
    name, _, rest = spec.strip().partition(":")
    values: dict[str, str] = {}
    for item in filter(None, rest.split(",")):
        key, equals, value = item.partition("=")
        if not equals or not key.strip() or key.strip() in values:
            raise UsageError(
                f"cannot read {item!r} in {spec!r}: expected each key once, as NAME:KEY=VALUE,KEY=VALUE"
            )
        values[key.strip()] = value.strip()
    return name, values


def split_specs(text: str) -> list[str]:
    """The specs in `sgd:lr=0.1,momentum=0.9,adam`: a comma before `key=value` belongs to the spec before it."""
    specs: list[str] = []
    for piece in filter(None, (each.strip() for each in text.split(","))):
        if specs and "=" in piece and ":" not in piece.partition("=")[0]:
            specs[-1] += f",{piece}"
        else:
            specs.append(piece)
    return specs


def _options(function: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """The keyword-only arguments that have a default: an argument without one is for callers, not for specs.

    `class_`, which Python cannot name otherwise, is `class` in a spec.
    """
    known = inspect.signature(function, eval_str=True).parameters
    return {
        key.rstrip("_"): p
        for key, p in known.items()
        if p.kind is p.KEYWORD_ONLY and p.default is not p.empty
    }


def _convert(text: str, annotation: Any, what: str) -> Any:
    """Read `text` as the type that `annotation` names; tuples are written `0.5/0.8`."""
    kind, members = typing.get_origin(annotation), typing.get_args(annotation)
    if kind is types.UnionType:  # `int | None`, the only kind there is
        return None if text.lower() == "none" else _convert(text, members[0], what)
    if kind is tuple:
        return tuple(_convert(part, members[0], what) for part in text.split("/"))
    if kind is typing.Literal:
        if text in members:
            return text
        raise UsageError(f"{what} is {text!r}: expected one of {', '.join(members)}")
    if annotation is bool:
        if text.lower() in ("true", "false"):
            return text.lower() == "true"
        raise UsageError(f"{what} is {text!r}: expected true or false")
    try:
        value = annotation(text)
    except ValueError:
        raise UsageError(
            f"{what} is {text!r}: expected a value of type {annotation.__name__}"
        ) from None
    if isinstance(value, float) and not math.isfinite(value):
        raise UsageError(f"{what} is {text!r}: expected a finite number")
    return value
