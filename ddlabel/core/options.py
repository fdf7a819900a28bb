"""Configs: how the options of a command get their values, and how these are checked together."""

import itertools
import typing
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, ClassVar, Self

from ddlabel.core import protocols
from ddlabel.core.conditions import Conditions, Situation, parse_conditions
from ddlabel.core.config_file import read_options
from ddlabel.core.errors import UsageError
from ddlabel.core.option import OPTIONS, check_value, flag_of, number_or_auto
from ddlabel.core.registry import nearest, split_specs
from ddlabel.core.values import from_python


@dataclass(frozen=True, kw_only=True)
class Options:
    """Base of all configs.

    Every value is checked against its option's bounds and choices when a config is created. Which
    options go together is checked by `load` and `check_together`.

    The fields in `AXES` can be given several values; each combination of them is one config.
    """

    AXES: ClassVar[tuple[str, ...]] = ()
    # The panel of the help for the options that a class declares itself.
    PANEL: ClassVar[str] = OPTIONS
    # The options of a config that `load` took from the user or a file, by name; None for others.
    _from_user: ClassVar[Mapping[str, Any] | None] = None

    def __post_init__(self) -> None:
        for declared in fields(self):
            check_value(declared, getattr(self, declared.name))

    @classmethod
    def load(
        cls,
        command: str,
        path: Path | None,
        given: dict[str, Any],
        *,
        objects: Collection[str] = (),
    ) -> list[Self]:
        """Return one config for each combination of the values of the axes.

        A value is taken from `given`, else from the TOML file's table [command], else from its top
        level, else from the protocol, else it is the default. In `given`, None and empty lists
        stand for options that are not given.

        Args:
            command: The command, which names the table of the file and the one of the protocol.
            path: The TOML file, or None.
            given: The options that the user gave, by name.
            objects: Names of options whose values are passed beside the config as objects.

        Raises:
            InvalidInputError: The file cannot be read.
            UsageError: An option is unknown, has a wrong type or value, or does not go with others.
        """
        values: dict[str, Any] = {}
        if path is not None:
            values = read_options(path, command, cls.types(), cls.AXES)
        for name, value in given.items():
            if value not in (None, [], ()):
                values[name] = value
        for declared in fields(cls):
            if declared.metadata["auto"] and declared.name in values:
                values[declared.name] = number_or_auto(declared, values[declared.name])
        configs = []
        for combination in cls._combinations(values):
            preset = protocols.preset(combination.get("protocol"), command)
            config = cls._of_user(combination, preset)
            config.check_together(objects=objects, preset=preset)
            configs.append(config)
        return configs

    def from_user(self) -> Mapping[str, Any]:
        """Return the options that the user has set, by name.

        Of a config that was made in Python these are all that differ from their defaults.
        """
        if self._from_user is not None:
            return self._from_user
        values = {declared.name: getattr(self, declared.name) for declared in fields(self)}
        return {
            declared.name: values[declared.name]
            for declared in fields(self)
            if values[declared.name] != declared.default
        }

    def with_preset(self, preset: Mapping[str, Any], *, objects: Collection[str] = ()) -> Self:
        """Return the config with the options of a protocol for all that the user has not set.

        Raises:
            UsageError: An option has no effect, or cannot be combined with another one.
        """
        config = self._of_user(self.from_user(), preset)
        config.check_together(objects=objects, preset=preset)
        return config

    @classmethod
    def _of_user(cls, values: Mapping[str, Any], preset: Mapping[str, Any]) -> Self:
        config = cls(**_lists_as_tuples({**preset, **values}))
        object.__setattr__(config, "_from_user", dict(values))
        return config

    @classmethod
    def from_python(cls, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return Python values as the types of their options.

        A path becomes a text, and so does a number where a text is expected (`epoch=12`). An
        option that names a file (not `recorded`) may be an object in place of a path.

        Raises:
            UsageError: An option is unknown, or its value has another type.
        """
        hints = cls.types()
        values = {}
        for name, value in given.items():
            if name not in hints:
                raise UsageError(f"unknown option {name!r}: {nearest(name, hints)}")
            if value is not None:
                is_file = not cls.__dataclass_fields__[name].metadata["recorded"]
                values[name] = from_python(
                    name, value, hints[name], is_list=name in cls.AXES, may_be_object=is_file
                )
        return values

    @classmethod
    def types(cls) -> dict[str, Any]:
        """Return the type of every option, by name."""
        hints = typing.get_type_hints(cls)
        return {declared.name: hints[declared.name] for declared in fields(cls)}

    @classmethod
    def flags(cls) -> dict[str, str]:
        """Return every option as the user writes it, by name."""
        return {declared.name: flag_of(declared) for declared in fields(cls)}

    @classmethod
    def panels(cls) -> dict[str, str]:
        """Return the panel of the help in which every option stands, by name."""
        panels = {}
        for declared in fields(cls):
            declaring = next(base for base in cls.__mro__ if declared.name in vars(base))
            own_panel: str = vars(declaring).get("PANEL", OPTIONS)
            panels[declared.name] = declared.metadata["panel"] or own_panel
        return panels

    def check_together(
        self,
        *,
        objects: Collection[str] = (),
        preset: Mapping[str, Any] | None = None,
        about: str | None = None,
    ) -> None:
        """Check the conditions that the options declare (`only_with`, `not_with`, `needs`).

        Only an option that is given is checked: one whose value differs from the default. Call
        this again with `about` when a value that was `auto` has been settled.

        Args:
            objects: Names of options whose values are passed beside the config as objects. They
                count as given.
            preset: Options of a protocol. A value that is the protocol's does not count as given:
                the command drops it where it has no effect.
            about: Check only the conditions of this option and those that other options have on it.

        Raises:
            UsageError: An option has no effect, or cannot be combined with another one.
        """
        situation = Situation(
            values={declared.name: getattr(self, declared.name) for declared in fields(self)},
            given=frozenset(self._given(preset or {})) | frozenset(objects),
            flags=self.flags(),
        )
        for declared in fields(self):
            conditions: Conditions = declared.metadata["conditions"]
            is_asked = about in (None, declared.name) or conditions.mention(str(about))
            if is_asked and declared.name in situation.given:
                conditions.check(declared.name, situation)

    def recorded(self) -> dict[str, Any]:
        """Return the options that histories and result records have, by name."""
        return self._values_where("recorded")

    def key_options(self) -> dict[str, Any]:
        """Return the recorded options that decide the outcome, by name.

        The others (`part_of_key=False`) only add figures to a result record.
        """
        in_key = self._values_where("part_of_key")
        return {name: value for name, value in self.recorded().items() if name in in_key}

    @classmethod
    def only_with(cls, condition: str) -> dict[str, Any]:
        """Return the options that are only used with `condition`, by name with their defaults."""
        wanted = parse_conditions(only_with=condition).only_with
        return {
            declared.name: declared.default
            for declared in fields(cls)
            if declared.metadata["conditions"].only_with == wanted
        }

    @classmethod
    def figure_options(cls) -> list[str]:
        """Return the names of the options that only add figures to a result record."""
        return [declared.name for declared in fields(cls) if not declared.metadata["part_of_key"]]

    def _values_where(self, property_name: str) -> dict[str, Any]:
        return {
            declared.name: getattr(self, declared.name)
            for declared in fields(self)
            if declared.metadata[property_name]
        }

    def _given(self, preset: Mapping[str, Any]) -> Iterator[str]:
        """Yield the options whose value is neither the default nor the protocol's."""
        for declared in fields(self):
            value = getattr(self, declared.name)
            is_preset = declared.name in preset and preset[declared.name] == value
            if value != declared.default and not is_preset:
                yield declared.name

    @classmethod
    def _combinations(cls, values: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Yield the values with one value for every axis, the last axis changing fastest."""
        axes = [name for name in cls.AXES if name in values]
        choices = [_values_of_axis(name, values[name]) for name in axes]
        for combination in itertools.product(*choices):
            yield values | dict(zip(axes, combination, strict=True))


def _lists_as_tuples(values: dict[str, Any]) -> dict[str, Any]:
    return {
        name: tuple(value) if isinstance(value, list) else value for name, value in values.items()
    }


def _values_of_axis(name: str, value: str | Sequence[str]) -> list[str]:
    """Return the values of an axis, which is given repeatedly or with commas between its values."""
    texts = [value] if isinstance(value, str) else value
    values = [spec for text in texts for spec in split_specs(text)]
    if not values or len(set(values)) < len(values):
        flag = f"--{name.replace('_', '-')}"
        raise UsageError(
            f"{flag} is {','.join(texts)!r}: expected one value or several different ones"
        )
    return values
