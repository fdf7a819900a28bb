"""`evaluate`: students from scratch, and what they reach on test images."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ddlabel import __version__, rng
from ddlabel.augment import augment_of
from ddlabel.bundle import Bundle, check_same_task
from ddlabel.config import EvaluateOptions, default_of, gift_batch_size
from ddlabel.errors import IncompatibleError, InvalidInputError, UsageError
from ddlabel.labels.target import Target
from ddlabel.losses import Loss, losses
from ddlabel.metrics import correct
from ddlabel.nets import Network, build
from ddlabel.nets.prepare import Prepare, normalisation
from ddlabel.optim import optimizer_of, schedules
from ddlabel.train.batches import Items, of_images, of_items
from ddlabel.train.data import Data, predict
from ddlabel.train.device import compiled, pick_device
from ddlabel.train.fit import Batch, Progress, fit

Record = dict[str, Any]


def settle(bundle: Bundle, test: Bundle, options: EvaluateOptions) -> EvaluateOptions:
    """The options with every default settled, after refusing what can be refused before any training.

    Raises:
        UsageError: for a spec that cannot be resolved or a network that does not fit the images.
        IncompatibleError: if the labels are missing or the loss cannot use them, or the test set is another task.
    """
    check_same_task("the test set", bundle, test)
    if bundle.images.shape[2] != bundle.images.shape[3]:
        raise InvalidInputError(
            f"images are {list(bundle.images.shape[2:])} px: networks need squares; import with --size"
        )
    options = replace(
        options,
        labels=_labels(bundle, options.labels),
        batch_size=options.batch_size or gift_batch_size(len(bundle)),
    )
    views_only = [
        name for name in ("dense_batches", "global_labels") if getattr(options, name) != default_of(type(options), name)
    ]
    if options.labels != "dense" and views_only:
        raise UsageError(
            f"--{views_only[0].replace('_', '-')} is for dense labels and these are {options.labels}: leave it out"
        )
    schedules.resolve(options.schedule)
    optimizer_of(options.optimizer, _student(bundle, options, options.seed).parameters())
    # One step's labels and loss on two images: a loss that cannot use these labels says so now.
    data = Data.of(bundle.take(np.arange(min(2, len(bundle)))), torch.device("cpu"))
    images, target = _batches(data, _prepare(bundle), options)(0)
    value = _loss(options, data)(torch.ones(len(images), len(bundle.classes)), target)
    if not torch.isfinite(value):
        raise UsageError(f"--loss {options.loss} is {value:.3g} on these labels: change its options")
    return options


def key_of(options: EvaluateOptions, seed: int, digests: dict[str, str]) -> Record:
    """What decides one student's outcome: the part of its record that is known before it is trained."""
    settings = {name: value for name, value in options.recorded().items() if name != "seeds"}
    return {"version": __version__, **digests, "options": settings | {"seed": seed}}


def evaluate(
    bundle: Bundle,
    test: Bundle,
    options: EvaluateOptions,
    seeds: Sequence[int],
    digests: dict[str, str],
    progress: Progress = iter,
) -> Iterator[Record]:
    """Train one student for each seed and yield its record: `accuracy` on the test set, in [0, 1], at the last epoch.

    `options` are settled ones. Nothing is chosen on test data: the test set is looked at once, at the end.

    Raises:
        ResourceError: if the device is not there.
    """
    device = pick_device(options.device)
    data, tested = Data.of(bundle, device), Data.of(test, device)
    network = _student(bundle, options, options.seed).to(device)
    steps_per_epoch = -(-len(bundle) // (options.batch_size or 1))
    steps = steps_per_epoch * options.epochs
    work = steps * (options.batch_size or 1) * len(seeds)
    forward = compiled(network.body, options.compile, images=work, size=bundle.images.shape[2])
    schedule, loss = schedules.resolve(options.schedule), _loss(options, data)
    for seed in seeds:
        # One network for all students: what was compiled for it serves them all.
        network.body.load_state_dict(_student(bundle, options, seed).body.state_dict())
        network.train()
        final = fit(
            forward,
            _batches(data, network.prepare, replace(options, seed=seed)),
            loss,
            optimizer_of(options.optimizer, network.body.parameters()),
            steps=progress(range(steps)),
            rate=lambda step: schedule(step // steps_per_epoch, options.epochs),
        )
        scores = predict(network, forward, tested, rows=len(tested))
        yield key_of(options, seed, digests) | {
            "accuracy": int(correct(scores, tested.hard)) / len(tested),
            "loss": final if math.isfinite(final) else None,
        }


def _labels(bundle: Bundle, wanted: str) -> str:
    """The labels to learn from: auto takes the richest that are there."""
    if wanted == "auto":
        return "dense" if bundle.dense is not None else "soft" if bundle.soft is not None else "hard"
    maker = {"soft": "relabel", "dense": "densify"}
    if wanted in maker and getattr(bundle, wanted) is None:
        raise IncompatibleError(f"--labels {wanted}: the bundle has none; make them with 'ddlabel {maker[wanted]}'")
    return wanted


def _prepare(bundle: Bundle) -> Prepare:
    return normalisation(bundle.pixels.mean, bundle.pixels.std)


def _student(bundle: Bundle, options: EvaluateOptions, seed: int) -> Network:
    _, channels, size, _ = bundle.images.shape
    return build(
        options.net,
        _prepare(bundle),
        channels=channels,
        size=size,
        classes=len(bundle.classes),
        seed=rng.stream(seed, "weights"),
    )


def _batches(data: Data, prepare: Prepare, options: EvaluateOptions) -> Batch:
    augment = augment_of(options.augment, channels=data.images.shape[1], size=data.images.shape[2])
    size = options.batch_size or 1
    if options.labels != "dense":
        return of_images(data, prepare, augment, labels=options.labels, batch_size=size, seed=options.seed)
    items = Items(data, options.global_labels)
    together = options.dense_batches == "sum"
    return of_items(items, prepare, augment, together=together, batch_size=size, seed=options.seed)


def _loss(options: EvaluateOptions, data: Data) -> Loss:
    """The loss of a step; LADD's sum over an image and its views is their number times the mean over all of them."""
    loss = losses.resolve(options.loss)
    if options.labels != "dense" or options.dense_batches != "sum":
        return loss
    count = Items(data, options.global_labels).per_image

    def summed(logits: Tensor, target: Target) -> Tensor:
        value: Tensor = count * loss(logits, target)
        return value

    return summed
