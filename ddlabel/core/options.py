"""What an option is, and how a config gets its values: from a protocol, a TOML file and what was given."""

import itertools
import tomllib
import types
import typing
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar, Self, TypeVar

from ddlabel.core import protocols
from ddlabel.core.errors import InvalidInputError, UsageError
from ddlabel.core.registry import nearest, split_specs

T = TypeVar("T")
# The tables that a configuration file may have.
COMMANDS = (
    "import",
    "select",
    "train-expert",
    "relabel",
    "densify",
    "learn",
    "refine",
    "edit",
    "compress",
    "describe",
    "evaluate",
    "sweep",
)


def option(
    default: T,
    help: str,  # noqa: A002 - the name that typer and argparse use
    *,
    low: float | None = None,
    high: float | None = None,
    above: float | None = None,
    choices: tuple[str, ...] = (),
    recorded: bool = True,
    argument: str | None = None,
    auto: bool = False,
) -> T:
    """A field of a config: `low` and `high` are the ends of its range, `above` is a lower end that is left out.

    Not `recorded` are options that change how the work is done and not what comes out. An `argument` is given by its
    place and not by a flag, and stands in the usage under that name. With `auto` it is a number or that word.
    """
    bounds = {"low": low, "high": high, "above": above}
    metadata = {
        "help": help,
        "choices": choices,
        "recorded": recorded,
        "argument": argument,
        "auto": auto,
        **bounds,
    }
    value: T = field(default=default, metadata=metadata)
    return value


@dataclass(frozen=True, kw_only=True)
class Options:
    """Base of all configs: checked when made, read from TOML, written to history.

    The fields in `AXES` can be given several values, of which every combination is one config.
    """

    AXES: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        for each in fields(self):
            _check(each.name, getattr(self, each.name), each.metadata)

    @classmethod
    def load(cls, command: str, path: Path | None, given: dict[str, Any]) -> list[Self]:
        """The configs of a TOML file's table [command], over its top level, with what was given on top.

        There is one for each combination of the values of the axes. What a protocol presets lies below all that.

        InvalidInputError if the file cannot be read, UsageError for an unknown key or a value of another type
        or out of range.
        """
        values = {} if path is None else _read_toml(path, command)
        hints = typing.get_type_hints(cls)
        known = [each.name for each in fields(cls)]
        for key, value in values.items():
            if key not in known:
                raise UsageError(
                    f"{path}: unknown option {key!r} for {command}: {nearest(key, known)}"
                )
            values[key] = _typed(value, hints[key], f"{path}: {key}", several=key in cls.AXES)
        values |= {key: value for key, value in given.items() if value not in (None, [], ())}
        for each in (each for each in fields(cls) if each.metadata["auto"] and each.name in values):
            values[each.name] = _number_or_auto(each.name, values[each.name])
        axes = [key for key in cls.AXES if key in values]
        several = itertools.product(*(_several(key, values[key]) for key in axes))
        return [
            cls._of(command, values | dict(zip(axes, choice, strict=True))) for choice in several
        ]

    @classmethod
    def _of(cls, command: str, values: dict[str, Any]) -> Self:
        """One config: defaults, under its protocol's presets for its network, under these values."""
        preset = protocols.preset(values.get("protocol"), values.get("net"), command)
        return cls(
            **{key: tuple(v) if isinstance(v, list) else v for key, v in (preset | values).items()}
        )

    def recorded(self) -> dict[str, Any]:
        """The options that decide the outcome, for history and result records."""
        return {
            each.name: getattr(self, each.name)
            for each in fields(self)
            if each.metadata["recorded"]
        }


def _number_or_auto(name: str, value: float | str) -> float | str:
    try:
        return value if value == "auto" else float(value)
    except ValueError:
        raise UsageError(f"--{name} is {value!r}: expected a number, or auto") from None


def _check(name: str, value: Any, rules: Any) -> None:
    """Check a value against the bounds of its field."""
    flag = f"--{name.replace('_', '-')}"
    if rules["choices"] and value is not None and value not in rules["choices"]:
        raise UsageError(f"{flag} is {value!r}: {nearest(str(value), rules['choices'])}")
    if value is None or isinstance(value, str | bool):
        return
    low, high, above = rules["low"], rules["high"], rules["above"]
    fits = (
        (low is None or value >= low)
        and (high is None or value <= high)
        and (above is None or value > above)
    )
    if not fits or value != value:  # NaN compares false with every bound
        ends = [("at least", low), ("above", above), ("at most", high)]
        expected = " and ".join(f"{word} {end:g}" for word, end in ends if end is not None)
        raise UsageError(f"{flag} is {value:g}: expected {expected or 'a number'}")


def _read_toml(path: Path, command: str) -> dict[str, Any]:
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InvalidInputError(f"{path}: cannot be read as TOML: {error}") from error
    for name in (key for key, value in content.items() if isinstance(value, dict)):
        if name not in COMMANDS:
            raise UsageError(
                f"{path}: there is no command for the table [{name}]: {nearest(name, COMMANDS)}"
            )
    plain = {key: value for key, value in content.items() if not isinstance(value, dict)}
    return {
        key.replace("-", "_"): value for key, value in (plain | content.get(command, {})).items()
    }


def _typed(value: Any, annotation: Any, what: str, *, several: bool) -> Any:
    """A value of a TOML file as the type that a field has; a list where it can have several."""
    if typing.get_origin(annotation) is tuple or (several and isinstance(value, list)):
        parts = value if isinstance(value, list) else [value]
        return [_typed(part, str, what, several=False) for part in parts]
    members = (
        typing.get_args(annotation) if isinstance(annotation, types.UnionType) else (annotation,)
    )
    if float in members and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, members) or (isinstance(value, bool) and bool not in members):
        raise UsageError(
            f"{what} is {value!r}: expected {getattr(annotation, '__name__', annotation)}"
        )
    return value


def _several(key: str, value: Any) -> list[str]:
    """The values of an axis: given repeatedly, or separated by commas."""
    values = [
        spec
        for text in ([value] if isinstance(value, str) else value)
        for spec in split_specs(text)
    ]
    if not values or len(set(values)) < len(values):
        given = value if isinstance(value, str) else ",".join(value)
        raise UsageError(
            f"--{key.replace('_', '-')} is {given!r}: expected one value or several different ones"
        )
    return values
