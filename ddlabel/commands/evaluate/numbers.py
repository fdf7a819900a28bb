"""The numbers of a trained student, as a logger takes them: see `commands/loggers.py`."""

from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from ddlabel.commands.evaluate.experiment import OWN
from ddlabel.commands.reporter import Reporter
from ddlabel.data.record import Record

_FIGURES = ("accuracy", "top5", "calibration_error", "loss")
_CHECKED = "checked_epochs"


def report_numbers(reporter: Reporter, experiment: int, record: Record) -> None:
    """Report the curves of a student by epoch, if it has some, and its figures at the last epoch.

    The series has the number of the experiment, beginning with 1, and what a reader looks for.
    """
    options = record.options
    bundle = PurePath(record.origins.get("bundle", {}).get("name", "bundle")).stem
    loss = options["loss"]
    role = [] if record.role == OWN else [record.role]
    parts = [str(experiment + 1), bundle, *role, options["labels"], loss, f"seed-{options['seed']}"]
    series = " ".join(parts)
    by_epoch: dict[int, dict[str, float]] = {}
    for name, values in _curves(record.result).items():
        for epoch, value in values.items():
            by_epoch.setdefault(epoch, {})[name] = value
    last = by_epoch.setdefault(options["epochs"], {})
    for name in _FIGURES:
        value = record.result.get(name)
        if value is not None:
            last[f"final_{name}"] = value
    for epoch, numbers in sorted(by_epoch.items()):
        reporter.numbers(series, epoch, numbers)


def _curves(result: Mapping[str, Any]) -> dict[str, dict[int, float]]:
    """Return the recorded curves by name, each by epoch; a number that is not finite is left out.

    A class-incremental student has none of its own.
    """
    curve = result.get("curve", {})
    found = {}
    for name, values in curve.items():
        if name == _CHECKED:
            continue
        every = range(1, len(values) + 1)
        epochs = curve[_CHECKED] if name in ("test_accuracy", "held_out_accuracy") else every
        pairs = zip(epochs, values, strict=True)
        found[name] = {epoch: value for epoch, value in pairs if value is not None}
    return found
