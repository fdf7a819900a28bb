"""How a student is trained: its network, its batches, its loss, and the cost of all of it."""

import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from ddlabel.commands.evaluate.online_accuracy import OnlineAccuracy
from ddlabel.core import rng
from ddlabel.core.config import EvaluateOptions
from ddlabel.data.bundle import Bundle
from ddlabel.data.expert_run import Checkpoints
from ddlabel.data.labels import Array
from ddlabel.methods.augmentations import augment_of
from ddlabel.methods.labels.gift import SMOOTHING, gift
from ddlabel.methods.labels.target import Target
from ddlabel.methods.losses import loss_of
from ddlabel.methods.mixing import mix_of
from ddlabel.methods.nets import Network, build
from ddlabel.methods.nets.prepare import Prepare, normalisation
from ddlabel.training.batches import (
    BatchTransform,
    OnlineLabels,
    SplitTarget,
    ViewIndex,
    image_batches,
    view_batches,
)
from ddlabel.training.cost import Cost, network_cost
from ddlabel.training.device_data import DeviceBundle
from ddlabel.training.labeler import expert_cost
from ddlabel.training.loop import Batch
from ddlabel.training.runtime import LastBatch

# Returns the loss of a step for logits [B, K], their targets and the number of the step.
StepLoss = Callable[[Tensor, Target | SplitTarget, int], Tensor]
# ZCA mean [1, C, H, W] and matrix [D, D].
Whitening = tuple[Array, Array]


def build_student(
    options: EvaluateOptions, bundle: Bundle, seed: int, whitening: Whitening | None = None
) -> Network:
    """Build a student with fresh weights for the images and classes of a bundle."""
    if whitening is None:
        prepare = normalisation(bundle.pixels.mean, bundle.pixels.std)
    else:
        mean, matrix = map(torch.from_numpy, whitening)
        prepare = Prepare(mean, torch.ones(1), matrix)
    return build(
        options.net,
        prepare,
        channels=bundle.images.shape[1],
        size=bundle.side,
        num_classes=bundle.num_classes,
        seed=rng.stream(seed, "weights"),
    )


def student_batches(
    options: EvaluateOptions,
    data: DeviceBundle,
    prepare: Prepare,
    seed: int,
    online_labels: OnlineLabels | None = None,
    online_accuracy: OnlineAccuracy | None = None,
) -> Batch:
    """Return the batches of a student's training; `online_labels` label them where it is given.

    `online_accuracy` counts how many of these labels are right.
    """
    _, channels, size, _ = data.images.shape
    transform = BatchTransform(
        prepare=prepare,
        augment=augment_of(options.augment, channels=channels, size=size, prepare=prepare),
        mix=None if options.mix == "none" else mix_of(options.mix),
    )
    if options.labels == "dense":
        return view_batches(
            ViewIndex(data, options.global_labels),
            transform,
            together=options.dense_batches != "mix",
            batch_size=batch_size_of(options),
            seed=seed,
            split=options.dense_loss is not None,
        )
    return image_batches(
        data,
        transform,
        data.soft_target if options.labels == "soft" else data.hard_target,
        batch_size=batch_size_of(options),
        seed=seed,
        online=online_labels,
        change=partial(_online_target, options, online_accuracy),
    )


def _online_target(
    options: EvaluateOptions, accuracy: OnlineAccuracy | None, target: Target
) -> Target:
    """Return a teacher's labels, refined if the options say so; count those that are right."""
    if accuracy is not None:
        accuracy.add("teacher", target)
    if options.refine_teacher is None:
        return target
    values = gift(
        target.values,
        target.meta,
        target.hard,
        space="probs",
        gamma=options.refine_teacher,
        alpha=SMOOTHING,
    )
    refined = target.with_values(values, "probs")
    if accuracy is not None:
        accuracy.add("refined", refined)
    return refined


def student_loss(options: EvaluateOptions, data: DeviceBundle) -> StepLoss:
    """Return the loss of a step: of one target, or of a split target with a loss for the views.

    LADD's sum over an image and its views (Eq. 5) is their number times the mean over all of them.
    """
    per_epoch = steps_per_epoch(options, len(data))
    whole_loss = loss_of(options.loss, steps_per_epoch=per_epoch)
    view_loss = loss_of(options.dense_loss or options.loss, steps_per_epoch=per_epoch)
    factor = 1
    if options.dense_batches == "sum":
        factor = items_per_epoch(options, data) // len(data)

    def loss(logits: Tensor, target: Target | SplitTarget, step: int) -> Tensor:
        if isinstance(target, Target):
            return factor * whole_loss(logits, target, step)
        parts = (
            (~target.is_view, target.whole, whole_loss),
            (target.is_view, target.views, view_loss),
        )
        total = logits.new_zeros(())
        for rows, part, part_loss in parts:
            if rows.any():
                mean = part_loss(logits[rows], part.take(rows), step)
                total = total + rows.sum() * mean
        return factor * total / len(logits)

    return loss


def batch_size_of(options: EvaluateOptions) -> int:
    """Return the batch size, which `settle` has chosen where the user did not."""
    assert options.batch_size is not None
    return options.batch_size


def steps_per_epoch(options: EvaluateOptions, num_images: int) -> int:
    """Return the number of steps of an epoch, which takes every image once.

    An epoch of mixed batches of images and views has as many steps: LADD, Fig. 3.
    """
    return math.ceil(num_images / batch_size_of(options))


def items_per_epoch(options: EvaluateOptions, data: DeviceBundle | Bundle) -> int:
    """Return the number of images and views that a student sees in an epoch."""
    if options.labels != "dense" or options.dense_batches == "mix" or data.views is None:
        return len(data)
    num_views = data.views.boxes.shape[-2]
    num_whole = 0 if options.global_labels == "none" else 1
    return len(data) * (num_views + num_whole)


def images_in_training(options: EvaluateOptions, per_epoch: int) -> int:
    """Return the number of images that all seeds see in epochs of `per_epoch` steps."""
    return per_epoch * options.epochs * batch_size_of(options) * options.seeds


def last_batch_in_training(options: EvaluateOptions, num_images: int) -> LastBatch | None:
    """Return the last, smaller batch of the epochs of all seeds, if batches are of whole images."""
    if options.labels == "dense":
        return None
    return LastBatch.of(num_images, batch_size_of(options), options.epochs * options.seeds)


def training_cost(options: EvaluateOptions, bundle: Bundle, teacher: Checkpoints = ()) -> Cost:
    """Count the cost of training a student.

    With online labels that of the teacher, which labels every item, is counted too.
    """
    network = build_student(options, bundle, seed=0)
    per_item = network_cost(network.body, bundle.images.shape[1:], backward=True)
    if options.labels == "online":
        for run, _ in teacher:
            per_item += expert_cost(run.about, backward=False)
    num_items = items_per_epoch(options, bundle) * options.epochs
    num_steps = steps_per_epoch(options, len(bundle)) * options.epochs
    return per_item * num_items + Cost(steps=num_steps)
