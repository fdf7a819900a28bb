"""Rows of a comparison: students of one kind, and the pairs of rows that are compared."""

import contextlib
import itertools
import statistics
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from ddlabel.commands.compare.observations import FIGURES, Observation, known_values
from ddlabel.core.errors import UsageError
from ddlabel.core.registry import nearest
from ddlabel.methods.intervals import Comparison, Summary, compare, summarise_percent

# The number of images per class follows from the bundle.
_NEVER_BY_DEFAULT = ("ipc",)
# The value of what has no effect on the students of a row.
NO_EFFECT = "–"
_PERCENT = 100


@dataclass(frozen=True, kw_only=True)
class Row:
    """The students of one place.

    Attributes:
        place: What they have in common, by name, of all that makes a row.
        figures: The figures of each seed in per cent, by name and seed. Students of one seed,
            which differ in something that makes no row, are averaged.
        averaged: The names of what those differ in.
        num_dropped: The number of students that are left out, because not all kinds of students
            that are averaged have their seed.
        num_diverged: The number of students that ended with a loss that is not finite.
        observations: The students that are not left out.
    """

    place: dict[str, str]
    figures: dict[str, dict[int, float]]
    averaged: Sequence[str] = ()
    num_dropped: int = 0
    num_diverged: int = 0
    observations: Sequence[Observation] = ()

    @property
    def accuracies(self) -> dict[int, float]:
        """The accuracy by seed, in per cent."""
        return self.figures["accuracy"]

    @property
    def accuracy(self) -> Summary:
        """Mean, deviation and 95 % interval of the accuracy over seeds, in per cent."""
        return self.summary("accuracy")

    def summary(self, figure: str) -> Summary:
        """Summarise a figure over seeds, in per cent."""
        return summarise_percent([*self.figures[figure].values()])

    @property
    def name(self) -> str:
        """The place as text: `bundle=soft loss=gift`. What has no effect is left out."""
        return " ".join(
            f"{flag_name(name)}={value}" for name, value in self.place.items() if value != NO_EFFECT
        )


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two rows, compared seed by seed: the differences are those of `first` minus `second`.

    The comparison is None if no seed is in both rows.
    """

    first: Row
    second: Row
    comparison: Comparison | None

    @property
    def num_unpaired(self) -> int:
        """The number of seeds that only one of the rows has."""
        return len(self.first.accuracies.keys() ^ self.second.accuracies.keys())


def varying(observations: Sequence[Observation]) -> list[str]:
    """Return the names of what differs between students, in order.

    An option that has no effect on some students does not differ from its value for others.
    """
    found: dict[str, set[str]] = {}
    for observation in observations:
        for name, value in observation.values.items():
            found.setdefault(name, set()).add(value)
    return [name for name in _in_order(found) if len(found[name]) > 1]


def common(observations: Sequence[Observation]) -> dict[str, str]:
    """Return what all students have in common, by name, in order."""
    first, *others = observations
    return {
        name: first.values[name]
        for name in _in_order(first.values)
        if all(other.values.get(name) == first.values[name] for other in others)
    }


def _in_order(names: Collection[str]) -> list[str]:
    """Return names in the order of tables: those that this version knows, then others sorted."""
    known = known_values()
    return [name for name in known if name in names] + sorted(set(names) - set(known))


def default_names(observations: Sequence[Observation]) -> list[str]:
    """Return what makes a row if the user does not say: all that differs, or the bundle."""
    names = [name for name in varying(observations) if name not in _NEVER_BY_DEFAULT]
    return names or ["bundle"]


def parse_names(text: str, flag: str, observations: Sequence[Observation]) -> list[str]:
    """Return the names that an option lists with commas.

    Raises:
        UsageError: A name is unknown, or is there twice.
    """
    names = [name.strip().replace("-", "_") for name in text.split(",")]
    found = {name for observation in observations for name in observation.values}
    known = [*known_values(), *sorted(found - set(known_values()))]
    for name in names:
        if name not in known:
            raise UsageError(f"{flag}: there is no {name!r}: {nearest(name, known)}")
    if len(set(names)) < len(names):
        raise UsageError(f"{flag} is {text!r}: expected different names")
    return names


def make_rows(observations: Sequence[Observation], names: Sequence[str]) -> list[Row]:
    """Return the rows of students that differ in `names`, sorted by the values of each name.

    Numbers are in their order, other values in the order in which they come first.

    Raises:
        UsageError: A row has several kinds of students, which have no seed in common.
    """
    groups: dict[tuple[str, ...], list[Observation]] = {}
    for observation in observations:
        place = tuple(observation.values.get(name, NO_EFFECT) for name in names)
        groups.setdefault(place, []).append(observation)
    ranks = [_ranks([place[number] for place in groups]) for number in range(len(names))]

    def rank_of(place: tuple[str, ...]) -> list[int]:
        return [ranks[number][value] for number, value in enumerate(place)]

    rows = []
    for place in sorted(groups, key=rank_of):
        rows.append(_row(dict(zip(names, place, strict=True)), groups[place]))
    return rows


def all_pairs(rows: Sequence[Row]) -> list[Pair]:
    """Return every two rows: the later one against the earlier one."""
    return [_pair(later, earlier) for earlier, later in itertools.combinations(rows, 2)]


def pairs_with_baseline(rows: Sequence[Row], baseline: Mapping[str, str]) -> list[Pair]:
    """Return every row with its baseline: the row with these values that is the same otherwise.

    If a single row has these values, it is the baseline of all.

    Raises:
        UsageError: No row has these values, or no other row has a baseline.
    """
    are_baselines = [row for row in rows if baseline.items() <= row.place.items()]
    if not are_baselines:
        raise UsageError(_no_baseline(rows, baseline))
    pairs = []
    for row in rows:
        if row in are_baselines:
            continue
        wanted = row.place | dict(baseline)
        candidates = [each for each in are_baselines if each.place == wanted]
        if not candidates and len(are_baselines) == 1:
            candidates = are_baselines
        pairs += [_pair(row, candidate) for candidate in candidates]
    if not pairs:
        raise UsageError(
            f"--baseline {_shown(baseline)}: no other row is the same otherwise: name more of the "
            f"baseline, such as {next(iter(rows)).name}"
        )
    return pairs


def flag_name(name: str) -> str:
    """Return a name as options are written: `batch-size`."""
    return name.replace("_", "-")


def _ranks(values: Sequence[str]) -> dict[str, int]:
    """Return the position of every value: numbers by size, others as they come first."""
    distinct = list(dict.fromkeys(values))
    with contextlib.suppress(ValueError):
        distinct.sort(key=float)
    return {value: number for number, value in enumerate(distinct)}


def _row(place: dict[str, str], observations: Sequence[Observation]) -> Row:
    """Return the row of the students of one place."""
    kinds: dict[tuple[tuple[str, str], ...], dict[int, Observation]] = {}
    for observation in observations:
        kind = tuple(sorted(observation.values.items()))
        kinds.setdefault(kind, {})[observation.seed] = observation
    seeds = set.intersection(*[set(of_kind) for of_kind in kinds.values()])
    averaged = [name for name in varying(observations) if name not in place]
    if not seeds:
        flags = ", ".join(flag_name(name) for name in averaged)
        raise UsageError(
            f"the students of one row have no seed in common: add to --by some of {flags}"
        )
    used = [of_kind[seed] for of_kind in kinds.values() for seed in seeds]
    figures = {}
    for figure in FIGURES:
        if all(figure in observation.figures for observation in used):
            figures[figure] = _means(figure, sorted(seeds), [*kinds.values()])
    return Row(
        place=place,
        figures=figures,
        averaged=averaged,
        num_dropped=sum(len(of_kind) for of_kind in kinds.values()) - len(used),
        num_diverged=sum(observation.diverged for observation in used),
        observations=used,
    )


def _means(
    figure: str, seeds: Sequence[int], kinds: Sequence[Mapping[int, Observation]]
) -> dict[int, float]:
    """Return the mean of a figure over the kinds of students for every seed, in per cent."""
    means = {}
    for seed in seeds:
        values = [of_kind[seed].figures[figure] for of_kind in kinds]
        means[seed] = _PERCENT * statistics.fmean(values)
    return means


def _pair(first: Row, second: Row) -> Pair:
    seeds = sorted(first.accuracies.keys() & second.accuracies.keys())
    if not seeds:
        return Pair(first=first, second=second, comparison=None)
    accuracies = [[row.accuracies[seed] for seed in seeds] for row in (first, second)]
    return Pair(first=first, second=second, comparison=compare(*accuracies))


def _no_baseline(rows: Sequence[Row], baseline: Mapping[str, str]) -> str:
    """Return why no row has the values of a baseline."""
    for name, value in baseline.items():
        values = list(dict.fromkeys(row.place[name] for row in rows))
        if value not in values:
            hint = nearest(value, values)
            return f"--baseline: no row has {flag_name(name)} {value!r}: {hint}"
    return f"--baseline {_shown(baseline)}: no row has all of these: leave one of them out"


def _shown(baseline: Mapping[str, str]) -> str:
    return " ".join(f"{flag_name(name)}={value}" for name, value in baseline.items())
