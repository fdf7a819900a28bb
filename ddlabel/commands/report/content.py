"""What a report says, before it is a page or another file."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ddlabel.commands.compare import compare_observations, crossed_comparisons
from ddlabel.commands.compare.comparisons import Comparisons
from ddlabel.commands.compare.observations import INPUTS, Observation, display_names
from ddlabel.commands.compare.rows import Pair, Row, flag_name
from ddlabel.commands.compare.texts import MISSING, figure_text
from ddlabel.commands.report.diagnostics import Diagnostics, diagnose
from ddlabel.commands.reporter import Reporter
from ddlabel.commands.text_table import TextTable
from ddlabel.core.config import CompareOptions, ReportOptions
from ddlabel.figures.interval_chart import Interval

# Every two rows are compared up to this number of rows.
_MOST_ROWS_FOR_ALL_PAIRS = 8
_SECONDS_OF_A_MINUTE = 60
_HELP = (
    "Accuracies are test accuracies in per cent: the mean over students with different seeds, and "
    "± half of its 95 % t-interval. In the charts a large dot is the mean, the line is the "
    "interval, and small dots are single students.",
    "A paired difference is taken seed by seed, between students with the same first weights and "
    "the same order of images. p is the two-sided p-value of the paired t-test.",
)


@dataclass(frozen=True, kw_only=True)
class Fact:
    """A fact with its name."""

    name: str
    text: str


@dataclass(frozen=True, kw_only=True)
class History:
    """How an input of the students was made.

    Attributes:
        name: The name of the input.
        facts: Its digest and its size.
        lines: The commands that made it.
    """

    name: str
    facts: Sequence[Fact]
    lines: Sequence[str]


@dataclass(frozen=True, kw_only=True)
class Content:
    """What a report says.

    Attributes:
        title: Its title.
        facts: What was run.
        intervals: The accuracies of the rows.
        tables: The table of the rows, and one by two names if there are two.
        differences: The paired differences.
        unit: What the paired differences are.
        pairs: The table of the pairs; None if there are none.
        diagnostics: Curves, confusion and reliability of the rows.
        histories: How the inputs were made.
        help: How to read the figures.
    """

    title: str
    facts: Sequence[Fact]
    intervals: Sequence[Interval]
    tables: Sequence[TextTable]
    differences: Sequence[Interval]
    unit: str
    pairs: TextTable | None
    diagnostics: Diagnostics
    histories: Sequence[History]
    help: Sequence[str] = _HELP


def make_content(
    observations: Sequence[Observation],
    files: Sequence[str],
    options: ReportOptions,
    reporter: Reporter,
) -> Content:
    """Return what a report says about students.

    Args:
        observations: The students.
        files: The names of the results files.
        options: The options.
        reporter: Reports what is left out.

    Raises:
        UsageError: An option names something that the students do not have.
    """
    comparisons = _compare(observations, options)
    of_rows, *of_pairs = comparisons.tables()
    # What all students have in common is among the facts.
    tables = [replace(of_rows, notes=comparisons.notes())]
    crossed = crossed_comparisons(observations, comparisons, options.table)
    if crossed is not None:
        tables.append(replace(crossed.tables()[0], notes=crossed.notes()))
    short = _short_names(comparisons.rows)
    return Content(
        title="Results of students",
        facts=_facts(observations, comparisons, files),
        intervals=[_of_row(row, short) for row in comparisons.rows],
        tables=tables,
        differences=_differences(comparisons.pairs, short),
        unit=_unit(comparisons.pairs, short),
        pairs=_with_rule(of_pairs[0], comparisons, options) if of_pairs else None,
        diagnostics=diagnose({_short_text(row, short): row for row in comparisons.rows}, reporter),
        histories=_histories(observations),
    )


def _compare(observations: Sequence[Observation], options: ReportOptions) -> Comparisons:
    """Return the rows, with every two of them compared, or with those that are asked for.

    Of many rows all are compared with the first.
    """
    asked = CompareOptions(by=options.by, baseline=options.baseline)
    plain = compare_observations(observations, asked)
    if options.baseline or len(plain.rows) == 1:
        return plain
    if len(plain.rows) <= _MOST_ROWS_FOR_ALL_PAIRS:
        return compare_observations(observations, CompareOptions(by=options.by, paired=True))
    first = tuple(f"{name}={value}" for name, value in plain.rows[0].place.items())
    return compare_observations(observations, CompareOptions(by=options.by, baseline=first))


def _facts(
    observations: Sequence[Observation], comparisons: Comparisons, files: Sequence[str]
) -> list[Fact]:
    """Return what was run: files, students, what all have in common, machines and time."""
    records = [observation.record for observation in observations]
    devices = {str(record.cost["device"]) for record in records if "device" in record.cost}
    seconds = [record.cost.get("seconds") for record in records]
    total = sum(each for each in seconds if isinstance(each, int | float))
    facts = [
        Fact(name="results files", text=", ".join(files)),
        Fact(name="students", text=f"{len(records)} in {len(comparisons.rows)} rows"),
        Fact(name="seeds", text=_seeds_text([each.seed for each in observations])),
        Fact(name="ddlabel", text=", ".join(sorted({record.version for record in records}))),
        Fact(name="devices", text=", ".join(sorted(devices))),
        Fact(name="training time", text=_time_text(total)),
    ]
    for name, value in comparisons.same.items():
        if value != "none" and name not in ("role", "version", *comparisons.names):
            facts.append(Fact(name=f"all: {flag_name(name)}", text=value))
    return [fact for fact in facts if fact.text]


def _seeds_text(seeds: Sequence[int]) -> str:
    distinct = sorted(set(seeds))
    if distinct == list(range(distinct[0], distinct[-1] + 1)) and len(distinct) > 1:
        return f"{distinct[0]} to {distinct[-1]}"
    return ", ".join(map(str, distinct))


def _time_text(seconds: float) -> str:
    if seconds == 0:
        return ""
    if seconds < 2 * _SECONDS_OF_A_MINUTE:
        return f"{seconds:.1f} s"
    return f"{seconds / _SECONDS_OF_A_MINUTE:.1f} min"


def _short_names(rows: Sequence[Row]) -> Sequence[str]:
    """Return the names that are needed to tell the rows apart, the first ones if some can go."""
    names = [*rows[0].place]
    for name in reversed(names[1:]):
        fewer = [each for each in names if each != name]
        places = {tuple(row.place[each] for each in fewer) for row in rows}
        if len(places) == len(rows):
            names = fewer
    return names


def _with_rule(table: TextTable, comparisons: Comparisons, options: ReportOptions) -> TextTable:
    """Return the table of the pairs with a note that says which rows are compared."""
    if options.baseline or len(comparisons.rows) <= _MOST_ROWS_FOR_ALL_PAIRS:
        return table
    rule = "all rows are compared with the first; --baseline names another"
    return replace(table, notes=[rule, *table.notes])


def _short_text(row: Row, names: Sequence[str]) -> str:
    return " · ".join(row.place[name] for name in names if row.place[name] != MISSING) or MISSING


def _of_row(row: Row, names: Sequence[str]) -> Interval:
    accuracy = row.accuracy
    return Interval(
        name=_short_text(row, names),
        text=figure_text(row, "accuracy"),
        mean=accuracy.mean,
        ends=accuracy.ends,
        values=[*row.accuracies.values()],
    )


def _unit(pairs: Sequence[Pair], names: Sequence[str]) -> str:
    """Return what the differences of pairs are: with the baseline, if all pairs have the same."""
    if not _have_one_baseline(pairs):
        return "points"
    return f"points above {_short_text(pairs[0].second, names)}"


def _differences(pairs: Sequence[Pair], names: Sequence[str]) -> list[Interval]:
    compared = [pair for pair in pairs if pair.comparison is not None]
    is_known = _have_one_baseline(pairs)
    return [_of_pair(pair, names, is_baseline_known=is_known) for pair in compared]


def _have_one_baseline(pairs: Sequence[Pair]) -> bool:
    return len(pairs) > 1 and all(pair.second is pairs[0].second for pair in pairs)


def _of_pair(pair: Pair, names: Sequence[str], *, is_baseline_known: bool) -> Interval:
    assert pair.comparison is not None
    name = _short_text(pair.first, names)
    if not is_baseline_known:
        name += f" − {_short_text(pair.second, names)}"
    difference = pair.comparison.difference
    seeds = sorted(pair.first.accuracies.keys() & pair.second.accuracies.keys())
    return Interval(
        name=name,
        text=f"{difference.mean:+.2f}{difference.spread()}",
        mean=difference.mean,
        ends=difference.ends,
        values=[pair.first.accuracies[seed] - pair.second.accuracies[seed] for seed in seeds],
    )


def _histories(observations: Sequence[Observation]) -> list[History]:
    """Return how the inputs were made, each once, in the order of their roles and names."""
    records = [observation.record for observation in observations]
    names = display_names(records)
    found: dict[tuple[int, str, str], History] = {}
    for record in records:
        for role, digest in record.inputs.items():
            if role not in INPUTS:
                continue
            origin = record.origins.get(role, {})
            facts = [Fact(name="role", text=role), Fact(name="digest", text=digest)]
            for name in ("images", "classes"):
                if name in origin:
                    facts.append(Fact(name=name, text=str(origin[name])))
            lines = origin.get("made_by", [])
            place = (INPUTS.index(role), names[digest], digest)
            found.setdefault(place, History(name=names[digest], facts=facts, lines=lines))
    return [found[place] for place in sorted(found)]
