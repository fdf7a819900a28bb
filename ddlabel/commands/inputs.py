"""The inputs of commands: bundles and expert runs, given as paths or as objects."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ddlabel.commands.reporter import Reporter
from ddlabel.core.errors import UsageError
from ddlabel.data import formats
from ddlabel.data.bundle import FIELDS, Bundle
from ddlabel.data.expert_run import Checkpoints, ExpertRun
from ddlabel.data.provenance import Input, name_of_path, shell_lines
from ddlabel.data.reading import STANDARD, is_standard_input

BundleLike = str | Path | Bundle
RunLike = str | Path | ExpertRun


@dataclass(frozen=True, kw_only=True)
class OpenBundle:
    """A bundle, its digest, and its name in histories: `-` if it has no file."""

    bundle: Bundle
    digest: str
    name: str

    def as_input(self, role: str) -> Input:
        """Return the entry of a history for this bundle."""
        return Input(role=role, name=self.name, sha256=self.digest)

    @property
    def origin(self) -> dict[str, Any]:
        """Name, size, labels and history of this bundle: see `Record.origins`."""
        bundle = self.bundle
        sizes: dict[str, int] = {"images": bundle.images.nbytes}
        labels = {}
        for kind in ("hard", *FIELDS):
            arrays = [array for name, array in bundle.arrays.items() if name.startswith(kind)]
            sizes[kind] = sum(array.nbytes for array in arrays)
        for field in FIELDS:
            of_field = getattr(bundle, field)
            if of_field is not None:
                meta = of_field.meta
                labels[field] = {"source": meta.source, "temperature": meta.temperature}
        origin: dict[str, Any] = {
            "images": len(bundle),
            "classes": bundle.num_classes,
            "bytes": sizes,
            "labels": labels,
        }
        if self.bundle.file_name not in ("", STANDARD):
            origin["name"] = self.bundle.file_name
        return origin | {"made_by": shell_lines(self.bundle.history)}


def open_bundle(value: BundleLike) -> OpenBundle:
    """Read and verify a bundle from a path, `-` for standard input, or take an object as it is.

    Raises:
        InvalidInputError: The file is missing, foreign, cut off or damaged.
        UsageError: The value is neither a path nor a bundle.
    """
    if isinstance(value, Bundle):
        return OpenBundle(bundle=value, digest=value.digest, name=STANDARD)
    if not isinstance(value, str | Path):
        raise UsageError(
            f"expected a bundle or the path of one, got an object of type {type(value).__name__}: "
            "make a bundle of it with ddlabel.import_images"
        )
    bundle, header = formats.load(str(value))
    name = STANDARD if is_standard_input(value) else name_of_path(value)
    return OpenBundle(bundle=bundle, digest=header.digest, name=name)


def open_experts(values: Any, reporter: Reporter) -> list[ExpertRun]:
    """Find the expert runs that were named, and report which are unfinished or lack checkpoints.

    Raises:
        InvalidInputError: A path has no expert run.
    """
    runs: list[ExpertRun] = []
    for value in values:
        runs += [value] if isinstance(value, ExpertRun) else ExpertRun.find(str(value))
    for run in runs:
        _report_missing(run, reporter)
    return runs


def _report_missing(run: ExpertRun, reporter: Reporter) -> None:
    epochs = run.epochs
    missing = [f"{record['epoch']:g}" for record in run.metrics() if record["step"] not in epochs]
    if missing:
        listed = ", ".join(missing)
        reporter.note(f"note: {run.folder}: the checkpoints of epochs {listed} are missing")
    if not run.complete:
        done = max(epochs.values(), default=0)
        planned = run.about.steps / run.about.steps_per_epoch
        reporter.note(f"note: {run.folder} is unfinished: {done:g} of {planned:g} epochs")


def expert_inputs(checkpoints: Checkpoints) -> list[Input]:
    """Return the entries of a history for checkpoints."""
    inputs = []
    for checkpoint in checkpoints:
        # With its epoch, so that the command can be run again without choosing one.
        name = f"{name_of_path(checkpoint.run.folder)}@{checkpoint.epoch:g}"
        inputs.append(Input(role="expert", name=name, sha256=checkpoint.digest))
    return inputs


def source_paths(sources: Any, advice: str) -> list[Path]:
    """Return the paths of foreign files: one path, or several.

    Raises:
        UsageError: Something else was given. `advice` says what to do with it.
    """
    if isinstance(sources, str | os.PathLike):
        sources = [sources]
    for source in sources:
        if not isinstance(source, str | os.PathLike):
            raise UsageError(
                f"expected paths of files, got an object of type {type(source).__name__}: {advice}"
            )
    return [Path(source) for source in sources]


def check_one_standard_input(values: Sequence[Any]) -> None:
    """Check that at most one input is standard input.

    Raises:
        UsageError: Two inputs are `-` or a path of it.
    """
    if sum(isinstance(value, str) and is_standard_input(value) for value in values) > 1:
        raise UsageError("only one input can be standard input: name a file for the other")
