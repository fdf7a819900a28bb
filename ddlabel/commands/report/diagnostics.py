"""What the records of students say beyond their accuracy: curves, confusion and reliability."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import numpy as np

from ddlabel.commands.compare.rows import Row
from ddlabel.commands.reporter import Reporter
from ddlabel.commands.text_table import TextTable
from ddlabel.core.errors import IncompatibleError, InvalidInputError
from ddlabel.data.labels import Array
from ddlabel.figures.class_charts import percent_of_class
from ddlabel.figures.diagnostics import curve_of, sum_of
from ddlabel.figures.line_chart import NUM_COLOURS, Line
from ddlabel.figures.students import Series, Student

T = TypeVar("T")
_MOST_CONFUSIONS = 5


@dataclass(frozen=True, kw_only=True)
class Curves:
    """A chart of curves over epochs: its title, and a line for each row that has the curve."""

    title: str
    lines: Sequence[Line]
    is_log: bool


# By the name of a curve in records: its title, its factor, and whether its axis is logarithmic.
_CURVES = {
    "loss": ("training loss", 1, True),
    "gradient_norm": ("gradient norm", 1, True),
    "test_accuracy": ("test accuracy, %", 100, False),
    "held_out_accuracy": ("accuracy on held-out images, %", 100, False),
    "teacher_label_accuracy": ("right labels of the teacher, %", 100, False),
    "refined_label_accuracy": ("right labels after refining, %", 100, False),
}


@dataclass(frozen=True, kw_only=True)
class Diagnostics:
    """What the records of rows say beyond their accuracy; a part without records is empty.

    Attributes:
        curves: The charts of curves.
        confusions: The confusion matrix [K, K] by row, summed over its students.
        reliabilities: The bins by row: images, hits and sum of confidences.
        num_more: The number of rows that are not drawn.
    """

    curves: Sequence[Curves]
    confusions: Mapping[str, Array]
    reliabilities: Mapping[str, Array]
    num_more: int


def diagnose(named: Mapping[str, Row], reporter: Reporter) -> Diagnostics:
    """Return what the records of rows say, of the first rows if there are many.

    Rows are left out, with a note, where a record has another form than `evaluate` gives it.
    """
    drawn = list(named.items())[:NUM_COLOURS]
    groups = [_series(name, row) for name, row in drawn]
    charts = []
    for curve, (title, factor, is_log) in _CURVES.items():
        lines = []
        for colour, group in enumerate(groups):
            points = _points(group, curve, factor, reporter)
            if points:
                lines.append(Line(name=group.name, colour=colour, points=points))
        charts.append(Curves(title=title, lines=lines, is_log=is_log))
    return Diagnostics(
        curves=[chart for chart in charts if chart.lines],
        confusions=_sums(groups, "confusion", reporter),
        reliabilities=_sums(groups, "reliability", reporter),
        num_more=len(named) - len(drawn),
    )


def confusion_table(confusions: Mapping[str, Array]) -> TextTable | None:
    """Return the most frequent confusions of every row; None if there are none."""
    rows: list[list[str]] = []
    for name, counts in confusions.items():
        wrong = percent_of_class(counts)
        np.fill_diagonal(wrong, 0)
        for place in np.argsort(-wrong, axis=None, kind="stable")[:_MOST_CONFUSIONS]:
            true, predicted = np.unravel_index(place, wrong.shape)
            if counts[true, predicted] and true != predicted:
                share, count = wrong[true, predicted], counts[true, predicted]
                rows.append([name, str(true), str(predicted), f"{share:.1f}", f"{count:.0f}"])
    if not rows:
        return None
    return TextTable(
        title="The most frequent confusions (numbers of classes, as the bundle has them)",
        heads=["students", "true class", "predicted class", "% of the true class", "images"],
        rows=rows,
        num_names=3,
    )


def _series(name: str, row: Row) -> Series:
    """Return the students of a row as figures take them."""
    students = []
    for observation in row.observations:
        students.append(
            Student(
                accuracy=observation.figures["accuracy"],
                bundle=observation.values.get("bundle", ""),
                settings={},
                result=observation.record.result,
            )
        )
    return Series(name=name, students=students)


def _with_result(group: Series, name: str) -> Series:
    """Return the students of a group whose records have a figure."""
    students = [each for each in group.students if each.result.get(name) is not None]
    return Series(name=group.name, students=students)


def _points(
    group: Series, curve: str, factor: float, reporter: Reporter
) -> list[tuple[float, float | None]]:
    """Return the mean of a curve over the students of a row that have it; empty without."""
    having = _with_result(group, "curve")
    means = _or_note(partial(curve_of, having, curve), group.name, reporter) or []
    return [(epoch, None if mean is None else factor * mean) for epoch, mean in means]


def _sums(groups: Sequence[Series], name: str, reporter: Reporter) -> dict[str, Array]:
    """Return a figure of two axes by row, summed over the students that have it."""
    sums: dict[str, Array] = {}
    for group in groups:
        having = _with_result(group, name)
        if having.students:
            total = _or_note(partial(sum_of, having, name), group.name, reporter)
            sums |= {} if total is None else {group.name: total}
    return sums


def _or_note(read: Callable[[], T], name: str, reporter: Reporter) -> T | None:
    """Return what `read` reads of records, or None with a note if they have another form."""
    try:
        return read()
    except (IncompatibleError, InvalidInputError) as error:
        reporter.note(f"{name} is left out of a chart: {error}")
        return None
