"""Which options go together: the conditions that an option declares, and how they are checked."""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from ddlabel.core.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Situation:
    """The options of one call.

    Attributes:
        values: The value of every option, by name.
        given: The names of the options that the user has set to something else than the default.
        flags: The names of the options as the user writes them, such as `--real-epochs`.
    """

    values: Mapping[str, Any]
    given: frozenset[str]
    flags: Mapping[str, str]

    def setting(self, name: str) -> str:
        """Return an option and its value as the user writes them, such as `--select val`.

        Values that have no text on the command line, such as objects in Python, are left out.
        """
        value = self.values[name]
        parts = value if isinstance(value, tuple) else (value,)
        texts = [str(part) for part in parts if isinstance(part, str | int | float)]
        has_text = not isinstance(value, bool) and len(texts) == len(parts)
        return " ".join([self.flags[name], *(texts if has_text else [])])


@dataclass(frozen=True)
class Condition:
    """A condition on another option: that it is given, or that it has one of some values.

    It is written `real` (the option is given) or `select=val|best-on-test` (it has a value). The
    value `auto` is chosen from the data later. Unless the condition names `auto` itself, it is
    undecided until then.
    """

    name: str
    values: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a condition such as `real` or `select=val|best-on-test`."""
        name, equals, values = text.partition("=")
        return cls(name, tuple(values.split("|")) if equals else ())

    def is_met(self, situation: Situation) -> bool:
        """Return whether the condition is met; False while it is undecided."""
        if not self.values:
            return self.name in situation.given
        return str(situation.values[self.name]) in self.values

    def is_undecided(self, situation: Situation) -> bool:
        """Return whether the condition depends on a value that is still `auto`."""
        value = situation.values[self.name]
        return bool(self.values) and value == "auto" and "auto" not in self.values

    def text(self, flags: Mapping[str, str]) -> str:
        """Return the condition as the user writes the option: `--select val or best-on-test`."""
        return f"{flags[self.name]} {' or '.join(self.values)}".rstrip()


@dataclass(frozen=True, kw_only=True)
class Conditions:
    """The conditions that one option declares.

    Attributes:
        only_with: The option has an effect only if at least one of these is met.
        not_with: The option cannot be combined with any of these.
        needs: By value of the option, the conditions of which one must be met for this value.
    """

    only_with: tuple[Condition, ...] = ()
    not_with: tuple[Condition, ...] = ()
    needs: Mapping[str, tuple[Condition, ...]] = field(default_factory=dict)

    def mention(self, name: str) -> bool:
        """Return whether one of the conditions is about the option `name`."""
        needed = itertools.chain.from_iterable(self.needs.values())
        every = (*self.only_with, *self.not_with, *needed)
        return any(condition.name == name for condition in every)

    def help(self, flags: Mapping[str, str]) -> str:
        """Return the end of the option's help text, such as ` (only with --select val)`."""
        parts = []
        if self.only_with:
            parts.append(f"only with {_any_of(self.only_with, flags)}")
        if self.not_with:
            parts.append(f"not with {_any_of(self.not_with, flags)}")
        for value, needed in self.needs.items():
            parts.append(f"{value} only with {_any_of(needed, flags)}")
        return f" ({'; '.join(parts)})" if parts else ""

    def check(self, name: str, situation: Situation) -> None:
        """Check the conditions of the option `name`, which is given.

        Raises:
            UsageError: A condition is not met.
        """
        self._check_only_with(name, situation)
        self._check_not_with(name, situation)
        self._check_needs(name, situation)

    def _check_only_with(self, name: str, situation: Situation) -> None:
        if not self.only_with:
            return
        if any(_may_be_met(condition, situation) for condition in self.only_with):
            return
        flag = situation.flags[name]
        expected = _any_of(self.only_with, situation.flags)
        settings = [situation.setting(each.name) for each in self.only_with if each.values]
        got = f" (got {', '.join(settings)})" if settings else ""
        if not flag.startswith("-"):
            raise UsageError(f"{flag} needs {expected}: add that")
        raise UsageError(f"{flag} is only used with {expected}{got}: add that, or leave {flag} out")

    def _check_not_with(self, name: str, situation: Situation) -> None:
        for condition in self.not_with:
            if condition.is_met(situation):
                setting = situation.setting(name)
                other = situation.setting(condition.name)
                raise UsageError(
                    f"{setting} cannot be combined with {other}: leave one of them out"
                )

    def _check_needs(self, name: str, situation: Situation) -> None:
        needed = self.needs.get(str(situation.values[name]), ())
        if needed and not any(_may_be_met(condition, situation) for condition in needed):
            setting = situation.setting(name)
            expected = _any_of(needed, situation.flags)
            flag = situation.flags[name]
            raise UsageError(f"{setting} needs {expected}: add that, or choose another {flag}")


def parse_conditions(
    only_with: str | Sequence[str] = (),
    not_with: str | Sequence[str] = (),
    needs: Mapping[str, str | Sequence[str]] | None = None,
) -> Conditions:
    """Read the conditions that the arguments of `option` declare."""
    return Conditions(
        only_with=_parse_all(only_with),
        not_with=_parse_all(not_with),
        needs={value: _parse_all(texts) for value, texts in (needs or {}).items()},
    )


def _parse_all(texts: str | Sequence[str]) -> tuple[Condition, ...]:
    if isinstance(texts, str):
        texts = (texts,)
    return tuple(Condition.parse(text) for text in texts)


def _may_be_met(condition: Condition, situation: Situation) -> bool:
    return condition.is_met(situation) or condition.is_undecided(situation)


def _any_of(conditions: Iterable[Condition], flags: Mapping[str, str]) -> str:
    return " or ".join(condition.text(flags) for condition in conditions)
