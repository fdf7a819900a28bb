"""Values for every option of a command, with the other options that must come with them."""

from __future__ import annotations

import typing
from dataclasses import Field, fields
from typing import Any

from ddlabel.core.conditions import Condition
from ddlabel.core.options import Options

# Texts that are checked when a config is made.
TEXTS = {"budget": "1%"}
# A protocol of the commands that have an option of this name.
PROTOCOLS = {
    "inner": "label-worth-bptt",
    "save_every": "torchvision-imagenet",
    "labels": "gift",
}


def value_of(config: type[Options], declared: Field[Any]) -> Any:
    """A value of an option that is not its default, from its type, choices and bounds."""
    rules = declared.metadata
    kind = config.types()[declared.name]
    if rules["choices"]:
        return next(choice for choice in rules["choices"] if choice != declared.default)
    if kind is bool:
        return not declared.default
    if typing.get_origin(kind) is tuple:
        return ("first", "second")
    if rules["auto"] and declared.default != "auto":
        return "auto"
    kinds = typing.get_args(kind) or (kind,)
    if float in kinds:
        return _number(declared, 1.0)
    if int in kinds:
        return _number(declared, 1)
    if declared.name == "protocol":
        return next(value for name, value in PROTOCOLS.items() if name in config.types())
    return TEXTS.get(declared.name, f"other-{declared.name}")


def _number(declared: Field[Any], step: float) -> float:
    """A number within the bounds that is not the default."""
    low, high, above = (declared.metadata[name] for name in ("low", "high", "above"))
    lowest = low if low is not None else above
    if high is not None:
        middle = type(step)((lowest + high) / 2)
        return middle if middle != declared.default else middle / 2
    candidates = [type(step)(lowest or 0) + number * step for number in (1, 2)]
    return next(value for value in candidates if value != declared.default)


def with_companions(config: type[Options], declared: Field[Any], value: Any) -> dict[str, Any]:
    """The option with the options that its conditions ask for, by name."""
    given = {declared.name: value}
    conditions = declared.metadata["conditions"]
    needed = conditions.needs.get(str(value), ())
    wanted = [*conditions.only_with[:1], *needed[:1]]
    for condition in wanted:
        _meet(config, condition, given)
    return given


def _meet(config: type[Options], condition: Condition, given: dict[str, Any]) -> None:
    """Add an option, and what it needs itself, so that the condition is met."""
    if condition.name in given:
        return
    other = config.__dataclass_fields__[condition.name]
    value = condition.values[0] if condition.values else value_of(config, other)
    given[condition.name] = value
    if value == other.default:
        return
    for name, more in with_companions_of(config, other, value, given).items():
        given.setdefault(name, more)


def with_companions_of(
    config: type[Options], declared: Field[Any], value: Any, given: dict[str, Any]
) -> dict[str, Any]:
    """`with_companions`, without those that are given already."""
    conditions = declared.metadata["conditions"]
    is_met = any(condition.name in given for condition in conditions.only_with)
    if is_met and str(value) not in conditions.needs:
        return {}
    return with_companions(config, declared, value)


def as_words(config: type[Options], given: dict[str, Any]) -> list[str]:
    """The options as the command line takes them; arguments come first."""
    arguments, words = [], []
    for declared in fields(config):
        if declared.name not in given:
            continue
        value = given[declared.name]
        flag = config.flags()[declared.name]
        if declared.metadata["argument"]:
            arguments.append(str(value))
        elif isinstance(value, bool):
            words.append(flag if value else flag.replace("--", "--no-", 1))
        else:
            parts = value if isinstance(value, tuple) else (value,)
            words += [word for part in parts for word in (flag, str(part))]
    return arguments + words


def as_toml(command: str, given: dict[str, Any]) -> str:
    """The options as a table of a configuration file."""
    lines = [f"[{command}]"]
    for name, value in given.items():
        lines.append(f"{name.replace('_', '-')} = {_toml_value(value)}")
    return "\n".join(lines) + "\n"


def _toml_value(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return f"[{', '.join(map(_toml_value, value))}]"
    return f'"{value}"' if isinstance(value, str) else str(value)
