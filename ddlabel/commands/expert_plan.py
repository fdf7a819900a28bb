"""Which expert runs `train-expert` makes: their folders, and the content of their `expert.json`."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, Self

from ddlabel.commands.run_differences import describe_differences, differing_fields
from ddlabel.core.config import TrainExpertOptions
from ddlabel.core.errors import IncompatibleError, OutputExistsError
from ddlabel.core.normalisation import MEASURED, conventions
from ddlabel.core.ranks import RANK
from ddlabel.data import atomic, whitening
from ddlabel.data.bundle import Bundle
from ddlabel.data.expert_run import ExpertInfo, ExpertRun
from ddlabel.data.image_folder import ImageFolder
from ddlabel.data.labels import Array
from ddlabel.data.run_files import INFO, RESUME, is_temporary
from ddlabel.data.run_lock import clear_leftovers, locked_folder
from ddlabel.data.statistics import statistics
from ddlabel.methods.augmentations import augment_of
from ddlabel.methods.optimizers import optimizer_of
from ddlabel.methods.schedules import rate_of
from ddlabel.training.labeler import network_of
from ddlabel.training.runtime import LastBatch


@dataclass(frozen=True, kw_only=True)
class RealImages:
    """The images that experts are trained on: a bundle, or a folder that is read meanwhile.

    Attributes:
        sample: The images in memory: the whole bundle, or a fixed random sample of the folder.
        num_images: The number of all images.
        digest: sha256 that stands for all images.
        folder: The folder, or None for a bundle.
    """

    sample: Bundle
    num_images: int
    digest: str
    folder: ImageFolder | None = None

    @classmethod
    def of_bundle(cls, bundle: Bundle, digest: str) -> Self:
        """Return the images of a bundle with this digest."""
        return cls(sample=bundle, num_images=len(bundle), digest=digest)

    @classmethod
    def of_folder(cls, folder: ImageFolder) -> Self:
        """Return the images of a folder of class folders."""
        return cls(
            sample=folder.sample(), num_images=len(folder), digest=folder.digest, folder=folder
        )

    def whitening(self) -> tuple[Array, Array]:
        """Return the mean [1, C, H, W] and the matrix [D, D] that whiten all images (ZCA).

        Raises:
            ResourceError: The images are larger than 64 px.
        """
        if self.folder is None:
            return whitening.fit(self.sample.images)
        return whitening.fit_blocks(self.folder.blocks())


class PlannedRun(NamedTuple):
    """An expert run to make, or to go on with: its folder and the content of `expert.json`."""

    folder: Path
    info: ExpertInfo

    @property
    def resume_file(self) -> Path:
        """The file that is there while the run is unfinished."""
        return self.folder / RESUME


def plan_runs(real: RealImages, folder: Path, options: TrainExpertOptions) -> list[PlannedRun]:
    """Return the runs that are still to be made.

    One expert has its run in `folder` itself, several have theirs in its subfolders `expert-0`,
    `expert-1` and so on.

    Raises:
        UsageError: A spec is unknown or does not fit the images.
        IncompatibleError: A run of other options or images is there.
        OutputExistsError: All runs are complete, or something else is in the folder.
    """
    num_channels = real.sample.images.shape[1]
    augment_of(options.augment, channels=num_channels, size=real.sample.side)
    runs = _all_runs(real, folder, options)
    for run in runs:
        optimizer_of(options.optimizer, network_of(run.info).parameters())
        lr_factor_of(options, run.info)
    return _unfinished(runs, folder)


def finished_runs(real: RealImages, folder: Path, options: TrainExpertOptions) -> list[ExpertRun]:
    """Return the runs if all of them are complete; otherwise none.

    Raises:
        IncompatibleError: A run of other options or images is there.
        OutputExistsError: Something else is in the folder.
    """
    runs = _all_runs(real, folder, options)
    are_finished = all(_is_finished(run.folder, run.info) for run in runs)
    return [ExpertRun(run.folder) for run in runs] if are_finished else []


@contextmanager
def locked_runs(planned: Sequence[PlannedRun], folder: Path) -> Iterator[list[PlannedRun]]:
    """Make the folders of runs, and lock them for the `with` block.

    The block is given the runs that are still to be made: another process may have made some
    before it released its locks. Under torchrun rank 0 alone has the locks.

    Raises:
        OutputExistsError: Another process is training one of them, or has made all of them.
    """
    with ExitStack() as locks:
        if RANK == 0:
            for run in planned:
                atomic.make_folder(run.folder)
                locks.enter_context(locked_folder(run.folder))
        yield _unfinished(planned, folder)


def _all_runs(real: RealImages, folder: Path, options: TrainExpertOptions) -> list[PlannedRun]:
    """Return the folder of every run and the content of its `expert.json`."""
    runs = []
    for number in range(options.experts):
        info = _info_of(real, replace(options, seed=options.seed + number, experts=1))
        run_folder = folder / f"expert-{number}" if options.experts > 1 else folder
        runs.append(PlannedRun(run_folder, info))
    return runs


def _unfinished(runs: Sequence[PlannedRun], folder: Path) -> list[PlannedRun]:
    """Return the runs that are not complete.

    Raises:
        IncompatibleError: A run of other options or images is there.
        OutputExistsError: All runs are complete, or something else is in the folder.
    """
    unfinished = []
    for run in runs:
        if _is_finished(run.folder, run.info):
            clear_leftovers(run.folder)
        else:
            unfinished.append(run)
    if not unfinished:
        raise OutputExistsError(
            f"{folder}: the expert run is complete already; give another folder"
        )
    return unfinished


def lr_factor_of(options: TrainExpertOptions, info: ExpertInfo) -> Callable[[int], float]:
    """Return the factor of the learning rate at each step of a run."""
    return rate_of(
        options.schedule,
        epochs=options.epochs,
        steps_per_epoch=info.steps_per_epoch,
        warm_up=options.warm_up,
    )


def passes_of(real: RealImages, info: ExpertInfo, options: TrainExpertOptions) -> dict[str, Any]:
    """Return the images that pass through the network of a run, as `Runtime.work` takes them."""
    return {
        "num_images": info.steps * options.batch_size,
        "shape": real.sample.images.shape[1:],
        "backward": True,
        "last_batch": LastBatch.of(real.num_images, options.batch_size, options.epochs),
    }


def checkpoint_steps(info: ExpertInfo, save_every: float) -> list[int]:
    """Return the steps to save at: every `save_every` epochs, in whole steps, and the last."""
    interval = save_every * info.steps_per_epoch
    # A quotient that is whole but for rounding counts as whole.
    num_intervals = int(info.steps / interval + 1e-9)
    steps = {info.steps}
    for number in range(1, num_intervals + 1):
        steps.add(max(1, round(number * interval)))
    return sorted(steps)


def _info_of(real: RealImages, options: TrainExpertOptions) -> ExpertInfo:
    """Return the content of `expert.json` for one expert."""
    steps_per_epoch = math.ceil(real.num_images / options.batch_size)
    mean, std = _normalisation(real.sample, options)
    return ExpertInfo(
        net=options.net,
        classes=real.sample.classes,
        channels=real.sample.images.shape[1],
        size=real.sample.side,
        mean=mean,
        std=std,
        zca=options.zca,
        seed=options.seed,
        steps_per_epoch=steps_per_epoch,
        steps=steps_per_epoch * options.epochs,
        data=real.digest,
        options=options.recorded(),
    )


def _normalisation(
    sample: Bundle, options: TrainExpertOptions
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean [C] and std [C] that an expert normalises images with."""
    if options.normalise is None:
        return sample.pixels.mean, sample.pixels.std
    if options.normalise == MEASURED:
        return statistics(sample.images)
    return conventions[options.normalise].of_channels(sample.images.shape[1])


