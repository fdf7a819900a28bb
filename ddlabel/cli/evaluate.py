"""`evaluate`: students, results and their summary."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import typer
from rich.table import Table

from ddlabel import files, formats
from ddlabel.bundle import Bundle
from ddlabel.cli.command import Say, command, one_standard_input
from ddlabel.config import EvaluateOptions, ImportOptions, SelectOptions
from ddlabel.errors import InvalidInputError, OutputExistsError, UsageError
from ddlabel.provenance import canonical_json

DIGITS = Path(__file__).parent.parent / "demo" / "digits.npz"


def register(app: typer.Typer) -> None:
    """Add `evaluate`."""

    @command(app, "evaluate", EvaluateOptions)
    def evaluate(options: EvaluateOptions, say: Say) -> None:
        """Train students on a bundle's labels and measure them on test images."""
        if options.out is not None:
            _check_results(Path(options.out))
        train, test, digests = _inputs(options.bundle, options.test, say)
        from ddlabel.steps.evaluate import evaluate as step
        from ddlabel.steps.evaluate import key_of, settle

        settled = settle(train, test, options)
        seeds = list(range(options.seed, options.seed + options.seeds))
        keys = {seed: canonical_json(key_of(settled, seed, digests)) for seed in seeds}
        done = _finished(options.out)
        accuracies = {seed: done[key] for seed, key in keys.items() if key in done}
        if accuracies:
            say.note(f"{len(accuracies)} of {len(seeds)} students are in {options.out} already")
        missing = [seed for seed in seeds if seed not in accuracies]
        for record in step(train, test, settled, missing, digests, say.bar):
            seed = record["options"]["seed"]
            accuracies[seed] = record["accuracy"]
            if options.out is not None:
                files.append_line(Path(options.out), canonical_json(record))
            say.note(f"student {seed}: {100 * record['accuracy']:.2f} %")
        _summary(settled, [accuracies[seed] for seed in seeds], say)


def _inputs(bundle: str | None, test: str | None, say: Say) -> tuple[Bundle, Bundle, dict[str, str]]:
    """The bundle and the test set with their digests; without either, ten digits a class and the demo's test set."""
    if bundle is None and test is None:
        say.note("no bundle and no test set given: the demo's handwritten digits, 10 of each class, hard labels")
        train, tested = demo_bundles()
        return train, tested, {"bundle": train.header().digest, "test": tested.header().digest}
    if bundle is None or test is None:
        missing = "BUNDLE" if bundle is None else "--test TEST"
        raise UsageError(f"evaluate needs a bundle and a test set, and {missing} is missing: give both, or neither")
    one_standard_input([bundle, test])
    train, header = formats.load(bundle)
    tested, test_header = formats.load(test)
    return train, tested, {"bundle": header.digest, "test": test_header.digest}


def demo_bundles() -> tuple[Bundle, Bundle]:
    """Ten digits of each class, and the test digits."""
    from ddlabel import importers
    from ddlabel.steps.select import select

    real, test = (importers.load([DIGITS], ImportOptions(split=split)) for split in ("train", "test"))
    return select(real, SelectOptions(ipc=10)), test


def _check_results(path: Path) -> None:
    """Refuse a results file that cannot be one, before any training."""
    if path.suffix != ".jsonl":
        raise UsageError(f"--out {path}: results are a .jsonl file, to which records are appended")
    if path.is_dir():
        raise OutputExistsError(f"--out {path} is a folder: give the name of a file")
    files.check_output(str(path), force=True)


def _finished(out: str | None) -> dict[str, float]:
    """Accuracy by key of the records that are there; a last line that a crash cut off is removed."""
    if out is None or not Path(out).exists():
        return {}
    content = Path(out).read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    if len(whole) < len(content):
        files.write(out, [whole], size=len(whole))
    found = {}
    for number, line in enumerate(whole.splitlines(), 1):
        try:
            record: dict[str, Any] = json.loads(line)
            accuracy = float(record.pop("accuracy"))
            record.pop("loss")
        except (ValueError, KeyError, TypeError, AttributeError):
            raise InvalidInputError(f"{out}, line {number}: not a result of ddlabel: name another --out") from None
        found[canonical_json(record)] = accuracy
    return found


def _summary(options: EvaluateOptions, accuracies: list[float], say: Say) -> None:
    from ddlabel.metrics import summarise

    summary = summarise([100 * accuracy for accuracy in accuracies])
    table = Table("labels", "loss", "optimizer", "students", "accuracy %", "deviation", "95 % interval")
    cells = [options.labels, options.loss, options.optimizer, str(summary.n), f"{summary.mean:.2f}"]
    if summary.deviation is None or summary.interval is None:
        table.add_row(*cells, "–", "–")
        line = f"{summary.mean:.2f} % (1 student)"
    else:
        table.add_row(*cells, f"{summary.deviation:.2f}", f"± {summary.interval:.2f}")
        line = f"{summary.mean:.2f} % ± {summary.interval:.2f} (95 % interval, {summary.n} students)"
    say.show(table)
    value = {"labels": options.labels, "accuracies": accuracies, "percent": asdict(summary)}
    say.data(line, value)
