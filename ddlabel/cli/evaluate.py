"""`evaluate`: students, results and their summary."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ddlabel.cli.old_command import Reporter, T, command, one_standard_input
from ddlabel.cli.tables import Cell, axes_of, line, spread, table, varying_axes
from ddlabel.core.config import EvaluateOptions, ImportOptions, SelectOptions
from ddlabel.core.errors import InvalidInputError, UsageError
from ddlabel.data import atomic, formats
from ddlabel.data.bundle import Bundle, check_same_task
from ddlabel.data.expert_run import ExpertRun
from ddlabel.data.provenance import canonical_json

if TYPE_CHECKING:
    from ddlabel.commands.evaluate.experiment import Experiment

DIGITS = Path(__file__).parent.parent / "demo" / "digits.npz"
Results = dict[str, dict[str, Any]]


@command("evaluate", EvaluateOptions)
def evaluate(options: list[EvaluateOptions], reporter: Reporter) -> None:
    """Train students on a bundle's labels and measure them on test images.

    Options that can be repeated, or hold several values separated by commas, make a grid.
    """
    if options[0].out is not None:
        check_results(Path(options[0].out))
    axes, varying = axes_of(options[0].table, options), varying_axes(options)
    own, others, controls = cases_of(options, reporter)
    results = _train(
        [*own, *others, *(case for each in controls for case in each)], options[0].out, reporter
    )
    cells = [_cell(case, results) for case in own]
    reporter.show(table(cells, axes))
    values = [cell.value() for cell in cells]
    lines = [line(cell, varying) for cell in cells]
    for cell, value, other in zip(cells, values, others, strict=False):
        lines.append(_compare(cell, _cell(other, results), varying, value))
    for cell, value, each in zip(cells, values, controls, strict=False):
        lines += _score(cell, {case.role: _cell(case, results) for case in each}, varying, value)
    reporter.data("\n".join(lines), {"cells": values})


def cases_of(
    grid: Sequence[EvaluateOptions], reporter: Reporter
) -> tuple[list["Experiment"], list["Experiment"], list[list["Experiment"]]]:
    """The settled cases of a grid, those they are to be compared with, and the controls of each."""
    options = grid[0]
    one_standard_input(
        [*filter(None, (options.bundle, options.test, options.against, options.real, options.zca))]
    )
    bundle, test, digests = _inputs(options.bundle, options.test, reporter)
    from ddlabel.commands.evaluate.experiment import Experiment, settle
    from ddlabel.commands.evaluate.grid import controls
    from ddlabel.commands.relabel import pick, source_of
    from ddlabel.data import whitening

    runs = [run for path in options.teacher for run in ExpertRun.find(path)]
    white = None
    if options.zca is not None:
        fitted_on, digest = _other("--zca", options.zca, bundle)
        white, digests = whitening.fit(fitted_on.images), digests | {"zca": digest}
    teacher = pick(bundle, runs, options.teacher_epoch)
    case = Experiment(
        bundle=lambda _: bundle,
        test=test,
        options=options,
        digests=digests,
        teacher=teacher,
        whitening=white,
    )
    own = [settle(replace(case, options=each)) for each in grid]
    _check_together(options, own, runs, reporter)
    others = []
    if options.against is not None:
        against, digest = _other("--against", options.against, bundle)
        case = replace(case, bundle=lambda _: against, digests=digests | {"bundle": digest})
        others = [settle(replace(case, options=each)) for each in grid]
    if options.real is None:
        return own, others, []
    real, header = formats.load(options.real)
    stored = {
        label.meta.source
        for label in (bundle.soft, bundle.dense)
        if label and own[0].options.labels != "online"
    }
    if runs and stored - {source_of(teacher)}:
        reporter.note(
            f"note: labels from {', '.join(stored)}, those of random images from {source_of(teacher)}"
        )
    return (
        own,
        others,
        [controls(case, real, header.digest, every=options.control == "scores") for case in own],
    )


def _other(flag: str, path: str, bundle: Bundle) -> tuple[Bundle, str]:
    """The bundle that an option names, which must be of the same task, and its digest."""
    other, header = formats.load(path)
    check_same_task(f"{flag} {path}", bundle, other)
    return other, header.digest


def _check_together(
    options: EvaluateOptions,
    own: Sequence["Experiment"],
    runs: Sequence[ExpertRun],
    reporter: Reporter,
) -> None:
    """Refuse what no cell of the grid makes use of, and say what may mislead."""
    if options.control == "none" and runs and all(case.options.labels != "online" for case in own):
        raise UsageError(
            f"--teacher is for online labels and these are {own[0].options.labels}: use --labels online"
        )
    if any(case.options.loss == "ce" and case.options.labels in ("soft", "online") for case in own):
        reporter.note("note: the loss ce learns from the hard labels alone")
    if own[0].digests["bundle"] == own[0].digests["test"]:
        reporter.note("note: the test images are the training images")


def _train(cases: Sequence["Experiment"], out: str | None, reporter: Reporter) -> Results:
    """The result of every student by its key: from the results file, or trained now and appended to it."""
    from ddlabel.commands.evaluate.records import key_of
    from ddlabel.commands.evaluate.grid import evaluate

    read = partial(_key_and_result, options=cases[0].options)
    results: Results = {} if out is None else finished(out, reporter, read)
    keys = {canonical_json(key_of(case, seed)) for case in cases for seed in case.seeds}
    if keys & results.keys():
        reporter.note(f"{len(keys & results.keys())} of {len(keys)} students are in {out} already")
    for number, seed, record in evaluate(cases, results.keys(), reporter.bar):
        if out is not None:
            atomic.append_line(Path(out), canonical_json(record))
        results[canonical_json(key_of(cases[number], seed))] = record["result"]
        what = (
            f"student {seed}"
            if len(cases) == 1
            else f"student {seed} of case {number + 1} of {len(cases)}"
        )
        reporter.note(f"{what}: {100 * record['result']['accuracy']:.2f} %")
    return results


def _cell(case: "Experiment", results: Results) -> Cell:
    from ddlabel.commands.evaluate.records import key_of

    return Cell(
        options=case.options,
        results=[results[canonical_json(key_of(case, seed))] for seed in case.seeds],
    )


def _compare(cell: Cell, other: Cell, axes: Sequence[str], value: dict[str, Any]) -> str:
    """The paired difference of two cells, as a line and in the cell's value."""
    from ddlabel.methods.metrics import compare

    comparison = compare(cell.percent(), other.percent())
    value["against"] = {
        "labels": other.options.labels,
        "accuracies": other.value()["accuracies"],
    } | asdict(comparison)
    difference = comparison.difference
    text = f"{line(other, [])} with {other.options.labels} labels of --against; difference {difference.mean:+.2f}"
    if difference.interval is None or comparison.p_value is None:
        return f"{text} points (1 pair)"
    test = f"p = {comparison.p_value:.2g} (paired t-test, {difference.n} pairs)"
    return f"{cell.place(axes)}{text} ± {difference.interval:.2f} points, {test}"


