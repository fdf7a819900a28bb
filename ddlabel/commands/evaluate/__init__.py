"""`evaluate`: students are trained on labels and tested on test images.

Where to find what:

- `plan` reads the inputs and makes the experiments; `experiment` settles and checks one;
  `controls` makes those that it is compared with;
- `grid` trains the students of all experiments; `students` trains those of one stack;
  `stacking_plan` decides which go side by side; `device_cache` keeps what they share;
- `training_plan` makes network, batches and loss of a student; `monitor` records its training;
- `records` describes a student in the results file, `numbers` for a logger;
  `evaluation`, `cell` and `tables` show results.
"""

from collections.abc import Sequence, Set
from dataclasses import replace
from functools import partial

from ddlabel.commands.command import command
from ddlabel.commands.compare.texts import few_students_note
from ddlabel.commands.evaluate.cell import Cell
from ddlabel.commands.evaluate.evaluation import Evaluation
from ddlabel.commands.evaluate.experiment import Experiment
from ddlabel.commands.evaluate.grid import train_students
from ddlabel.commands.evaluate.numbers import report_numbers
from ddlabel.commands.evaluate.plan import Plan, plan_experiments
from ddlabel.commands.evaluate.records import has_all, student_key
from ddlabel.commands.evaluate.tables import table_axes
from ddlabel.commands.reporter import Reporter
from ddlabel.core import interruption
from ddlabel.core.config import EvaluateOptions
from ddlabel.data.record import Record
from ddlabel.data.results import Results


@command("evaluate", EvaluateOptions, json_value=Evaluation.value)
def evaluate(*, options: list[EvaluateOptions], reporter: Reporter) -> Evaluation:
    """Train students on a bundle's labels and measure them on test images.

    An option of `EvaluateOptions.AXES` with several values makes a grid: one cell for each
    combination. `bundle`, `test`, `against`, `teacher`, `zca_from` and `real` are paths or objects.
    Students whose records are in the results file `out` already are not trained again.

    Raises:
        UsageError: An option is out of its range, or options do not go together.
        InvalidInputError: An input or the results file cannot be read.
        IncompatibleError: Inputs are of different tasks, or the labels do not fit the options.
        ResourceError: The device is not there, or has not enough memory.
        StorageError: The results file cannot be written.
    """
    results = None if options[0].out is None else Results(options[0].out)
    if results is not None:
        results.check_output()
    axes = table_axes(options)
    plan = plan_experiments(options, reporter)
    with interruption.outlook(lambda: _outlook(results)):
        records = _train(plan.experiments, results, reporter)
    advice = few_students_note([options[0].seeds])
    if advice is not None:
        reporter.note(f"note: {advice}")
    return Evaluation(cells=_cells(plan, records), axes=axes)


def _outlook(results: Results | None) -> str | None:
    """Return what the same command does if this one ends now: see `interruption.outlook`."""
    if results is None:
        return None
    return f"finished students are in {results.path}, and the same command trains the others"


def _train(
    experiments: Sequence[Experiment], results: Results | None, reporter: Reporter
) -> dict[str, Record]:
    """Return the record of every student by its key: from the results file, or trained now.

    Other processes may work on the same results file. A student whose record one of them has
    appended is not trained if that is seen in time, and never appended a second time.
    """
    records: dict[str, Record] = {}
    if results is not None:
        serves = partial(has_all, options=experiments[0].options)
        records = results.read("student", reporter.note, serves=serves)
        keys = {student_key(each, seed) for each in experiments for seed in each.seeds}
        num_finished = len(keys & records.keys())
        if num_finished:
            reporter.note(f"{num_finished} of {len(keys)} students are in {results.path} already")

    def finished() -> Set[str]:
        if results is not None:
            results.read_new()
        return records.keys()

    for number, seed, record in train_students(experiments, finished, reporter.progress):
        num_experiments = len(experiments)
        cell = "" if num_experiments == 1 else f" of cell {number + 1} of {num_experiments}"
        name = f"student {seed}{cell}"
        if results is None:
            records[record.key] = record
        elif not results.append_new(record):
            reporter.note(f"{name}: another process has added it to {results.path} meanwhile")
        report_numbers(reporter, number, records[record.key])
        reporter.note(f"{name}: {100 * records[record.key].result['accuracy']:.2f} %")
    return records


def _cells(plan: Plan, records: dict[str, Record]) -> list[Cell]:
    """Return the results of the evaluated experiments, with those that they are compared with."""
    cells = [_cell(experiment, records) for experiment in plan.cells]
    for number, experiment in enumerate(plan.against):
        cells[number] = replace(cells[number], against=_cell(experiment, records))
    for number, experiments in enumerate(plan.controls):
        controls = {experiment.role: _cell(experiment, records) for experiment in experiments}
        cells[number] = replace(cells[number], controls=controls)
    return cells


def _cell(experiment: Experiment, records: dict[str, Record]) -> Cell:
    keys = [student_key(experiment, seed) for seed in experiment.seeds]
    return Cell(options=experiment.options, records=[records[key] for key in keys])
