"""Observations: trained students as a comparison sees them, read from records of both kinds."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import PurePath
from typing import Any

from ddlabel.commands.reporter import Reporter
from ddlabel.core.conditions import Condition, Conditions
from ddlabel.core.config import EvaluateOptions
from ddlabel.data import formats
from ddlabel.data.provenance import canonical_json
from ddlabel.data.record import Record

# The inputs of a student that can differ. Without ZCA or a teacher it has none.
INPUTS = ("bundle", "test", "teacher", "zca", "real")
# The figures of a student that have a mean over students, with their names in tables.
FIGURES = {"accuracy": "accuracy %", "top5": "top-5 %", "calibration_error": "calibration error %"}
_DECLARED = {declared.name: declared for declared in fields(EvaluateOptions)}
_DIGITS_OF_DIGEST = 8
_NONE = "none"


@dataclass(frozen=True, kw_only=True)
class Observation:
    """A trained student.

    Attributes:
        record: Its record.
        seed: Its seed.
        values: All that it can be told apart by, as texts, by name: its inputs, its options, its
            role, and the number of images per class. An option that has no effect is left out.
        figures: Its figures, as fractions, by name.
        diverged: Whether it ended with a loss that is not finite.
    """

    record: Record
    seed: int
    values: dict[str, str]
    figures: dict[str, float]
    diverged: bool


def observe(records: Iterable[Record], reporter: Reporter) -> list[Observation]:
    """Return the students of records, each once: of several records of one the last counts.

    The students of a sweep's cells of `evaluate` are among them. Their own records have more
    figures, and count if both are there. Records without students are named and left out.
    """
    students: dict[str, Record] = {}
    of_cells: dict[str, Record] = {}
    others: dict[str, int] = {}
    for record in records:
        if record.kind == "student":
            students[record.key] = record
            continue
        found = list(_students_of_cell(record))
        of_cells |= {student.key: student for student in found}
        if not found:
            command = str(record.options.get("command"))
            others[command] = others.get(command, 0) + 1
    for command, number in others.items():
        reporter.note(f"{number} cells of {command} have no students and are left out")
    distinct = [*(of_cells | students).values()]
    with_seed = [each for each in distinct if type(each.options.get("seed")) is int]
    if len(with_seed) < len(distinct):
        reporter.note(f"{len(distinct) - len(with_seed)} records have no seed and are left out")
    names = display_names(with_seed)
    return [_observation(record, names) for record in with_seed]


def display_names(records: Iterable[Record]) -> dict[str, str]:
    """Return the name of every input by its digest.

    It is the name of the file without the suffix of a bundle, all names if one content has several,
    and the beginning of the digest if there is no name. Different contents of one name get the
    digest with it.
    """
    names: dict[str, set[str]] = {}
    for record in records:
        for role, digest in record.inputs.items():
            name = record.origins.get(role, {}).get("name")
            names.setdefault(digest, set()).update([bundle_name(name)] if name else [])
    joined = {
        digest: " = ".join(sorted(of_digest)) or digest[:_DIGITS_OF_DIGEST]
        for digest, of_digest in names.items()
    }
    shared = [*joined.values()]
    return {
        digest: name if shared.count(name) == 1 else f"{name} ({digest[:_DIGITS_OF_DIGEST]})"
        for digest, name in joined.items()
    }


def bundle_name(text: str) -> str:
    """Return the name of a file without the suffix of a bundle."""
    suffix = PurePath(text).suffix
    return text.removesuffix(suffix) if suffix.lower() in formats.FORMATS else text


def _students_of_cell(record: Record) -> Iterator[Record]:
    """Yield the students of a cell of a sweep over `evaluate`, with their accuracies."""
    result = record.result
    cells = result.get("cells", []) if isinstance(result, Mapping) else []
    for cell in cells if isinstance(cells, list) else []:
        yield from _students_of(cell, record.version)


def _students_of(cell: Any, version: str) -> Iterator[Record]:
    """Yield the students of a value of `Cell.value`, and of those that it is compared with.

    A value of another form, in a record that something else wrote, has none.
    """
    try:
        students = cell["students"]
        for key, seed, accuracy in zip(
            students["keys"], students["seeds"], cell["accuracies"], strict=True
        ):
            student = Record(
                kind="student",
                key=key,
                version=version,
                inputs=students["inputs"],
                options=students["options"] | {"seed": seed},
                result={"accuracy": accuracy},
                cost={},
                role=students["role"],
                origins=students["origins"],
            )
            # Written and read again, it is checked as every record is.
            yield Record.from_json(student.to_json())
        others = [*cell.get("controls", {}).values()]
        others += [cell["against"]] if "against" in cell else []
    except (KeyError, TypeError, ValueError, AttributeError):
        return
    for other in others:
        yield from _students_of(other, version)


def _observation(record: Record, names: Mapping[str, str]) -> Observation:
    figures = {}
    for name in FIGURES:
        value = record.result.get(name)
        if isinstance(value, int | float) and not isinstance(value, bool):
            figures[name] = float(value)
    return Observation(
        record=record,
        seed=record.options["seed"],
        values=_values(record, names),
        figures=figures,
        # A class-incremental student has no loss of its own.
        diverged=record.result.get("loss", 0.0) is None,
    )


def _values(record: Record, names: Mapping[str, str]) -> dict[str, str]:
    """Return all that a student can be told apart by."""
    values = {role: names[digest] for role, digest in record.inputs.items() if role in INPUTS}
    values.setdefault("zca", _NONE)
    facts = record.origins.get("bundle", {})
    if facts.get("images") and facts.get("classes"):
        values["ipc"] = f"{facts['images'] / facts['classes']:g}"
    for name, value in record.options.items():
        if name != "seed" and _has_effect(name, record):
            values[name] = _text(value)
    return values | {"role": record.role, "version": record.version}


def _has_effect(name: str, record: Record) -> bool:
    """Return whether an option has an effect beside the other options of the record."""
    if name not in _DECLARED:
        return True
    if not _DECLARED[name].metadata["part_of_key"]:
        return False
    conditions: Conditions = _DECLARED[name].metadata["conditions"]
    needed = conditions.only_with
    return not needed or any(_is_met(condition, record) for condition in needed)


def _is_met(condition: Condition, record: Record) -> bool:
    if not condition.values:
        return condition.name in record.inputs
    return str(record.options.get(condition.name)) in condition.values


def _text(value: Any) -> str:
    if value is None:
        return _NONE
    if isinstance(value, str):
        return value
    return f"{value:g}" if isinstance(value, float) else canonical_json(value)


def known_values() -> Sequence[str]:
    """Return the names of all that students of `evaluate` can be told apart by, in order."""
    options = [
        name
        for name, declared in _DECLARED.items()
        if declared.metadata["recorded"] and declared.metadata["part_of_key"]
        if name not in ("seed", "seeds")
    ]
    first = [*INPUTS[:1], "ipc", *EvaluateOptions.AXES[:1], "global_labels"]
    rest = [*EvaluateOptions.AXES[1:], *options, *INPUTS[1:], "role", "version"]
    return list(dict.fromkeys([*first, *rest]))
