"""The commands that make files: bundles of images, expert runs, and bundles with better labels."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from ddlabel import config, files, formats
from ddlabel.bundle import Bundle, check_same_task
from ddlabel.cli.command import BundleIn, Say, command, figures_line, finish, one_standard_input, run_filter
from ddlabel.errors import UsageError
from ddlabel.expert import Run, share_of_best
from ddlabel.provenance import Input, sha256_of_path

Sources = Annotated[
    list[str], typer.Argument(metavar="SOURCE... OUT", help="one file or folder, or a pair of files; then OUT")
]
Out = Annotated[str, typer.Argument(metavar="OUT", help="bundle to write; - is standard output")]
Force = Annotated[bool, typer.Option("--force", help="replace an output that is there")]
Real = Annotated[str, typer.Argument(metavar="REAL", help="bundle of real images; - is standard input")]
Folder = Annotated[Path, typer.Argument(metavar="OUT", help="folder of the expert run")]
Test = Annotated[
    str | None, typer.Option("--test", help="bundle of test images: their accuracy is recorded, never used")
]
Experts = Annotated[
    list[str], typer.Option("--expert", metavar="RUN", help="expert run, or a folder of runs; repeat for an ensemble")
]


@command("import", config.ImportOptions)
def import_(sources: Sources, options: config.ImportOptions, say: Say, force: Force = False) -> None:
    """Make a bundle of foreign files: class folders or a zip of them, CIFAR, IDX, .npz, a pair of .pt files."""
    if len(sources) < 2:
        raise UsageError("import needs a source and an output: ddlabel import SOURCE OUT")
    *paths, out = sources
    files.check_output(out, force=force)
    formats.format_of(out)
    from ddlabel import importers

    bundle = importers.load([Path(path) for path in paths], options)
    named = [("source", path) for path in paths] + ([("zca-from", options.zca_from)] if options.zca_from else [])
    inputs = [Input(role=role, name=Path(path).name, sha256=sha256_of_path(Path(path))) for role, path in named]
    say.note(_classes(finish("import", bundle, out, options, say, inputs)))


@command("select", config.SelectOptions)
def select(bundle: BundleIn, out: Out, options: config.SelectOptions, say: Say, force: Force = False) -> None:
    """Choose images of each class at random."""
    from ddlabel.steps.select import select as step

    result = run_filter("select", bundle, out, options, lambda source: step(source, options), say, force)
    say.note(f"{len(result)} images, {options.ipc} of each of {len(result.classes)} classes")


@command("train-expert", config.TrainExpertOptions)
def train_expert(real: Real, out: Folder, options: config.TrainExpertOptions, say: Say, test: Test = None) -> None:
    """Train experts on real images and keep their checkpoints; a killed run goes on where it stopped."""
    one_standard_input([real, test or ""])
    bundle, header = formats.load(real)
    tested = None if test is None else formats.read(test)
    from ddlabel.steps import train_expert as steps

    runs = steps.plan(bundle, out, options, header.digest)
    if tested is not None:
        check_same_task(f"the test set {test}", bundle, tested)
    for path, about in runs:
        if (path / "resume.pt").exists():
            say.note(f"{path}: going on where an earlier run stopped")
        run = steps.train_expert(bundle, tested, path, about, options, lambda each: say.note(_line(each)), say.bar)
        say.data(str(path), {"out": str(path), "checkpoints": run.metrics()})


@command("relabel", config.RelabelOptions)
def relabel(
    bundle: BundleIn, out: Out, expert: Experts, options: config.RelabelOptions, say: Say, force: Force = False
) -> None:
    """Give every image the soft label of an expert, an early-stopped one, or an ensemble."""
    _label(bundle, out, expert, options, say, force)


@command("densify", config.DensifyOptions)
def densify(
    bundle: BundleIn, out: Out, expert: Experts, options: config.DensifyOptions, say: Say, force: Force = False
) -> None:
    """Give N × N overlapping views of every image a label each (LADD)."""
    _label(bundle, out, expert, options, say, force)


@command("refine", config.RefineOptions)
def refine(bundle: BundleIn, out: Out, options: config.RefineOptions, say: Say, force: Force = False) -> None:
    """Mix the smoothed hard label into soft or dense labels (GIFT)."""
    from ddlabel.steps.refine import refine as step

    notes = []

    def run(source: Bundle) -> Bundle:
        refined = step(source, options)
        notes.append(f"before: {_figures(source, options.field)}\nafter:  {_figures(refined, options.field)}")
        return refined

    run_filter("refine", bundle, out, options, run, say, force)
    say.note(notes[0])


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


def _label(bundle: str, out: str, expert: Sequence[str], options: config.RelabelOptions, say: Say, force: bool) -> None:
    """Find the experts, pick their checkpoints, label, write, and say how good the labels are."""
    from ddlabel.steps import relabel as steps

    runs = [run for path in expert for run in Run.find(path)]
    if len({each.folder.resolve() for each in runs}) < len(runs):
        raise UsageError("an expert run is named twice, and would count twice: name each once")
    for each in runs:
        if not each.complete:
            done, planned = max(each.epochs.values(), default=0), each.about.steps / each.about.steps_per_epoch
            say.note(f"note: {each.folder} is unfinished: {done:g} of {planned:g} epochs")
    inputs: list[Input] = []

    def run(source: Bundle) -> Bundle:
        picks = steps.pick(source, runs, options.epoch)
        inputs.extend(Input(role="expert", name=r.folder.resolve().name, sha256=r.digest(at)) for r, at in picks)
        say.note(f"labels by {steps.source_of(picks)}")
        if options.epoch == "auto":
            share = share_of_best(len(source) / len(source.classes))
            say.note(f"auto: the first checkpoint with {100 * share:.0f} % of its run's best training accuracy")
        if isinstance(options, config.DensifyOptions):
            return steps.densify(source, picks, options)
        return steps.relabel(source, picks, options)

    name, field = ("densify", "dense") if isinstance(options, config.DensifyOptions) else ("relabel", "soft")
    say.note(_figures(run_filter(name, bundle, out, options, run, say, force, inputs), field))


def _figures(bundle: Bundle, field: str) -> str:
    """Label accuracy and mean entropy in a line."""
    from ddlabel.steps.relabel import label_figures

    return f"{field} labels: {figures_line(**label_figures(bundle, field))}"
