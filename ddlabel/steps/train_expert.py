"""`train-expert`: a labeler from real images, with a checkpoint every epoch or fraction of one."""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from ddlabel import files, rng, whitening
from ddlabel.augment import augment_of
from ddlabel.bundle import Bundle
from ddlabel.config import TrainExpertOptions
from ddlabel.errors import IncompatibleError, InvalidInputError, OutputExistsError
from ddlabel.expert import About, Run
from ddlabel.losses import ce
from ddlabel.metrics import correct
from ddlabel.nets import Network
from ddlabel.optim import optimizer_of, schedules
from ddlabel.provenance import canonical_json
from ddlabel.train.batches import of_images
from ddlabel.train.data import Data, predict
from ddlabel.train.device import Forward, compiled, pick_device
from ddlabel.train.fit import Progress, fit
from ddlabel.train.labeler import network_of

_RESUME = "resume.pt"
# Accuracy on this many training images, drawn once, is what `--epoch auto` goes by.
_SAMPLE = 2000
Report = Callable[[dict[str, Any]], None]


def plan(real: Bundle, folder: Path, options: TrainExpertOptions, digest: str) -> list[tuple[Path, About]]:
    """The runs still to make: in `folder` itself, or several in its subfolders `expert-0`, `expert-1` and so on.

    Raises:
        UsageError: for a spec that cannot be resolved or does not fit the images.
        IncompatibleError: if a run of other options or data is there.
        OutputExistsError: if everything is there already.
    """
    channels, height, width = real.images.shape[1:]
    if height != width:
        raise InvalidInputError(f"images are {height} × {width} px: networks need squares; import with --size")
    schedules.resolve(options.schedule)
    augment_of(options.augment, channels=channels, size=height)
    steps_per_epoch = -(-len(real) // options.batch_size)
    runs = []
    for number in range(options.experts):
        one = replace(options, seed=options.seed + number, experts=1)
        about = About(
            net=options.net,
            classes=real.classes,
            channels=channels,
            size=height,
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
        path = folder / f"expert-{number}" if options.experts > 1 else folder
        if not _finished(path, about):
            runs.append((path, about))
    if not runs:
        raise OutputExistsError(f"{folder}: the expert run is complete already; give another folder")
    return runs


def train_expert(
    real: Bundle,
    test: Bundle | None,
    path: Path,
    about: About,
    options: TrainExpertOptions,
    report: Report,
    progress: Progress = iter,
) -> Run:
    """Train one expert, or go on where a killed run stopped: the bytes are those of an uninterrupted one.

    Every checkpoint's record has the mean training loss, the accuracy on a fixed sample of training images and, with
    `test`, on the test images.

    Raises:
        ResourceError: if the device is not there.
        InvalidInputError: if training diverges.
    """
    device = pick_device(options.device)
    run = Run(path) if (path / "expert.json").exists() else Run.create(path, about)
    data = Data.of(real, device)
    if about.zca and not run.has_whitening:
        mean, matrix = whitening.fit(real.images)
        run.save_whitening({"mean": mean, "matrix": matrix})
    network = network_of(about, run).to(device)
    forward = compiled(network.body, options.compile, images=about.steps * options.batch_size, size=about.size)
    optimizer = optimizer_of(options.optimizer, network.body.parameters())
    start, records = _resume(path, network, optimizer, device)
    run.save_metrics(records)
    watched = {"train_accuracy": _sample(data, about.seed)} | ({"test_accuracy": Data.of(test, device)} if test else {})

    def stop(step: int, loss: float) -> None:
        if not math.isfinite(loss):
            raise InvalidInputError(f"training diverged before step {step}: lower the learning rate in --optimizer")
        accuracies = {name: _accuracy(network, forward, seen) for name, seen in watched.items()}
        figures = {"step": step, "epoch": step / about.steps_per_epoch, "loss": loss} | accuracies
        records.append(figures | {"sha256": run.save_weights(step, _weights(network))})
        run.save_metrics(records)
        _save_resume(path, network, optimizer, step)
        report(records[-1])

    schedule = schedules.resolve(options.schedule)
    augment = augment_of(options.augment, channels=about.channels, size=about.size)
    fit(
        forward,
        of_images(data, network.prepare, augment, labels="hard", batch_size=options.batch_size, seed=about.seed),
        ce,
        optimizer,
        steps=progress(range(start, about.steps)),
        rate=lambda step: schedule(step // about.steps_per_epoch, options.epochs),
        stops={step: partial(stop, step) for step in _checkpoints(about, options.save_every)},
    )
    (path / _RESUME).unlink(missing_ok=True)
    return run


def _checkpoints(about: About, save_every: float) -> list[int]:
    """Steps at which to save: every `save_every` epochs, rounded to whole steps, and the last."""
    count = int(about.steps / (save_every * about.steps_per_epoch) + 1e-9)
    steps = {max(1, round(i * save_every * about.steps_per_epoch)) for i in range(1, count + 1)}
    return sorted(steps | {about.steps})


def _sample(data: Data, seed: int) -> Data:
    generator = torch.Generator().manual_seed(rng.stream(seed, "sample"))
    rows = torch.randperm(len(data), generator=generator)[:_SAMPLE].to(data.images.device)
    return replace(data, images=data.images[rows], hard=data.hard[rows])


def _accuracy(network: Network, forward: Forward, data: Data) -> float:
    """Share of images whose class the network gets right."""
    return int(correct(predict(network, forward, data, rows=len(data)), data.hard)) / len(data)


def _weights(network: Network) -> dict[str, Any]:
    # A copy: on a CPU `numpy()` is a window on the live weights, and every checkpoint would be the last one.
    return {name: tensor.detach().cpu().numpy().copy() for name, tensor in network.body.state_dict().items()}


def _save_resume(path: Path, network: Network, optimizer: torch.optim.Optimizer, step: int) -> None:
    buffer = io.BytesIO()
    state = {"body": network.body.state_dict(), "optimizer": optimizer.state_dict(), "step": step}
    torch.save(state, buffer)
    files.write(str(path / _RESUME), [buffer.getbuffer()], size=buffer.getbuffer().nbytes)


def _resume(
    path: Path, network: Network, optimizer: torch.optim.Optimizer, device: torch.device
) -> tuple[int, list[dict[str, Any]]]:
    """Load what a killed run left: the step to go on from and the records up to it."""
    if not (path / _RESUME).exists():
        return 0, []
    try:
        state = torch.load(path / _RESUME, map_location=device, weights_only=True)
        network.body.load_state_dict(state["body"])
        optimizer.load_state_dict(state["optimizer"])
    except Exception as error:
        message = f"{path / _RESUME}: cannot be read ({type(error).__name__}); delete it to begin the run again"
        raise InvalidInputError(message) from error
    step = int(state["step"])
    return step, [record for record in Run(path).metrics() if record["step"] <= step]


def _finished(path: Path, about: About) -> bool:
    """Whether the run is complete; a run of something else is refused."""
    if path.exists() and not path.is_dir():
        raise OutputExistsError(f"{path} is a file: an expert run is a folder; give a new one")
    if not (path / "expert.json").exists():
        if path.exists() and any(path.iterdir()) and not list(path.glob("expert-*/expert.json")):
            raise OutputExistsError(f"{path} is a folder with other things in it: give a new one")
        return False
    run = Run(path)
    there, wanted = (asdict(each) | each.options for each in (run.about, about))
    different = [
        key
        for key in sorted(wanted.keys() - {"options"})
        if canonical_json(there.get(key)) != canonical_json(wanted[key])
    ]
    if different:
        raise IncompatibleError(f"{path} holds a run of other {', '.join(different)}: give another folder, or the same")
    return run.complete and not (path / _RESUME).exists()
