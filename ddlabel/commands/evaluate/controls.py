"""Controls: what the labels of an experiment are compared with, and DD-Ranking's scores."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache

import numpy as np

from ddlabel.commands.checkpoints import source_of
from ddlabel.commands.evaluate.experiment import (
    OWN,
    VIEW_OPTIONS,
    Experiment,
    same_for_all_seeds,
    settle,
)
from ddlabel.commands.evaluate.stored_labels import StoredLabeler, labelers_of
from ddlabel.commands.inputs import OpenBundle
from ddlabel.core import rng
from ddlabel.core.errors import UsageError
from ddlabel.data.bundle import Bundle, check_same_task
from ddlabel.data.labels import Array
from ddlabel.methods.intervals import Summary, summarise
from ddlabel.methods.metrics import dd_ranking


def control_experiments(
    experiment: Experiment, real: OpenBundle, *, for_scores: bool
) -> list[Experiment]:
    """Return the settled experiments that a settled experiment is compared with.

    `random` has as many random real images of each class, drawn anew for each seed, labelled by the
    same experts in the same way, normalised alike, under the same protocol. With `for_scores` there
    are also those that DD-Ranking's scores need:

    - `hard`: the bundle with hard labels;
    - `real`: all real images with hard labels, for `real_epochs`;
    - `plain` and `random-plain`: the bundle and random images without augmentation.

    Args:
        experiment: The experiment.
        real: All real images.
        for_scores: Whether to return all that the scores need.

    Raises:
        UsageError: There are too few real images, or no expert to label them.
        IncompatibleError: The real images are of another task, or cannot be labelled in the same
            way.
    """
    bundle = experiment.bundle_for(experiment.options.seed)
    check_same_task("the bundle of real images", bundle, real.bundle)
    digests = experiment.digests | {"real": real.digest}
    origins = experiment.origins | {"real": real.origin}
    labelers = labelers_of(experiment.options, bundle, experiment.teacher)
    for labeler in labelers:
        digests |= {f"{labeler.field} labeler": labeler.digest}
        origins |= {f"{labeler.field} labeler": {"name": source_of(labeler.experts)}}
    pixels = replace(real.bundle.pixels, mean=bundle.pixels.mean, std=bundle.pixels.std)
    images = replace(real.bundle, pixels=pixels)
    draw = _random_bundles(bundle, images, labelers)
    random = replace(experiment, role="random", bundle_for=draw, digests=digests, origins=origins)
    controls = [random]
    if for_scores:
        options = experiment.options
        hard = replace(options, labels="hard", loss="ce", mix="none", **VIEW_OPTIONS)
        plain = replace(options, augment="none", mix="none")
        full = replace(hard, epochs=options.real_epochs, batch_size=None)
        all_real = same_for_all_seeds(images)
        controls += [
            replace(experiment, role="hard", options=hard),
            replace(random, role="real", bundle_for=all_real, options=full),
            replace(experiment, role="plain", options=plain),
            replace(random, role="random-plain", options=plain),
        ]
    return [settle(control) for control in controls]


def dd_ranking_scores(accuracies: Mapping[str, Sequence[float]]) -> dict[str, Summary]:
    """Return DD-Ranking's scores from accuracies in [0, 1] by role, seed by seed.

    IOR is the gain over random images under the same protocol. It is the only score if there are no
    controls but `random`. HLR is what hard labels lose against all real images. With both,
    LRS = squash(½·IOR − ½·HLR), and ARS = squash(½·gain with + ½·gain without augmentation): see
    `metrics.dd_ranking`.
    """
    by_role = {role: np.asarray(values) for role, values in accuracies.items()}
    gain = by_role[OWN] - by_role["random"]
    scores: dict[str, Array] = {"IOR": gain}
    if "real" in by_role:
        loss = by_role["real"] - by_role["hard"]
        plain_gain = by_role["plain"] - by_role["random-plain"]
        scores["HLR"] = loss
        scores["LRS"] = _dd_ranking(gain, -loss)
        scores["ARS"] = _dd_ranking(gain, plain_gain)
    return {name: summarise(values.tolist()) for name, values in scores.items()}


def _dd_ranking(first: Array, second: Array) -> Array:
    """Return DD-Ranking's score for every seed."""
    return np.asarray([dd_ranking(a, b) for a, b in zip(first, second, strict=True)])


def _random_bundles(
    bundle: Bundle, real: Bundle, labelers: Sequence[StoredLabeler]
) -> Callable[[int], Bundle]:
    """Return a function that draws random real images for a seed.

    There are as many of each class as in the bundle, and they are labelled as the bundle is.
    """
    images_per_class = np.bincount(bundle.hard_labels, minlength=bundle.num_classes)
    rows_per_class = [
        np.flatnonzero(real.hard_labels == number) for number in range(real.num_classes)
    ]
    for name, rows, needed in zip(real.classes, rows_per_class, images_per_class, strict=True):
        if len(rows) < needed:
            raise UsageError(
                f"--real has {len(rows)} images of class {name!r} and the bundle has {needed}: "
                "use a larger set of real images"
            )

    @lru_cache(maxsize=1)  # all experiments of a seed ask for the same images
    def draw(seed: int) -> Bundle:
        generator = np.random.default_rng(rng.stream(seed, "control"))
        drawn = []
        for rows, needed in zip(rows_per_class, images_per_class, strict=True):
            drawn.append(generator.permutation(rows)[:needed])
        images = replace(real.without_views(), soft=None).take(np.concatenate(drawn))
        for labeler in labelers:
            images = labeler.label(images)
        return images

    return draw
