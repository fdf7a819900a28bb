"""Students of a results file as figures need them: settings, numbers of their bundle, accuracy."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ddlabel.core.errors import IncompatibleError, InvalidInputError
from ddlabel.core.text import epoch_text
from ddlabel.data.labels import Array
from ddlabel.figures.texts import short_text, wrapped

_LONGEST_NAME = 120
# Characters of a line of a name beside a chart or above a panel.
_NAME_WIDTH = 30
# Settings whose values say what they are; others are shown as NAME=VALUE.
_PLAIN = ("labels", "bundle", "loss", "net", "role")


@dataclass(frozen=True, kw_only=True)
class Student:
    """A student: where its labels come from, how it was trained, and what it reached.

    Attributes:
        accuracy: Its accuracy on the test images, from 0 to 1.
        bundle: The name of its bundle, or the beginning of the digest.
        settings: The options of its training by name, without the seed.
        numbers: What is known of its bundle: `ipc`, `gamma`, `epoch`, `temperature` of the labels,
            and `bytes` that the student learns from.
        result: The figures of its record, such as `curve`.
    """

    accuracy: float
    bundle: str
    settings: Mapping[str, str]
    numbers: Mapping[str, float] = field(default_factory=dict)
    result: Mapping[str, Any] = field(default_factory=dict)

    def value(self, name: str) -> str | float | None:
        """Return a setting, a number, or the name of the bundle."""
        if name == "bundle":
            return self.bundle
        return self.settings.get(name, self.numbers.get(name))


@dataclass(frozen=True, kw_only=True)
class Series:
    """Students that differ in the seed, or in what an axis shows, alone."""

    name: str
    students: Sequence[Student]

    def percent(self) -> list[float]:
        """Return the accuracies in per cent."""
        return [100 * student.accuracy for student in self.students]


def series_of(students: Sequence[Student], *, axes: Collection[str] = ()) -> list[Series]:
    """Group students by everything that differs but the seed and the numbers that axes show.

    The names have only what is needed to tell the groups apart. With axes, the students of a group
    may be of several bundles, and a setting that follows from the axes makes no group: the default
    batch size follows from the number of images.
    """
    used: list[str] = []
    num_groups = 1
    for name in _candidates(students, axes):
        finer = len({_key(student, [*used, name]) for student in students})
        if finer > num_groups:
            used.append(name)
            num_groups = finer
    used = _needed(students, used)
    groups: dict[tuple[Any, ...], list[Student]] = {}
    for student in students:
        groups.setdefault(_key(student, used), []).append(student)
    names = [_name(of[0], used) for of in groups.values()]
    if len(set(names)) < len(names):
        names = [_name(of[0], used, in_full=True) for of in groups.values()]
    return [Series(name=name, students=of) for name, of in zip(names, groups.values(), strict=True)]


def _needed(students: Sequence[Student], names: Sequence[str]) -> list[str]:
    """Return the names without those that the others make superfluous, the last ones first."""
    needed = [*names]
    num_groups = len({_key(student, needed) for student in students})
    for name in reversed(names):
        fewer = [each for each in needed if each != name]
        if len({_key(student, fewer) for student in students}) == num_groups:
            needed = fewer
    return needed


def _candidates(students: Sequence[Student], axes: Collection[str]) -> list[str]:
    """Return what can tell groups apart: first what a reader looks for, at last the bundle."""
    settings = [*dict.fromkeys(name for student in students for name in student.settings)]
    plain = [name for name in settings if name in _PLAIN]
    others = [name for name in settings if name not in _PLAIN]
    numbers = [name for name in ("ipc", "gamma", "epoch", "temperature") if name not in axes]
    if not axes:
        return [*plain, *numbers, *others, "bundle"]
    num_places = len({_key(student, [*axes, *plain]) for student in students})
    free = []
    for name in (*numbers, *others):
        if len({_key(student, [*axes, *plain, name]) for student in students}) > num_places:
            free.append(name)
    return [*plain, *free]


def _key(student: Student, names: Sequence[str]) -> tuple[Any, ...]:
    return tuple(student.value(name) for name in names)


def _name(student: Student, used: Sequence[str], *, in_full: bool = False) -> str:
    """Return the name of a group: `soft, gift`; `all students` if there is one group.

    Epochs are rounded unless they are wanted in full.
    """
    parts = []
    for name in used:
        value = student.value(name)
        if value is None:
            continue
        text = f"{value:g}" if isinstance(value, float) else str(value)
        if name == "epoch" and isinstance(value, float) and not in_full:
            text = epoch_text(value)
        parts.append(text if name in _PLAIN else f"{name}={text}")
    return short_text(", ".join(parts) or "all students", _LONGEST_NAME)


def label_of(name: str) -> str:
    """Return the name of a group in lines that a figure has place for."""
    return wrapped(name, _NAME_WIDTH)


def by_numbers(series: Series, names: Sequence[str]) -> dict[tuple[float, ...], list[Student]]:
    """Return the students of a group by numbers of their bundles, in order.

    Raises:
        IncompatibleError: Two bundles have the same numbers: their students are not comparable.
    """
    places: dict[tuple[float, ...], list[Student]] = {}
    for student in series.students:
        place = tuple(student.numbers[name] for name in names)
        places.setdefault(place, []).append(student)
    for place, students in places.items():
        bundles = sorted({student.bundle for student in students})
        if len(bundles) > 1:
            numbers = ", ".join(f"{n} {v:g}" for n, v in zip(names, place, strict=True))
            raise IncompatibleError(
                f"{bundles[0]} and {bundles[1]} both have {numbers}: draw records of one of them"
            )
    return dict(sorted(places.items()))


def with_numbers(students: Sequence[Student], names: Sequence[str], figure: str) -> list[Student]:
    """Return the students whose bundles have all these numbers.

    Raises:
        IncompatibleError: None has.
    """
    found = [each for each in students if all(name in each.numbers for name in names)]
    if not found:
        raise IncompatibleError(
            f"{figure}: no record has {' and '.join(names)} of its bundle: name the bundles with "
            "--bundle, or use the records of a sweep over them"
        )
    return found


def with_result(students: Sequence[Student], name: str, figure: str) -> list[Student]:
    """Return the students whose records have a figure that only an option of `evaluate` records.

    Raises:
        IncompatibleError: None has.
    """
    found = [student for student in students if student.result.get(name) is not None]
    if not found:
        raise IncompatibleError(
            f"{figure}: no record has a {name}: run evaluate again with --{name}, which trains the "
            "students once more"
        )
    return found


def numbers_of(student: Student, values: Any, name: str, *, axes: int) -> Array:
    """Return a figure of a record as numbers with so many axes; nan where it has none.

    Raises:
        InvalidInputError: It has another form, in a record that something else wrote.
    """
    try:
        array = np.array(values, dtype=np.float64)
    except (TypeError, ValueError):
        array = np.zeros(0)
    if array.ndim != axes or not array.size:
        raise InvalidInputError(
            f"the {name} in a record of {student.bundle} has another form than evaluate gives it"
        )
    return array


def left_out_notes(groups: Collection[Any], most: int) -> list[str]:
    """Return the note that a figure shows the first groups only; none if it shows all."""
    if len(groups) <= most:
        return []
    num_more = len(groups) - most
    return [f"the first {most} groups are drawn; {num_more} more are in the table alone"]


def check_few(groups: Collection[Any], most: int, figure: str) -> None:
    """Refuse more groups than a figure can show.

    Raises:
        IncompatibleError: There are more.
    """
    if len(groups) > most:
        raise IncompatibleError(
            f"{figure}: {len(groups)} groups of students, at most {most} can be drawn: give a "
            "results file with fewer settings"
        )
