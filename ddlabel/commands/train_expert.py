"""`train-expert`: a labeler from real images, with a checkpoint every epoch or fraction of one."""

import math
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch.optim import Optimizer

from ddlabel.core import rng
from ddlabel.core.config import TrainExpertOptions
from ddlabel.core.errors import IncompatibleError, OutputExistsError
from ddlabel.data import whitening
from ddlabel.data.bundle import Bundle
from ddlabel.data.expert_run import ExpertInfo, ExpertRun
from ddlabel.data.provenance import canonical_json
from ddlabel.data.schema import require
from ddlabel.methods.augmentations import augment_of
from ddlabel.methods.losses import loss_of
from ddlabel.methods.metrics import correct
from ddlabel.methods.nets import Network
from ddlabel.methods.optimizers import optimizer_of
from ddlabel.methods.schedules import rate_of
from ddlabel.training import distributed as ranks
from ddlabel.training.batches import BatchTransform, image_batches
from ddlabel.training.device_data import DeviceBundle, predict
from ddlabel.training.image_stream import SAMPLE, ImageFolder
from ddlabel.training.labeler import network_of
from ddlabel.training.loop import Batch, Progress, TrainSpec, fit
from ddlabel.training.resume import loaded_state, save_state
from ddlabel.training.runtime import Runtime
from ddlabel.training.stacking import Forward

_RESUME = "resume.pt"
Report = Callable[[dict[str, Any]], None]


