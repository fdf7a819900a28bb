"""`ddlabel info`."""

import shlex
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ddlabel.cli.command import cli_command
from ddlabel.cli.reporter import TerminalReporter
from ddlabel.commands.command import load_command
from ddlabel.core.normalisation import conventions

if TYPE_CHECKING:  # numpy takes time to import, and --help needs none
    from ddlabel.data.expert_run import ExpertRun
    from ddlabel.data.record import Record
    from ddlabel.data.schema import Header

_MOST_CLASSES_SHOWN = 12


_PathArgument = Annotated[
    str, typer.Argument(metavar="PATH", help="bundle, expert run, results file or foreign source")
]


@cli_command("info")
def info(path: _PathArgument, *, reporter: TerminalReporter) -> None:
    """Show what a file or folder is: a bundle, an expert run, results, or something to import.

    Of a bundle: shapes, classes, label spaces, and the commands that made it.

    Example: ddlabel info soft.safetensors
    """
    command = load_command("info")
    found = command.run({"path": path}, None, reporter)
    reporter.result(_lines(found), command.json_value(found))


def _lines(found: Any) -> list[str]:
    """Return what was found as lines."""
    from ddlabel.commands.info import Foreign, shell_pipeline
    from ddlabel.data.expert_run import ExpertRun
    from ddlabel.data.schema import Header

    if isinstance(found, Header):
        return _header_lines(found, shell_pipeline(found))
    if isinstance(found, Foreign):
        read_by = f"ddlabel import {shlex.quote(found.path)} OUT"
        lines = [f"{found.what} (--format {found.kind})", f"read it with  {read_by}"]
        if found.takes_pixels:
            lines.append("it asks for --pixels and --normalise if the pixels are no bytes")
        return lines
    if isinstance(found[0], ExpertRun):
        return [line for run in found for line in _run_lines(run)]
    return _record_lines(found)


def _run_lines(run: "ExpertRun") -> list[str]:
    """Return an expert run as lines: network, classes, and the first and last checkpoint."""
    about = run.about
    records = run.metrics()
    state = "complete" if run.complete else "unfinished: the same train-expert goes on"
    lines = [
        f"expert run   {run.folder} ({state})",
        f"network      {about.net} for {about.channels} × {about.size} × {about.size}",
        f"normalise    {'ZCA' if about.zca else _normalisation(about.mean, about.std)}",
        f"classes      {_class_names(about.classes)}",
        f"checkpoints  {len(records)}",
    ]
    for record in records[:1] + records[1:][-1:]:
        accuracies = [
            f"{name.removesuffix('_accuracy')} {100 * value:.1f} %"
            for name, value in record.items()
            if name.endswith("_accuracy")
        ]
        lines.append(f"    epoch {record['epoch']:g}: {', '.join(accuracies) or 'no accuracy'}")
    return lines


def _record_lines(records: "list[Record]") -> list[str]:
    """Return the records of a results file as lines: how many, of what, by which version."""
    kinds = Counter(record.kind for record in records)
    counts = ", ".join(f"{number} records of kind {kind}" for kind, number in kinds.items())
    versions = ", ".join(sorted({record.version for record in records}))
    lines = [f"results      {counts}", f"made by      ddlabel {versions}"]
    students = [record.result["accuracy"] for record in records if record.kind == "student"]
    if students:
        mean = 100 * sum(students) / len(students)
        lines += [f"accuracy     {mean:.1f} % on average", "see          ddlabel compare"]
    return lines


def _header_lines(header: "Header", shell: list[str]) -> list[str]:
    """Return a header as lines, with the commands that made the bundle at the end."""
    num_images, *image_shape = header.arrays["images"].shape
    size = " × ".join(map(str, image_shape))
    lines = [
        f"images       {num_images} of {size}, {header.pixels.space}",
        f"normalise    {_normalisation(header.pixels.mean, header.pixels.std)}",
        f"classes      {_class_names(header.classes)}",
    ]
    lines.append(f"hard         a class for each image, {_per_class(num_images, header.classes)}")
    for field, meta in (("soft", header.soft), ("dense", header.dense)):
        if meta is not None:
            stored = header.arrays[f"{field}_labels"]
            shape = " × ".join(map(str, stored.shape[1:]))
            temperature = f"temperature {meta.temperature:g}"
            lines.append(
                f"{field:<13}{shape} {meta.space} as {stored.dtype}, {temperature}, "
                f"from {meta.source}"
            )
    for entry in header.history:
        for name, value in entry.facts.items():
            lines.append(f"{name.replace('_', ' '):<13}{_shown(value)}")
    lines += [f"digest       {header.digest}", "made by"]
    return lines + [f"    {line}" for line in shell]


def _normalisation(mean: Sequence[float], std: Sequence[float]) -> str:
    """Return mean and deviation as text, with the name of their convention if they have one."""
    means = " ".join(f"{value:.4f}" for value in mean)
    deviations = " ".join(f"{value:.4f}" for value in std)
    convention = conventions.name_of(tuple(mean), tuple(std))
    return f"mean {means}, std {deviations}{f' ({convention})' if convention else ''}"


def _per_class(num_images: int, classes: Sequence[str]) -> str:
    """Return how many images a class has on average: the header has no counts."""
    return f"{num_images / len(classes):.4g} of each class on average"


def _class_names(classes: Sequence[str]) -> str:
    names = ", ".join(classes[:_MOST_CLASSES_SHOWN])
    more = len(classes) - _MOST_CLASSES_SHOWN
    return f"{len(classes)}: {names}{f', … {more} more' if more > 0 else ''}"


def _shown(fact: Any) -> str:
    """Return a fact of the history as text: of accuracies by network, their means."""
    if isinstance(fact, dict):
        return ", ".join(f"{name} {_shown(value)}" for name, value in fact.items())
    if isinstance(fact, list):
        return f"{sum(fact) / len(fact):.4g} (mean of {len(fact)})"
    return f"{fact:.6g}" if isinstance(fact, float) else str(fact)
