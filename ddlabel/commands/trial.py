"""`auto`: choosing by trial, with quick students tested on real training images that are held out from the bundle."""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ddlabel.commands.checkpoints import pick_checkpoints as pick
from ddlabel.commands.evaluate.experiment import Experiment, settle
from ddlabel.commands.evaluate.grid import train_students
from ddlabel.commands.labeling import label_images as relabel
from ddlabel.commands.refine import refine_labels as refine
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
_EPOCHS = 12  # checkpoints to try, at most
_HELD_OUT = 2000
Trials = dict[str, Array]  # accuracies of the quick students of each choice


def choose_epoch(
    bundle: Bundle,
    runs: Sequence[ExpertRun],
    options: RelabelOptions,
    real: Bundle,
    progress: Progress = iter,
) -> tuple[Checkpoints, RelabelOptions, Trials]:
    """The checkpoint and the temperature whose labels teach quick students best, where they are `auto`.

    First the epoch, at temperature 1 where that is auto too: the best one does not depend on it (Label-Worth, Fig. 5).
    Of many checkpoints up to twelve are tried, evenly on a logarithmic scale. No curve is laid through them: what one
    checkpoint's labels are worth differs from its neighbours' by more than the trials' noise.
    """
    pick(bundle, runs, options.epoch)  # refuses foreign experts
    trials: Trials = {}
    settled = replace(
        options, temperature=1.0 if options.temperature == "auto" else options.temperature
    )
    free = [run for run in runs if not run.epoch]
    if options.epoch == "auto" and free:
        common = set.intersection(*({*run.epochs.values()} for run in free))
        if not common:
            raise IncompatibleError(
                "--epoch auto: the runs have no checkpoint, or none of the same epoch"
            )
        names = [f"{epoch:g}" for epoch in _spread(sorted(common))]
        variants = [relabel(bundle, pick(bundle, runs, name), settled) for name in names]
        found = try_out(variants, real, options, "soft", "soft-ce", progress)
        trials |= {f"epoch {name}": each for name, each in zip(names, found, strict=True)}
        settled = replace(settled, epoch=names[found.mean(1).argmax()])
    picks = pick(bundle, runs, settled.epoch)
    if options.temperature == "auto":
        variants = [
            relabel(bundle, picks, replace(settled, temperature=each)) for each in TEMPERATURES
        ]
        found = try_out(variants, real, options, "soft", "soft-ce", progress)
        trials |= {f"temperature {t:g}": each for t, each in zip(TEMPERATURES, found, strict=True)}
        settled = replace(settled, temperature=TEMPERATURES[found.mean(1).argmax()])
    return picks, settled, trials


def choose_gamma(
    bundle: Bundle, options: RefineOptions, real: Bundle, progress: Progress = iter
) -> tuple[RefineOptions, Trials]:
    """The weight of the hard label whose refined labels teach quick students best, by the cosine loss."""
    each = [replace(options, gamma=gamma) for gamma in GAMMAS]
    found = try_out(
        [refine(bundle, one) for one in each], real, options, options.field, "cosine", progress
    )
    best = each[found.mean(1).argmax()]
    return best, {f"gamma {gamma:g}": row for gamma, row in zip(GAMMAS, found, strict=True)}


def try_out(
    variants: Sequence[Bundle],
    real: Bundle,
    options: TrialOptions,
    labels: str,
    loss: str,
    progress: Progress = iter,
) -> Array:
    """Accuracies [variants, trials] of quick students of each bundle on held-out real images, with paired seeds."""
    test = held_out(variants[0], real)
    per_epoch = math.ceil(len(variants[0]) / gift_batch_size(len(variants[0])))
    epochs = max(1, round(options.trial_steps / per_epoch))
    how = {
        "net": options.trial_net,
        "optimizer": "adamw:lr=0.003",
        "schedule": "cosine",
    } | options.runtime_settings
    students = EvaluateOptions(labels=labels, loss=loss, epochs=epochs, seeds=options.trials, **how)
    experiments = []
    for number, variant in enumerate(variants):
        digests = {"bundle": str(number)}
        experiment = Experiment.of(variant, test=test, options=students, digests=digests)
        experiments.append(settle(experiment))
    accuracies = np.zeros((len(variants), options.trials))
    for number, seed, record in train_students(experiments, progress=progress):
        accuracies[number, seed] = record.result["accuracy"]
    return accuracies


def held_out(bundle: Bundle, real: Bundle) -> Bundle:
    """Up to 2,000 real images, drawn once, that are not in the bundle; IncompatibleError if all of them are.

    Images that were made of real ones, as RDED's are, cannot be known again.
    """
    check_same_task("the bundle of real images", bundle, real)
    own = {_digest(image) for image in bundle.images}
    order = np.random.default_rng(rng.stream(0, "held out")).permutation(len(real))[
        : _HELD_OUT + len(bundle)
    ]
    rows = [row for row in order if _digest(real.images[row]) not in own][:_HELD_OUT]
    if not rows:
        raise IncompatibleError(
            "--real: all its images are in the bundle, and none is left to hold out"
        )
    return real.without_views().take(np.sort(rows))


def _digest(image: Array) -> bytes:
    """What stands for an image in either pixel space."""
    pixels = (
        image if image.dtype == np.uint8 else np.rint(255 * image.astype(np.float32)).clip(0, 255)
    )
    return hashlib.sha256(pixels.astype(np.uint8).tobytes()).digest()


def _spread(epochs: Sequence[float]) -> list[float]:
    """At most twelve of the epochs, evenly on a logarithmic scale, with the first and the last."""
    wanted = np.geomspace(epochs[0], epochs[-1], _EPOCHS)
    return sorted({min(epochs, key=lambda epoch: abs(math.log(epoch / each))) for each in wanted})
