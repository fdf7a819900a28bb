"""`compare`: tables and paired differences of the students in results files. It needs no torch.

Where to find what: `observations` reads students from records; `rows` groups and pairs them;
`comparisons` shows them.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ddlabel.commands.command import command
from ddlabel.commands.compare.comparisons import Comparisons
from ddlabel.commands.compare.observations import INPUTS, Observation, bundle_name, observe
from ddlabel.commands.compare.rows import (
    all_pairs,
    common,
    default_names,
    make_rows,
    pairs_with_baseline,
    parse_names,
    varying,
)
from ddlabel.commands.reporter import Reporter
from ddlabel.core.config import CompareOptions
from ddlabel.core.errors import InvalidInputError, UsageError
from ddlabel.data.record import Record
from ddlabel.data.results import read_records

# Paths, records, or objects that have records: those that `evaluate` and `sweep` return.
ResultsLike = str | Path | Any


@command("compare", CompareOptions, json_value=Comparisons.value)
def compare(
    results: ResultsLike | list[ResultsLike], *, options: CompareOptions, reporter: Reporter
) -> Comparisons:
    """Compare the students in results files, whatever commands have made them.

    `results` is one path or object, or a list of them. An object is what `evaluate` or `sweep`
    returns, or a record. A row of the tables has the students of all seeds that are the same in
    what makes a row (`by`). By default that is all that differs between the records.

    Raises:
        InvalidInputError: A file cannot be read, or has no students.
        UsageError: An option names something that the records do not have.
        StorageError: The operating system refuses to read.
    """
    observations = read_observations(results, reporter)
    return compare_observations(observations, options)


def compare_observations(
    observations: Sequence[Observation], options: CompareOptions
) -> Comparisons:
    """Return the comparison of students that the options ask for.

    Raises:
        UsageError: An option names something that the students do not have.
    """
    table_names: list[str] = []
    if options.table is not None:
        table_names = parse_names(options.table, "--table", observations)
        if len(table_names) != 2:
            raise UsageError(
                f"--table is {options.table!r}: expected one name for rows and another for "
                "columns, such as loss,optimizer"
            )
    names = table_names or default_names(observations)
    if options.by is not None:
        names = parse_names(options.by, "--by", observations)
    baseline = _parse_baseline(options.baseline, names, observations)
    rows = make_rows(observations, names)
    pairs = []
    if baseline:
        pairs = pairs_with_baseline(rows, baseline)
    elif options.paired:
        if len(rows) == 1:
            raise UsageError(
                f"--paired: there is one row, {rows[0].name}: name results with others too"
            )
        pairs = all_pairs(rows)
    return Comparisons(
        names=names,
        differing=varying(observations),
        same=common(observations),
        rows=rows,
        pairs=pairs,
        table_names=table_names,
    )


def crossed_comparisons(
    observations: Sequence[Observation], comparisons: Comparisons, names: str | None = None
) -> Comparisons | None:
    """Return the comparisons by two names, or by those of the rows if two cross in them, or None.

    Raises:
        UsageError: `names` are not two names that the students have.
    """
    if names is None:
        rows = comparisons.rows
        counts = [len({row.place[name] for row in rows}) for name in comparisons.names]
        if len(counts) != 2 or len(rows) <= max(counts):
            return None
        names = ",".join(comparisons.names)
    return compare_observations(observations, CompareOptions(table=names))


def read_observations(
    results: ResultsLike | list[ResultsLike], reporter: Reporter
) -> list[Observation]:
    """Return the students of results files and objects.

    Raises:
        InvalidInputError: A file cannot be read, or there are no students.
        UsageError: An object has no records.
    """
    sources = results if isinstance(results, list | tuple) else [results]
    records: list[Record] = []
    for source in sources:
        if isinstance(source, str | os.PathLike):
            records += read_records(Path(source), reporter.note)
        elif isinstance(source, Record):
            records.append(source)
        elif isinstance(getattr(source, "records", None), list):
            records += source.records
        else:
            raise UsageError(
                f"expected results files, or what evaluate or sweep returns; got an object of type "
                f"{type(source).__name__}"
            )
    observations = observe(records, reporter)
    if not observations:
        raise InvalidInputError(
            "there are no students in these results: name a file that evaluate --out has made, or "
            "a sweep over evaluate"
        )
    return observations


def _parse_baseline(
    texts: Sequence[str], names: Sequence[str], observations: Sequence[Observation]
) -> dict[str, str]:
    """Return the conditions of `baseline`, NAME=VALUE, as values by name."""
    baseline: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise UsageError(f"--baseline is {text!r}: expected NAME=VALUE, such as loss=soft-ce")
        (name,) = parse_names(name, "--baseline", observations)
        if name not in names:
            raise UsageError(f"--baseline: {name} makes no row here: name it in --by too")
        if name in baseline:
            raise UsageError(f"--baseline: {name} has two values: there is one baseline")
        baseline[name] = bundle_name(value) if name in INPUTS else value
    return baseline
