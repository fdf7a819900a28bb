"""The commands that images and experts come from."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from ddlabel.cli.old_command import (
    BundleIn,
    Reporter,
    command,
    finish,
    join,
    one_standard_input,
    run_filter,
)
from ddlabel.core import config
from ddlabel.core.errors import UsageError
from ddlabel.data import atomic, formats
from ddlabel.data.bundle import Bundle, check_same_task
from ddlabel.data.expert_run import ExpertRun
from ddlabel.data.provenance import Input, sha256_of_path

Sources = Annotated[
    list[str], typer.Argument(metavar="SOURCE", help="one file or folder, or a pair of files")
]
Out = Annotated[str, typer.Argument(metavar="OUT", help="bundle to write; - is standard output")]
Force = Annotated[bool, typer.Option("--force", help="replace an output that is there")]
Real = Annotated[
    str,
    typer.Argument(
        metavar="REAL", help="real images: a bundle, - for standard input, or class folders"
    ),
]
Folder = Annotated[str, typer.Argument(metavar="OUT", help="folder of the expert run")]
Test = Annotated[
    str | None,
    typer.Option("--test", help="bundle of test images: their accuracy is recorded, never used"),
]
Experts = Annotated[
    list[str],
    typer.Option(
        "--expert", metavar="RUN", help="expert run, or a folder of runs; repeat for an ensemble"
    ),
]


@command("import", config.ImportOptions)
def import_(
    sources: Sources,
    out: Out,
    options: config.ImportOptions,
    reporter: Reporter,
    force: Force = False,
) -> None:
    """Make a bundle of foreign files: class folders or a zip of them, CIFAR, IDX, .npz, a pair of .pt files."""
    atomic.check_output(out, force=force)
    formats.format_of(out)
    from ddlabel.data import importers

    bundle = importers.load([Path(path) for path in sources], options)
    named = [("source", path) for path in sources] + (
        [("zca-from", options.zca_from)] if options.zca_from else []
    )
    inputs = [
        Input(role=role, name=Path(path).name, sha256=sha256_of_path(Path(path)))
        for role, path in named
    ]
    reporter.note(_classes(finish("import", bundle, out, options, reporter, inputs)))


@command("select", config.SelectOptions)
def select(
    bundle: BundleIn,
    out: Out,
    options: config.SelectOptions,
    reporter: Reporter,
    force: Force = False,
) -> None:
    """Choose images of each class: at random, or by what experts make of them."""
    runs = runs_of(options.expert, reporter)
    inputs: list[Input] = []

    def run(source: Bundle) -> Bundle:
        from ddlabel.commands.relabel import pick
        from ddlabel.commands.select import select as step

        picks = pick(source, runs, options.epoch)
        inputs.extend(expert_inputs(picks))
        return step(source, options, picks)

    result = run_filter("select", bundle, out, options, run, reporter, force, inputs)
    reporter.note(f"{len(result)} images, {options.ipc} of each of {len(result.classes)} classes")


@command("train-expert", config.TrainExpertOptions)
def train_expert(
    real: Real,
    out: Folder,
    options: config.TrainExpertOptions,
    reporter: Reporter,
    test: Test = None,
) -> None:
    """Train experts on real images and keep their checkpoints; a killed run goes on where it stopped."""
    one_standard_input([real, test or ""])
    bundle, digest = _real(real, options)
    tested = None if test is None else formats.read(test)
    from ddlabel.commands import train_expert as steps

    runs = steps.plan(bundle, Path(out), options, digest)
    if tested is not None:
        check_same_task(f"the test set {test}", bundle, tested)
    left = {
        "images": digest,
        "unfinished runs": [sha256_of_path(path / "resume.pt") for path, _ in runs],
    }
    join(options, lambda: left)
    for path, about in runs:
        if (path / "resume.pt").exists():
            reporter.note(f"{path}: going on where an earlier run stopped")
        run = steps.train_expert(
            bundle,
            tested,
            path,
            about,
            options,
            lambda each: reporter.note(_line(each)),
            reporter.bar,
        )
        reporter.data(str(path), {"out": str(path), "checkpoints": run.metrics()})


def _real(path: str, options: config.TrainExpertOptions) -> tuple[Bundle, str]:
    """A bundle, or a folder of images that are read while they are trained on, and its digest."""
    if not Path(path).is_dir():
        bundle, header = formats.load(path)
        if options.size not in (None, bundle.side) or options.workers != options.__class__.workers:
            raise UsageError(
                f"--size and --workers are for a folder: this bundle has {bundle.side} px; leave them out"
            )
        return bundle, header.digest
    if options.size is None:
        raise UsageError(
            f"{path} is a folder: say how large its images are to be with --size, e.g. 224"
        )
    from ddlabel.training.image_stream import ImageFolder

    return ImageFolder.open(Path(path), options.size)


def _classes(bundle: Bundle) -> str:
    """The images' shape and the classes in their order: a wrong order is the field's most frequent mistake."""
    shape = " × ".join(map(str, bundle.images.shape[1:]))
    first = ", ".join(f"{number} {name}" for number, name in enumerate(bundle.classes[:20]))
    more = f", … {len(bundle.classes) - 20} more" if len(bundle.classes) > 20 else ""
    return f"{len(bundle)} images of {shape}; classes in order: {first}{more}"


def _line(record: dict[str, Any]) -> str:
    test = f", test {100 * record['test_accuracy']:.1f} %" if "test_accuracy" in record else ""
    train = f"train {100 * record['train_accuracy']:.1f} %"
    return f"epoch {record['epoch']:g}: loss {record['loss']:.4f}, {train}{test}"


def runs_of(paths: Sequence[str], reporter: Reporter) -> list[ExpertRun]:
    """The expert runs that were named; those that lack checkpoints with a word."""
    runs = [run for path in paths for run in ExpertRun.find(path)]
    for each in runs:
        if lost := [
            f"{record['epoch']:g}" for record in each.metrics() if record["step"] not in each.epochs
        ]:
            reporter.note(
                f"note: {each.folder}: the checkpoints of epochs {', '.join(lost)} are missing"
            )
        if not each.complete:
            done, planned = (
                max(each.epochs.values(), default=0),
                each.about.steps / each.about.steps_per_epoch,
            )
            reporter.note(f"note: {each.folder} is unfinished: {done:g} of {planned:g} epochs")
    return runs


def expert_inputs(picks: Sequence[tuple[ExpertRun, int]]) -> list[Input]:
    """Checkpoints as a bundle's history names them."""
    names = [run.folder.resolve().name + (f"@{run.epoch}" if run.epoch else "") for run, _ in picks]
    return [
        Input(role="expert", name=n, sha256=run.digest(step))
        for n, (run, step) in zip(names, picks, strict=True)
    ]
