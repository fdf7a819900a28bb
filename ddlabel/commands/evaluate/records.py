"""Result records: what identifies a student, and which records serve it."""

from typing import Any

from ddlabel import __version__
from ddlabel.commands.evaluate.experiment import Experiment, Record
from ddlabel.core import protocols
from ddlabel.core.config import EvaluateOptions


def key_of(case: Experiment, seed: int) -> Record:
    """Return everything that decides the outcome of one student.

    Options that only add figures to the record, such as `curve`, are left out.
    """
    return _described(case, case.options.key_options(), seed)


def record_of(case: Experiment, seed: int) -> Record:
    """Return the part of a student's record that is known before it is trained.

    It has the key of `key_of` and the options that only add figures to the record.
    """
    return _described(case, case.options.recorded(), seed)


def key_of_record(record: Record) -> Record:
    """Return the key, see `key_of`, of a student's record."""
    key = {name: value for name, value in record.items() if name not in ("result", "cost")}
    figures = EvaluateOptions.figure_options()
    options = {name: value for name, value in key["options"].items() if name not in figures}
    return key | {"options": options}


def has_figures(result: Record, options: EvaluateOptions) -> bool:
    """Return whether a student's result has the figures that the options ask for.

    A class-incremental student has them in each of its steps.
    """
    asked = [name for name in options.figure_options() if getattr(options, name)]
    parts = result.get("steps", [result])
    return all(name in part for part in parts for name in asked)


def _described(case: Experiment, options: dict[str, Any], seed: int) -> Record:
    """Return the version, the inputs and these options of one student of a case."""
    options = {name: value for name, value in options.items() if name != "seeds"}
    options["seed"] = seed
    record: Record = {"version": __version__, "role": case.role, **case.digests, "options": options}
    preset = protocols.preset(case.options.protocol, case.options.net)
    changed = {name: value for name, value in preset.items() if options.get(name, value) != value}
    if changed:
        record["protocol_overridden"] = changed
    return record
