"""`train-expert`: labelers from real images, with a checkpoint every epoch or fraction of one."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ddlabel.commands.command import command
from ddlabel.commands.expert_extension import check_extension, shorter_run
from ddlabel.commands.expert_plan import PlannedRun, RealImages, locked_runs, plan_runs
from ddlabel.commands.expert_training import train_run
from ddlabel.commands.inputs import BundleLike, check_one_standard_input, open_bundle
from ddlabel.commands.reporter import Reporter
from ddlabel.core import interruption
from ddlabel.core.config import TrainExpertOptions
from ddlabel.core.errors import UsageError
from ddlabel.core.ranks import NUM_RANKS
from ddlabel.data.bundle import Bundle, check_same_task
from ddlabel.data.expert_run import ExpertRun
from ddlabel.data.image_folder import ImageFolder
from ddlabel.data.provenance import sha256_of_path
from ddlabel.training import distributed

# The numbers of a checkpoint's record that are reported.
_NUMBERS = ("epoch", "loss", "train_accuracy", "test_accuracy")


def runs_as_json(runs: list[ExpertRun]) -> Any:
    """Return the folder and the checkpoints of the run; a list if there are several."""
    values = [{"out": str(run.folder), "checkpoints": run.metrics()} for run in runs]
    return values[0] if len(values) == 1 else values


@command("train-expert", TrainExpertOptions, json_value=runs_as_json)
def train_expert(
    real: BundleLike, out: str | Path, *, options: TrainExpertOptions, reporter: Reporter
) -> list[ExpertRun]:
    """Train experts on real images and keep their checkpoints.

    A run that was killed goes on where it stopped, and a finished one with more epochs after its
    last one, to the same bytes as a fresh run's.

    Args:
        real: A bundle, or a folder of class folders whose images are read while they are used.
        out: The folder of the run; of several runs, the folder of their folders.
        options: The options.
        reporter: Reports every checkpoint.

    Returns:
        The runs that were made; those that were complete before are left out.

    Raises:
        UsageError: A spec is unknown, or does not fit the images.
        IncompatibleError: `out` has a run of other options or images, or one of fewer epochs that
            cannot go on to the same bytes, or the test images have other classes or another shape.
        OutputExistsError: All runs are complete, something else is in `out`, or another process is
            training one of the runs.
        InvalidInputError: An input cannot be read, or training diverges.
        ResourceError: The device is not there.
    """
    check_one_standard_input([real, options.test])
    images = open_real_images(real, options)
    tested = None if options.test is None else open_bundle(options.test)
    planned = plan_runs(images, Path(out), options)
    if tested is not None:
        check_same_task(f"the test set {tested.name}", images.sample, tested.bundle)
    test = None if tested is None else tested.bundle
    with locked_runs(planned, Path(out)) as unfinished:
        for plan in unfinished:
            check_extension(plan, images, options, test)
        _join_ranks(images, unfinished, options)
        runs: list[ExpertRun] = []
        with interruption.outlook(lambda: _outlook(unfinished[len(runs) :], planned, Path(out))):
            for plan in unfinished:
                runs.append(_train(images, plan, options, test, reporter))
    return runs


def _outlook(
    remaining: Sequence[PlannedRun], planned: Sequence[PlannedRun], out: Path
) -> str | None:
    """Return what the same command does if this one ends while no step is trained."""
    if not remaining:
        return interruption.is_finished(str(out))
    current = remaining[0]
    if current.resume_file.exists() or current != planned[0]:
        return interruption.goes_on_from(f"where it stopped in {current.folder}")
    return None


def _train(
    images: RealImages,
    plan: PlannedRun,
    options: TrainExpertOptions,
    test: Bundle | None,
    reporter: Reporter,
) -> ExpertRun:
    """Train one expert and report its checkpoints."""
    shorter = shorter_run(plan)
    if shorter is not None:
        reporter.note(f"{plan.folder}: going on after its {shorter.about.options['epochs']} epochs")
    if plan.resume_file.exists():
        reporter.note(f"{plan.folder}: going on where an earlier run stopped")

    def report(record: dict[str, Any]) -> None:
        reporter.note(_record_line(record))
        numbers = {name: record[name] for name in _NUMBERS if name in record}
        reporter.numbers(plan.folder.name, record["step"], numbers)

    return train_run(
        images,
        plan,
        options,
        test=test,
        report=report,
        progress=reporter.progress,
    )


def open_real_images(real: BundleLike, options: TrainExpertOptions) -> RealImages:
    """Open a bundle, or a folder of class folders.

    Raises:
        UsageError: `--size` is missing for a folder, or it or `--workers` is given for a bundle.
        InvalidInputError: The input cannot be read.
    """
    if isinstance(real, Bundle) or not Path(real).is_dir():
        opened = open_bundle(real)
        _check_no_folder_options(opened.bundle, options)
        return RealImages.of_bundle(opened.bundle, opened.digest)
    if options.size is None:
        raise UsageError(f"{real} is a folder: name the side of its images with --size, e.g. 224")
    return RealImages.of_folder(ImageFolder.open(Path(real), options.size))


def _check_no_folder_options(bundle: Bundle, options: TrainExpertOptions) -> None:
    """Raise UsageError if an option for folders is given that would have an effect."""
    is_other_size = options.size not in (None, bundle.side)
    if is_other_size or options.workers != TrainExpertOptions.workers:
        raise UsageError(
            f"--size and --workers are for a folder of images: this bundle has {bundle.side} px; "
            "leave them out"
        )


def _join_ranks(images: RealImages, planned: list[PlannedRun], options: TrainExpertOptions) -> None:
    """Under torchrun, meet the other ranks, which must have the same options and inputs."""
    if NUM_RANKS == 1:
        return
    inputs: dict[str, Any] = {"command": type(options).__name__}
    inputs |= options.recorded()
    inputs["images"] = images.digest
    inputs["unfinished runs"] = [sha256_of_path(plan.resume_file) for plan in planned]
    distributed.join(options.device, inputs)


def _record_line(record: dict[str, Any]) -> str:
    """Return a checkpoint's record as a line for people."""
    parts = [f"loss {record['loss']:.4f}", f"train {100 * record['train_accuracy']:.1f} %"]
    if "test_accuracy" in record:
        parts.append(f"test {100 * record['test_accuracy']:.1f} %")
    return f"epoch {record['epoch']:g}: {', '.join(parts)}"
