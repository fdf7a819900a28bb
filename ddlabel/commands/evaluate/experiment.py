"""Cases: the cells of an evaluation, settled and checked before any training."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ddlabel.core import protocols, rng
from ddlabel.core.config import EvaluateOptions, gift_batch_size
from ddlabel.core.errors import UsageError
from ddlabel.data.bundle import Bundle, check_same_task
from ddlabel.data.expert_run import Checkpoints
from ddlabel.data.labels import Array
from ddlabel.methods.augmentations import augment_of
from ddlabel.methods.labels.target import Target
from ddlabel.methods.losses import loss_of
from ddlabel.methods.mixing import mix_of
from ddlabel.methods.nets import Network, build
from ddlabel.methods.nets.prepare import Prepare, normalisation
from ddlabel.methods.optimizers import optimizer_of
from ddlabel.methods.schedules import rate_of
from ddlabel.training.batches import (
    BatchTransform,
    OnlineLabels,
    SplitTarget,
    ViewIndex,
    image_batches,
    view_batches,
)
from ddlabel.training.cost import flops
from ddlabel.training.device_data import DeviceBundle
from ddlabel.training.labeler import network_flops
from ddlabel.training.loop import Batch

Record = dict[str, Any]
# Options that mean something for dense labels only, with their defaults.
VIEWS_ONLY = EvaluateOptions.only_with("labels=dense")


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """One cell of a grid: what students learn from, how, and what they are tested on.

    `bundle` gives the images and labels of a seed: a random control draws others for each. `digests` name the inputs,
    `role` what the case is there for beside the labels that are evaluated.
    """

    bundle: Callable[[int], Bundle]
    test: Bundle
    options: EvaluateOptions
    digests: dict[str, str]
    teacher: Checkpoints = ()
    whitening: tuple[Array, Array] | None = None
    role: str = "own"

    @property
    def seeds(self) -> range:
        """The seeds of the students."""
        return range(self.options.seed, self.options.seed + self.options.seeds)

    @property
    def teacher_digest(self) -> str:
        """What stands for the teacher's checkpoints."""
        return " + ".join(run.digest(step) for run, step in self.teacher)


def settle(case: Experiment) -> Experiment:
    """The case with every default settled, after refusing what can be refused before any training.

    UsageError for a spec that cannot be resolved, or options that do not go together, IncompatibleError if the
    labels are missing or the loss cannot use them, or the test set is another task.
    """
    bundle, options = case.bundle(case.options.seed), case.options
    check_same_task("the test set", bundle, case.test)
    labels = _labels(bundle, options, bool(case.teacher))
    options = replace(
        options, labels=labels, batch_size=options.batch_size or gift_batch_size(len(bundle))
    )
    if labels != "dense":  # what a protocol sets for views does not count without them
        preset = protocols.preset(options.protocol, options.net)
        own = {
            name: value
            for name, value in VIEWS_ONLY.items()
            if getattr(options, name) == preset.get(name)
        }
        options = replace(options, **own)
    if labels != "online":
        options = replace(options, teacher_epoch=EvaluateOptions.teacher_epoch)
    digests = case.digests | ({"teacher": case.teacher_digest} if labels == "online" else {})
    case = replace(case, options=options, digests=digests)
    # The labels are known now, so the options that go with some labels only are checked again.
    options.check_together(objects=("teacher",) if case.teacher else (), about="labels")
    _check_options(bundle, options)
    _try_a_step(bundle, case)
    return case


def student(case: Experiment, bundle: Bundle, seed: int) -> Network:
    """A student with fresh weights for the images and classes of a bundle."""
    channels, size = bundle.images.shape[1], bundle.side
    prepare = normalisation(bundle.pixels.mean, bundle.pixels.std)
    if case.whitening is not None:
        mean, matrix = map(torch.from_numpy, case.whitening)
        prepare = Prepare(mean, torch.ones(1), matrix)
    weights = rng.stream(seed, "weights")
    return build(
        case.options.net,
        prepare,
        channels=channels,
        size=size,
        num_classes=len(bundle.classes),
        seed=weights,
    )


def batches(
    options: EvaluateOptions,
    data: DeviceBundle,
    prepare: Prepare,
    seed: int,
    teach: OnlineLabels | None,
) -> Batch:
    """What a student is trained on, step by step."""
    augment = augment_of(options.augment, channels=data.images.shape[1], size=data.images.shape[2])
    pictures = BatchTransform(
        prepare=prepare, augment=augment, mix=None if options.mix == "none" else mix_of(options.mix)
    )
    size = options.batch_size or 1
    if options.labels != "dense":
        target = data.soft_target if options.labels == "soft" else data.hard_target
        return image_batches(data, pictures, target, batch_size=size, seed=seed, online=teach)
    items = ViewIndex(data, options.global_labels)
    together, split = options.dense_batches != "mix", options.dense_loss is not None
    return view_batches(items, pictures, together=together, batch_size=size, seed=seed, split=split)