def _score(
    cell: Cell, controls: dict[str, Cell], axes: Sequence[str], value: dict[str, Any]
) -> list[str]:
    """The controls of a cell by role and its scores, as lines and in the cell's value."""
    from ddlabel.commands.evaluate.grid import scores

    found = scores(
        {
            role: [x / 100 for x in each.percent()]
            for role, each in ({"own": cell} | controls).items()
        }
    )
    value["controls"] = {role: each.value() for role, each in controls.items()}
    value["scores"] = {name: asdict(summary) for name, summary in found.items()}
    where = cell.place(axes, end="")
    lines = [f"{where}{role}: {line(each, [])}" for role, each in controls.items()]
    return lines + [
        f"{where}{name} {each.mean:.4f}{spread(each, digits=4)}" for name, each in found.items()
    ]


def _inputs(
    bundle: str | None, test: str | None, reporter: Reporter
) -> tuple[Bundle, Bundle, dict[str, str]]:
    """The bundle and the test set with their digests; without either, ten digits a class and the demo's test set."""
    if bundle is None and test is None:
        reporter.note(
            "no bundle and no test set given: the demo's handwritten digits, 10 of each class, hard labels"
        )
        from ddlabel.commands.select import select
        from ddlabel.data import importers

        real, tested = (
            importers.load([DIGITS], ImportOptions(split=split)) for split in ("train", "test")
        )
        train = select(real, SelectOptions(ipc=10))
        return train, tested, {"bundle": train.header().digest, "test": tested.header().digest}
    # The options `bundle` and `test` are refused without each other.
    assert bundle is not None
    assert test is not None
    train, header = formats.load(bundle)
    tested, test_header = formats.load(test)
    return train, tested, {"bundle": header.digest, "test": test_header.digest}


def check_results(path: Path) -> None:
    """Refuse a results file that cannot be one, before any training."""
    if path.suffix != ".jsonl":
        raise UsageError(f"--out {path}: results are a .jsonl file, to which records are appended")
    atomic.check_output(str(path), force=True)


def finished(
    out: str, reporter: Reporter, read: Callable[[dict[str, Any]], tuple[str, T] | None]
) -> dict[str, T]:
    """Return the results in a file, by key. A last line that a crash cut off is removed.

    Args:
        out: The file.
        reporter: Says that a line was removed.
        read: Returns the key and the result of a record, or None for a record to leave out.

    Raises:
        InvalidInputError: A line is not JSON, or `read` raised ValueError, KeyError, TypeError or
            AttributeError.
    """
    lines, cut = atomic.whole_lines(Path(out))
    if cut:
        reporter.note(f"{out}: its last line was cut off, and is removed")
    found = dict[str, T]()
    for number, text in enumerate(lines, 1):
        try:
            pair = read(json.loads(text))
        except (ValueError, KeyError, TypeError, AttributeError):
            raise InvalidInputError(
                f"{out}, line {number}: not a result of ddlabel: name another --out"
            ) from None
        if pair is not None:
            key, result = pair
            found[key] = result
    return found


def _key_and_result(
    record: dict[str, Any], options: EvaluateOptions
) -> tuple[str, dict[str, Any]] | None:
    """Return the key and the result of a record, or None if it lacks figures that are asked for.

    Raises:
        ValueError: The accuracy is not in [0, 1].
    """
    from ddlabel.commands.evaluate.records import has_figures, key_of_record

    result = record["result"]
    key = canonical_json(key_of_record(record))
    if not 0 <= float(result["accuracy"]) <= 1:
        raise ValueError("the accuracy is not in [0, 1]")
    if not has_figures(result, options):
        return None
    return key, result
