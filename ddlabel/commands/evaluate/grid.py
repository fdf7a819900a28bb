"""`evaluate`: students of every case of a grid, its comparisons and its controls."""

import math
from collections.abc import Callable, Iterator, Sequence, Set
from dataclasses import replace
from functools import lru_cache

import numpy as np

from ddlabel.commands.evaluate.device_cache import DeviceCache
from ddlabel.commands.evaluate.experiment import VIEWS_ONLY, Experiment, Record, settle
from ddlabel.commands.evaluate.records import key_of, record_of
from ddlabel.commands.evaluate.students import run
from ddlabel.commands.labeling import label_images as relabel
from ddlabel.commands.labeling import label_views
from ddlabel.core import rng
from ddlabel.core.config import RelabelOptions
from ddlabel.core.errors import IncompatibleError, UsageError
from ddlabel.data.bundle import Bundle, check_same_task
from ddlabel.data.labels import Views
from ddlabel.data.provenance import canonical_json
from ddlabel.methods.metrics import Summary, dd_ranking, summarise
from ddlabel.training.loop import Progress
from ddlabel.training.warning import warn_once


def evaluate(
    cases: Sequence[Experiment], done: Set[str], progress: Progress = iter
) -> Iterator[tuple[int, int, Record]]:
    """Train one student for each seed of each case; yields the case's number, the seed and the student's record.

    `cases` are settled ones; students whose key, as canonical JSON, is in `done` are left out. All cases of a seed
    come before the next seed: they have the same weights to begin with, the same order of images and, with the same
    augmentation, the same pictures, so that an online teacher labels those once for all.

    ResourceError if the device is not there.
    """
    bench = DeviceCache(cases)
    wanted: dict[str, tuple[int, int]] = {}  # by key: two cases may be one and the same
    for seed, number in sorted(
        (seed, number) for number, case in enumerate(cases) for seed in case.seeds
    ):
        wanted.setdefault(canonical_json(key_of(cases[number], seed)), (number, seed))
    pending = [student for key, student in wanted.items() if key not in done]
    largest, last = math.inf, None
    while pending:
        students = [(cases[number], seed) for number, seed in pending]
        stack = [pending[index] for index in bench.stack(students, largest)]
        if stack[0][1] != last:
            bench.forget()
            last = stack[0][1]
        try:
            outcomes = run(bench, [(cases[number], seed) for number, seed in stack], progress)
        except RuntimeError as error:  # out of memory, or a layer that cannot be stacked
            if len(stack) == 1:
                raise
            largest = len(stack) // 2
            warn_once(f"{len(stack)} students side by side: {error}; going on with {largest}")
            continue
        pending = [each for each in pending if each not in stack]
        for (number, seed), (figures, cost) in zip(stack, outcomes, strict=True):
            yield number, seed, record_of(cases[number], seed) | {"result": figures, "cost": cost}


def controls(case: Experiment, real: Bundle, digest: str, *, every: bool) -> list[Experiment]:
    """What a settled case is to be compared with, settled as well.

    `random`: as many random real images of each class, drawn anew for each seed, labelled in the same way, under the
    same protocol. With `every` what DD-Ranking's scores need besides: `hard`, the bundle with hard labels; `real`, all
    real images with hard labels, for `real_epochs`; `plain` and `random-plain`, the bundle and random images without
    augmentation.

    UsageError if the real images are too few, IncompatibleError if they are of another task, or random images
    cannot be labelled in the same way.
    """
    bundle = case.bundle(case.options.seed)
    check_same_task("the bundle of real images", bundle, real)
    options = case.options
    digests = (
        case.digests | {"real": digest} | ({"teacher": case.teacher_digest} if case.teacher else {})
    )
    random = replace(case, role="random", bundle=_draws(case, bundle, real), digests=digests)
    others = [random]
    if every:
        hard = replace(options, labels="hard", loss="ce", mix="none", **VIEWS_ONLY)
        plain = replace(options, augment="none", mix="none")
        full = replace(hard, epochs=options.real_epochs, batch_size=None)
        others += [
            replace(case, role="hard", options=hard),
            replace(case, role="real", bundle=lambda _: real, options=full, digests=digests),
            replace(case, role="plain", options=plain),
            replace(random, role="random-plain", options=plain),
        ]
    return [settle(other) for other in others]


def scores(accuracies: dict[str, Sequence[float]]) -> dict[str, Summary]:
    """DD-Ranking's scores from accuracies in [0, 1] by role, seed by seed: of `random` alone the first one.

    IOR: gain over random images under the same protocol. HLR: what hard labels lose against all real images. LRS =
    squash(½·IOR − ½·HLR) and ARS = squash(½·gain with + ½·gain without augmentation), see `metrics.dd_ranking`.
    """
    by_role = {role: np.asarray(values) for role, values in accuracies.items()}
    gain = by_role["own"] - by_role["random"]
    found = {"IOR": gain}
    if "real" in by_role:
        loss = found["HLR"] = by_role["real"] - by_role["hard"]
        bare_gain = by_role["plain"] - by_role["random-plain"]
        found["LRS"] = np.asarray([dd_ranking(a, -b) for a, b in zip(gain, loss, strict=True)])
        found["ARS"] = np.asarray([dd_ranking(a, b) for a, b in zip(gain, bare_gain, strict=True)])
    return {name: summarise(values.tolist()) for name, values in found.items()}


def _draws(case: Experiment, bundle: Bundle, real: Bundle) -> Callable[[int], Bundle]:
    """Random real images by seed, as many of each class as in the bundle, labelled as the bundle is."""
    options, wanted = case.options, np.bincount(bundle.hard_labels, minlength=len(bundle.classes))
    rows_of = [np.flatnonzero(real.hard_labels == number) for number in range(len(bundle.classes))]
    short = [
        name
        for name, rows, count in zip(real.classes, rows_of, wanted, strict=True)
        if len(rows) < count
    ]
    if short:
        raise UsageError(
            f"--real: images of class {short[0]!r} are fewer than the bundle's: take a larger set"
        )
    views = bundle.views
    if options.labels == "dense" and views and not (views.flip is None and views.mix is None):
        raise IncompatibleError(
            "--control: random images can have views of a grid only, not flipped or blended ones"
        )
    # The stored labels that the case learns from.
    fields = [
        field for field in ("dense", "soft") if field in (options.labels, options.global_labels)
    ]
    for field in fields:
        if (space := bundle.labels(field).meta.space) != "logits":
            why = f"the bundle's {field} labels are {space}, and random images can only be given an expert's logits"
            raise IncompatibleError(
                f"--control: {why}: evaluate unrefined labels, e.g. with --loss gift"
            )
        if not case.teacher:
            raise UsageError(
                f"--control: name with --teacher the expert that labels random images ({options.labels})"
            )

    @lru_cache(maxsize=1)  # every case of a seed asks for the same
    def draw(seed: int) -> Bundle:
        generator = np.random.default_rng(rng.stream(seed, "control"))
        rows = [
            generator.permutation(rows)[:count] for rows, count in zip(rows_of, wanted, strict=True)
        ]
        images = replace(real.without_views(), soft=None).take(np.concatenate(rows))
        for field in fields:
            made = RelabelOptions(
                temperature=bundle.labels(field).meta.temperature, **options.runtime_settings
            )
            if field == "soft":
                images = relabel(images, case.teacher, made)
            else:
                assert views is not None  # dense labels have views
                images = label_views(images, Views(boxes=views.boxes), case.teacher, made)
        return images

    return draw