def steps_per_epoch(options: EvaluateOptions, images: int) -> int:
    """Steps until every image was taken once; with mixed batches of views, an epoch costs the same."""
    return -(-images // (options.batch_size or 1))


def shown_per_epoch(options: EvaluateOptions, data: DeviceBundle | Bundle) -> int:
    """Images and views that an epoch shows to the student."""
    if options.labels != "dense" or options.dense_batches == "mix" or data.views is None:
        return len(data)
    return len(data) * (data.views.boxes.shape[-2] + (options.global_labels != "none"))


def training_flops(case: Experiment, bundle: Bundle) -> int:
    """Floating-point operations of training a student on a bundle, with those of its teacher online."""
    per_image = flops(student(case, bundle, 0).body, bundle.images.shape[1:], backward=True)
    if case.options.labels == "online":
        per_image += sum(network_flops(run.about, backward=False) for run, _ in case.teacher)
    return per_image * shown_per_epoch(case.options, bundle) * case.options.epochs


def loss_for(
    options: EvaluateOptions, data: DeviceBundle
) -> Callable[[Tensor, Target | SplitTarget, int], Tensor]:
    """The loss of a step: of a target, or of a split one with the views' own loss.

    LADD's sum over an image and its views (Eq. 5) is their number times the mean over all of them.
    """
    specs = (options.loss, options.dense_loss or options.loss)
    whole, views = (
        loss_of(spec, steps_per_epoch=steps_per_epoch(options, len(data))) for spec in specs
    )
    factor = shown_per_epoch(options, data) // len(data) if options.dense_batches == "sum" else 1

    def loss(logits: Tensor, target: Target | SplitTarget, step: int) -> Tensor:
        if isinstance(target, Target):
            return factor * whole(logits, target, step)
        total = logits.new_zeros(())
        for rows, part, of in (
            (~target.is_view, target.whole, whole),
            (target.is_view, target.views, views),
        ):
            if rows.any():
                total = total + rows.sum() * of(logits[rows], part.take(rows), step)
        return factor * total / len(logits)

    return loss


def _labels(bundle: Bundle, options: EvaluateOptions, taught: bool) -> str:
    """The labels to learn from: auto takes those of a teacher, else the richest that are there."""
    wanted = options.labels
    if wanted == "auto":
        stored = (
            "dense" if bundle.dense is not None else "soft" if bundle.soft is not None else "hard"
        )
        return "online" if taught and options.control == "none" else stored
    if wanted in ("soft", "dense"):
        bundle.labels(wanted)  # refuses if there are none
    return wanted


def _check_options(bundle: Bundle, options: EvaluateOptions) -> None:
    """Refuse options that do not fit the bundle."""
    if options.continual is not None and options.continual > len(bundle.classes):
        raise UsageError(
            f"--continual {options.continual}: there are {len(bundle.classes)} classes; take fewer steps"
        )
    if _mixes(bundle) and (options.select == "val" or options.continual is not None):
        raise UsageError(
            "views are blended across images: --select val and --continual, which part them, cannot be"
        )
    if (
        options.select == "val"
        and np.bincount(bundle.hard_labels, minlength=len(bundle.classes)).min() < 2
    ):
        raise UsageError(
            "--select val holds out images of every class, and one has a single image: use --select last"
        )
    rate_of(options.schedule, epochs=options.epochs, steps_per_epoch=1, warm_up=options.warm_up)


def _mixes(bundle: Bundle) -> bool:
    return bundle.views is not None and bundle.views.mix is not None


def _try_a_step(bundle: Bundle, case: Experiment) -> None:
    """Carry out one small step: a network, an augmentation or a loss that does not fit says so now."""
    options = case.options
    network = student(case, bundle, options.seed)
    optimizer_of(options.optimizer, network.parameters())
    # The last batch may be the smallest: batch norm cannot train on one image.
    if bundle.views is not None and bundle.views.mix is not None:
        # Blend each image with itself: its partner need not be among the few.
        own_row = np.arange(len(bundle))[:, None].repeat(bundle.views.num_views, 1)
        bundle = replace(bundle, views=replace(bundle.views, mix=own_row))
    last = len(bundle) % (options.batch_size or 1) or (options.batch_size or 1)
    data = DeviceBundle.of(bundle.take(np.arange(min(2, last, len(bundle)))), torch.device("cpu"))
    teach = (
        (lambda x, _: torch.ones(len(x), len(bundle.classes)))
        if options.labels == "online"
        else None
    )
    images, target = batches(options, data, network.prepare, options.seed, teach)(0)
    try:
        with torch.random.fork_rng(devices=[]):
            logits = torch.ones_like(network.body(images))
    except (RuntimeError, ValueError) as error:
        raise UsageError(
            f"--net {options.net} cannot train on {len(images)} images at once: {error}"
        ) from error
    value = loss_for(options, data)(logits, target, 0)
    if not torch.isfinite(value):
        raise UsageError(
            f"--loss {options.loss} is {value:.3g} on these labels: change its options"
        )
