"""Picking the checkpoints of expert runs that label a bundle."""

from collections.abc import Sequence

from ddlabel.commands.reporter import Reporter
from ddlabel.core.errors import IncompatibleError, UsageError
from ddlabel.data.bundle import Bundle
from ddlabel.data.class_names import describe_difference
from ddlabel.data.early_stopping import early_stop
from ddlabel.data.expert_run import Checkpoint, Checkpoints, ExpertRun


def pick_checkpoints(
    bundle: Bundle, runs: Sequence[ExpertRun], epoch: str, *, ipc: float | None = None
) -> Checkpoints:
    """Return the checkpoint of every run: at the epoch that its path names, else at `epoch`.

    `auto` picks the checkpoint that suits the number of images per class (`early_stop`): `ipc`, or
    that of the bundle. Of a run with one checkpoint it is this one.

    Raises:
        IncompatibleError: An expert has other classes or takes other images.
        InvalidInputError: A run has no such checkpoint.
        UsageError: A checkpoint is named twice.
    """
    for run in runs:
        _check_fits(bundle, run)
    budget = len(bundle) / bundle.num_classes if ipc is None else ipc
    checkpoints = []
    for run in runs:
        wanted = run.epoch or epoch
        if wanted == "auto" and _has_one_epoch(run):
            wanted = "last"
        step = early_stop(run, budget).step if wanted == "auto" else run.step_of(wanted)
        checkpoints.append(Checkpoint(run, step))
    different = {(run.folder.resolve(), step) for run, step in checkpoints}
    if len(different) < len(checkpoints):
        raise UsageError(
            "an expert's checkpoint is named twice and would count twice: name each once"
        )
    return checkpoints


def pick_and_report(
    bundle: Bundle,
    runs: Sequence[ExpertRun],
    epoch: str,
    reporter: Reporter,
    *,
    ipc: float | None = None,
) -> Checkpoints:
    """Pick checkpoints as `pick_checkpoints`, and report where `auto` stops the runs and why."""
    checkpoints = pick_checkpoints(bundle, runs, epoch, ipc=ipc)
    chosen = [run for run in runs if not run.epoch and not _has_one_epoch(run)]
    if epoch != "auto" or not chosen:
        return checkpoints
    budget = len(bundle) / bundle.num_classes if ipc is None else ipc
    stops = {run.folder: early_stop(run, budget) for run in chosen}
    goal = 100 * next(iter(stops.values())).goal
    reporter.note(
        f"auto: the first checkpoint with {goal:.0f} % training accuracy, which suits {budget:g} "
        f"images of each of {bundle.num_classes} classes"
    )
    for folder, stop in stops.items():
        if not stop.is_reached:
            reporter.note(
                f"auto: no checkpoint of {folder} is that accurate, and its best one is taken: "
                "train longer, or name an epoch; relabel and densify choose by trial with --real"
            )
    return checkpoints


def _has_one_epoch(run: ExpertRun) -> bool:
    """Return whether there is nothing to choose from."""
    return len(run.saved_metrics()) <= 1


def _check_fits(bundle: Bundle, run: ExpertRun) -> None:
    """Check that an expert has the classes of a bundle and takes its images."""
    if run.about.classes != bundle.classes:
        difference = describe_difference(run.about.classes, bundle.classes, str(run.folder))
        raise IncompatibleError(f"the expert {run.folder} {difference}")
    check_images_fit(bundle, run)


def check_images_fit(bundle: Bundle, run: ExpertRun) -> None:
    """Check that an expert takes the images of a bundle.

    Raises:
        IncompatibleError: They have another shape than its own.
    """
    shape = bundle.images.shape[1:]
    expected = (run.about.channels, run.about.size, run.about.size)
    if shape != expected:
        raise IncompatibleError(
            f"the bundle has images {list(shape)} (C, H, W): the expert {run.folder} expects "
            f"{list(expected)}"
        )


def source_of(checkpoints: Checkpoints) -> str:
    """Return the experts and their epochs as the source of labels: `expert@5.5`."""
    names = []
    for checkpoint in checkpoints:
        name = checkpoint.run.folder.resolve().name
        names.append(f"{name}@{checkpoint.epoch:g}")
    return " + ".join(names)
