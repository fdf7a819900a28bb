"""Choosing what is `auto` by trial.

Quick students learn each choice of labels and are tested on real training images that are not in
the bundle.
"""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ddlabel.commands.checkpoints import pick_checkpoints
from ddlabel.commands.evaluate.experiment import Experiment, settle
from ddlabel.commands.evaluate.grid import train_students
from ddlabel.commands.labeling import Labelling
from ddlabel.commands.refine import refine_labels
from ddlabel.core import rng
from ddlabel.core.config import (
    EvaluateOptions,
    RefineOptions,
    RelabelOptions,
    TrialOptions,
    gift_batch_size,
)
from ddlabel.core.errors import IncompatibleError
from ddlabel.data.bundle import Bundle, check_same_task
from ddlabel.data.expert_run import Checkpoints, ExpertRun
from ddlabel.data.labels import Array
from ddlabel.training.loop import Progress

TEMPERATURES = (0.5, 0.7, 1.0, 1.5, 2.0, 3.0, 4.0)
GAMMAS = (0.0, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7)
_MAX_EPOCHS = 12
_MAX_HELD_OUT = 2000
# The accuracies [trials] of the quick students of each choice, by its name.
Trials = dict[str, Array]


def choose_epoch(
    bundle: Bundle,
    runs: Sequence[ExpertRun],
    options: RelabelOptions,
    real: Bundle,
    labelling: Labelling,
    progress: Progress = iter,
) -> tuple[Checkpoints, RelabelOptions, Trials]:
    """Choose the checkpoints and the temperature, where they are `auto`, by their labels.

    The students learn the labels that the command makes: of views those of `densify`.

    The epoch is chosen first, at temperature 1 if that is auto too: the best one does not depend on
    it (Label-Worth, Fig. 5). Of many checkpoints up to twelve are tried, evenly on a logarithmic
    scale. No curve is laid through them: the worth of one checkpoint's labels differs from its
    neighbours' by more than the noise of the trials.

    Returns:
        The checkpoints, the options with the choices in place of `auto`, and the accuracies.

    Raises:
        IncompatibleError: An expert does not fit the bundle, the runs have no epoch in common, or
            no real image can be held out.
    """
    # Picked for its checks: experts of other classes or images are refused.
    pick_checkpoints(bundle, runs, options.epoch)
    trials: Trials = {}
    settled = options
    if options.temperature == "auto":
        settled = replace(options, temperature=1.0)
    has_free_epoch = any(not run.epoch for run in runs)
    if options.epoch == "auto" and has_free_epoch:
        epoch, trials = _choose_free_epoch(bundle, runs, settled, real, labelling, progress)
        settled = replace(settled, epoch=epoch)
    checkpoints = pick_checkpoints(bundle, runs, settled.epoch)
    if options.temperature == "auto":
        choices = [replace(settled, temperature=temperature) for temperature in TEMPERATURES]
        variants = [labelling.label(bundle, checkpoints, choice, iter) for choice in choices]
        accuracies = _accuracies_of_labels(variants, real, options, labelling, progress)
        names = [f"temperature {temperature:g}" for temperature in TEMPERATURES]
        trials |= dict(zip(names, accuracies, strict=True))
        settled = choices[_best(accuracies)]
    return checkpoints, settled, trials


def _choose_free_epoch(
    bundle: Bundle,
    runs: Sequence[ExpertRun],
    options: RelabelOptions,
    real: Bundle,
    labelling: Labelling,
    progress: Progress,
) -> tuple[str, Trials]:
    """Choose the epoch of the runs whose path names none, and return the accuracies too."""
    epochs_of_runs = [set(run.epochs.values()) for run in runs if not run.epoch]
    common = set.intersection(*epochs_of_runs)
    if not common:
        raise IncompatibleError(
            "--epoch auto: the runs have no checkpoint, or none of the same epoch"
        )
    # Not shortened to six digits: the text has to find the checkpoint again.
    epochs = [repr(epoch) for epoch in _spread(sorted(common))]
    variants = []
    for epoch in epochs:
        checkpoints = pick_checkpoints(bundle, runs, epoch)
        variants.append(labelling.label(bundle, checkpoints, options, iter))
    accuracies = _accuracies_of_labels(variants, real, options, labelling, progress)
    names = [f"epoch {float(epoch):g}" for epoch in epochs]
    return epochs[_best(accuracies)], dict(zip(names, accuracies, strict=True))