def _is_finished(folder: Path, info: ExpertInfo) -> bool:
    """Return whether a folder has the complete run. A finished one of fewer epochs is a part of it.

    Raises:
        OutputExistsError: The path is a file, or the folder holds other things than expert runs.
        IncompatibleError: The folder has a run of other options or images, or of more epochs, or
            an unfinished one of fewer epochs.
    """
    if folder.exists() and not folder.is_dir():
        raise OutputExistsError(f"{folder} is a file: an expert run is a folder; give a new one")
    if not (folder / INFO).exists():
        _check_has_only_runs(folder)
        return False
    run = ExpertRun(folder)
    different = differing_fields(run.about, info)
    is_finished = run.complete and not (folder / RESUME).exists()
    if different == ["epochs", "steps"] and _has_whole_epochs(run.about):
        _check_has_fewer_epochs(run, info, is_finished=is_finished)
        return False
    if different:
        raise IncompatibleError(
            f"{folder} holds another run: {describe_differences(run.about, info)}: give another "
            "folder, or the same options and images"
        )
    return is_finished


def _has_whole_epochs(info: ExpertInfo) -> bool:
    """Return whether the steps of a run are those of its epochs: others may have written both."""
    epochs = info.options["epochs"]
    return type(epochs) is int and epochs > 0 and info.steps == epochs * info.steps_per_epoch


def _check_has_fewer_epochs(run: ExpertRun, info: ExpertInfo, *, is_finished: bool) -> None:
    """Raise IncompatibleError unless a run is finished and has fewer epochs than `info`.

    `expert_extension.check_extension` says whether such a run can go on.
    """
    there = run.about.options["epochs"]
    if run.about.steps > info.steps:
        raise IncompatibleError(
            f"--epochs {info.options['epochs']}: {run.folder} holds a run of {there} epochs "
            "already: give more epochs, or another folder"
        )
    if not is_finished:
        raise IncompatibleError(
            f"{run.folder} holds an unfinished run of {there} epochs: finish it with --epochs "
            f"{there} first, or give another folder"
        )


def _check_has_only_runs(folder: Path) -> None:
    """Raise OutputExistsError if a folder holds something and none of it is an expert run."""
    names = [path.name for path in folder.iterdir()] if folder.exists() else []
    # A process that was killed while it wrote the first file leaves a temporary one.
    is_used = not all(is_temporary(name) for name in names)
    if is_used and not list(folder.glob(f"expert-*/{INFO}")):
        raise OutputExistsError(f"{folder} is a folder with other things in it: give a new one")