def plan(
    real: Bundle, folder: Path, options: TrainExpertOptions, digest: str
) -> list[tuple[Path, ExpertInfo]]:
    """The runs still to make: in `folder` itself, or several in its subfolders `expert-0`, `expert-1` and so on.

    UsageError for a spec that cannot be resolved or does not fit the images, IncompatibleError if a run of other
    options or data is there, OutputExistsError if everything is there already.
    """
    channels, size = real.images.shape[1], real.side
    augment_of(options.augment, channels=channels, size=size)
    steps_per_epoch = -(-len(real) // options.batch_size)
    runs = []
    for number in range(options.experts):
        one = replace(options, seed=options.seed + number, experts=1)
        about = ExpertInfo(
            net=options.net,
            classes=real.classes,
            channels=channels,
            size=size,
            mean=real.pixels.mean,
            std=real.pixels.std,
            zca=options.zca,
            seed=one.seed,
            steps_per_epoch=steps_per_epoch,
            steps=steps_per_epoch * options.epochs,
            data=digest,
            options=one.recorded(),
        )
        optimizer_of(options.optimizer, network_of(about).parameters())
        _rate(options, about)
        path = folder / f"expert-{number}" if options.experts > 1 else folder
        if not _finished(path, about):
            runs.append((path, about))
    if not runs:
        raise OutputExistsError(
            f"{folder}: the expert run is complete already; give another folder"
        )
    return runs


def train_expert(
    real: Bundle,
    test: Bundle | None,
    path: Path,
    about: ExpertInfo,
    options: TrainExpertOptions,
    report: Report,
    progress: Progress = iter,
) -> ExpertRun:
    """Train one expert, or go on where a killed run stopped: the bytes are those of an uninterrupted one.

    Every checkpoint's record has the mean training loss, the accuracy on a fixed sample of training images and, with
    `test`, on the test images. ResourceError if the device is not there, InvalidInputError if training diverges.
    """
    (rank, world), machine = ranks.rank_and_world_size(), Runtime.of(options)
    data = DeviceBundle.of(real, machine.device)
    run, network = _begin(path, about, real, machine.device)
    images, shape = about.steps * options.batch_size, real.images.shape[1:]
    make = partial(machine.forward, num_images=images, shape=shape, backward=True)
    forward = make([network.body])
    # A parallel one would wait for the other ranks when rank 0 alone asks it.
    trained = forward if world == 1 else make([ranks.data_parallel(network.body)])
    optimizer = optimizer_of(options.optimizer, network.body.parameters())
    start, records = _resume(run, network, optimizer)
    tested = (
        {} if test is None or rank else {"test_accuracy": DeviceBundle.of(test, data.images.device)}
    )
    watched = {"train_accuracy": _sample(data, about.seed)} | tested

    def stop(step: int, losses: list[float]) -> None:
        loss = ranks.average(losses[0])
        require(
            math.isfinite(loss),
            f"training diverged before step {step}: lower the learning rate in --optimizer",
        )
        if rank:
            return
        accuracies = {name: _accuracy(network, forward, seen) for name, seen in watched.items()}
        records.append(
            {"step": step, "epoch": step / about.steps_per_epoch, "loss": loss} | accuracies
        )
        _save(run, network, optimizer, records)
        report(records[-1])

    batch, loss = ranks.shard_batch(
        _batch(real, data, network, options, about, start), loss_of("ce")
    )
    course = TrainSpec(batch=batch, loss=loss, optimizer=optimizer, lr_factor=_rate(options, about))
    layer_stream = f"layers of rank {rank}" if rank else "layers"
    with machine.matmul_precision():
        fit(
            trained,
            [course],
            steps=progress(range(start, about.steps)),
            layer_seed=partial(rng.stream, about.seed, layer_stream),
            callbacks={
                step: partial(stop, step) for step in _checkpoints(about, options.save_every)
            },
            scale_losses=machine.precision == "fp16",
        )
    if not rank:
        (path / _RESUME).unlink(missing_ok=True)
    return run


def _begin(
    path: Path, about: ExpertInfo, real: Bundle, device: torch.device
) -> tuple[ExpertRun, Network]:
    """The run's folder, with the whitening if it has one, and its network on the device, before training."""
    if not ranks.rank_and_world_size()[0]:
        run = ExpertRun(path) if (path / "expert.json").exists() else ExpertRun.create(path, about)
        if about.zca and not run.has_whitening:
            run.save_whitening(
                dict(zip(("mean", "matrix"), whitening.fit(real.images), strict=True))
            )
    ranks.wait_for_all()
    run = ExpertRun(path)
    return run, network_of(about, run).to(device)


def _batch(
    real: Bundle,
    data: DeviceBundle,
    network: Network,
    options: TrainExpertOptions,
    about: ExpertInfo,
    start: int,
) -> Batch:
    """Augmented images with their hard labels, out of memory or from a folder."""
    left = options.augment
    if isinstance(real, ImageFolder):
        data, left = real.read(data, options, about.seed, range(start, about.steps))
    pictures = BatchTransform(
        prepare=network.prepare, augment=augment_of(left, channels=about.channels, size=about.size)
    )
    return image_batches(
        data, pictures, data.hard_target, batch_size=options.batch_size, seed=about.seed
    )


def _rate(options: TrainExpertOptions, about: ExpertInfo) -> Callable[[int], float]:
    epochs, per_epoch = options.epochs, about.steps_per_epoch
    return rate_of(
        options.schedule, epochs=epochs, steps_per_epoch=per_epoch, warm_up=options.warm_up
    )


def _checkpoints(about: ExpertInfo, save_every: float) -> list[int]:
    """Steps at which to save: every `save_every` epochs, rounded to whole steps, and the last."""
    apart = save_every * about.steps_per_epoch
    steps = {max(1, round(i * apart)) for i in range(1, int(about.steps / apart + 1e-9) + 1)}
    return sorted(steps | {about.steps})


def _sample(data: DeviceBundle, seed: int) -> DeviceBundle:
    """Training images, drawn once, whose accuracy is what `--epoch auto` goes by."""
    generator = torch.Generator().manual_seed(rng.stream(seed, "sample"))
    rows = torch.randperm(len(data), generator=generator)[:SAMPLE].to(data.images.device)
    return data.take(rows)


def _accuracy(network: Network, forward: Forward, seen: DeviceBundle) -> float:
    return int(correct(predict([network], forward, seen)[0], seen.hard)) / len(seen)


def _save(
    run: ExpertRun, network: Network, optimizer: Optimizer, records: list[dict[str, Any]]
) -> None:
    """A checkpoint, its record, which is the last, and then what a killed run goes on from."""
    step, body = records[-1]["step"], network.body.state_dict()
    # A copy: on a CPU `numpy()` is a window on the live weights, and every checkpoint would be the last one.
    weights = {name: tensor.detach().cpu().numpy().copy() for name, tensor in body.items()}
    records[-1]["sha256"] = run.save_weights(step, weights)
    run.save_metrics(records)
    save_state(
        run.folder / _RESUME, {"body": body, "optimizer": optimizer.state_dict(), "step": step}
    )


def _resume(
    run: ExpertRun, network: Network, optimizer: Optimizer
) -> tuple[int, list[dict[str, Any]]]:
    """Load what a killed run left: the step to go on from and the records up to it."""
    left = run.folder / _RESUME
    if not left.exists():
        return 0, []
    with loaded_state(left) as state:
        network.body.load_state_dict(state["body"])
        optimizer.load_state_dict(state["optimizer"])
        step = int(state["step"])
    return step, [record for record in run.metrics() if record["step"] <= step]


def _finished(path: Path, about: ExpertInfo) -> bool:
    """Whether the run is complete; a run of something else is refused."""
    if path.exists() and not path.is_dir():
        raise OutputExistsError(f"{path} is a file: an expert run is a folder; give a new one")
    if not (path / "expert.json").exists():
        if path.exists() and any(path.iterdir()) and not list(path.glob("expert-*/expert.json")):
            raise OutputExistsError(f"{path} is a folder with other things in it: give a new one")
        return False
    run = ExpertRun(path)
    there, wanted = (asdict(each) | each.options for each in (run.about, about))
    same = {key for key in wanted if canonical_json(there.get(key)) == canonical_json(wanted[key])}
    if different := sorted(wanted.keys() - same - {"options"}):
        raise IncompatibleError(
            f"{path} holds a run of other {', '.join(different)}: give another folder, or the same"
        )
    return run.complete and not (path / _RESUME).exists()