def choose_gamma(
    bundle: Bundle, options: RefineOptions, real: Bundle, progress: Progress = iter
) -> tuple[RefineOptions, Trials]:
    """Choose the weight γ of the hard label by the refined labels, with the cosine loss.

    Returns:
        The options with the choice in place of `auto`, and the accuracies.

    Raises:
        IncompatibleError: The labels cannot be refined, or no real image can be held out.
    """
    choices = [replace(options, gamma=gamma) for gamma in GAMMAS]
    variants = [refine_labels(bundle, choice) for choice in choices]
    accuracies = accuracies_of_trials(
        variants, real, options, field=options.field, loss="cosine", progress=progress
    )
    names = [f"gamma {gamma:g}" for gamma in GAMMAS]
    trials = dict(zip(names, accuracies, strict=True))
    return choices[_best(accuracies)], trials


def accuracies_of_trials(
    variants: Sequence[Bundle],
    real: Bundle,
    options: TrialOptions,
    *,
    field: str,
    loss: str,
    progress: Progress = iter,
) -> Array:
    """Return accuracies [variants, trials] of quick students on held-out real images.

    The students of each bundle learn its labels `field` by a loss; their seeds are paired.

    Raises:
        IncompatibleError: The real images are another task, or none of them can be held out.
    """
    num_images = len(variants[0])
    steps_per_epoch = math.ceil(num_images / gift_batch_size(num_images))
    students = EvaluateOptions(
        labels=field,
        loss=loss,
        epochs=max(1, round(options.trial_steps / steps_per_epoch)),
        seeds=options.trials,
        net=options.trial_net,
        optimizer="adamw:lr=0.003",
        schedule="cosine",
        **options.runtime_settings,
    )
    return _accuracies(variants, held_out(variants[0], real), students, progress)


def _accuracies(
    variants: Sequence[Bundle], test: Bundle, students: EvaluateOptions, progress: Progress
) -> Array:
    """Return the test accuracies [variants, seeds] of students of each bundle."""
    experiments = []
    for number, variant in enumerate(variants):
        experiment = Experiment.of(
            variant, test=test, options=students, digests={"bundle": str(number)}
        )
        experiments.append(settle(experiment))
    accuracies = np.zeros((len(variants), students.seeds))
    for number, seed, record in train_students(experiments, progress=progress):
        accuracies[number, seed] = record.result["accuracy"]
    return accuracies


def held_out(bundle: Bundle, real: Bundle) -> Bundle:
    """Return up to 2,000 real images, drawn once, that are not in the bundle.

    Images that were made of real ones, as those of RDED are, cannot be recognised.

    Raises:
        IncompatibleError: The real images are another task, or all of them are in the bundle.
    """
    check_same_task("the bundle of real images", bundle, real)
    digests_of_bundle = {_digest(image) for image in bundle.images}
    generator = np.random.default_rng(rng.stream(0, "held out"))
    # At most as many of the drawn images as the bundle has are in the bundle.
    drawn = generator.permutation(len(real))[: _MAX_HELD_OUT + len(bundle)]
    rows = [row for row in drawn if _digest(real.images[row]) not in digests_of_bundle]
    if not rows:
        raise IncompatibleError(
            "--real: all its images are in the bundle, and none is left to hold out: use more"
        )
    return real.without_views().take(np.sort(rows[:_MAX_HELD_OUT]))


def _accuracies_of_labels(
    variants: Sequence[Bundle],
    real: Bundle,
    options: RelabelOptions,
    labelling: Labelling,
    progress: Progress,
) -> Array:
    return accuracies_of_trials(
        variants,
        real,
        options,
        field=labelling.field,
        loss=labelling.loss,
        progress=progress,
    )


def _best(accuracies: Array) -> int:
    """Return the choice with the largest mean of accuracies [choices, trials]."""
    return int(accuracies.mean(1).argmax())


def _digest(image: Array) -> bytes:
    """Return a digest of an image that is the same in either pixel space."""
    pixels = image
    if image.dtype != np.uint8:
        pixels = np.rint(255 * image.astype(np.float32)).clip(0, 255)
    return hashlib.sha256(pixels.astype(np.uint8).tobytes()).digest()


def _spread(epochs: Sequence[float]) -> list[float]:
    """Return at most twelve of the epochs, evenly on a logarithmic scale, with first and last."""
    wanted_epochs = np.geomspace(epochs[0], epochs[-1], _MAX_EPOCHS)
    return sorted({_nearest(epochs, wanted) for wanted in wanted_epochs})


def _nearest(epochs: Sequence[float], wanted: float) -> float:
    """Return the nearest epoch on a logarithmic scale."""
    return min(epochs, key=lambda epoch: abs(math.log(epoch / wanted)))
