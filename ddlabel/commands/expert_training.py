"""Training one expert run, from its beginning or from where a killed run stopped."""

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Self

from torch import nn

from ddlabel.commands.expert_extension import needed_to_go_on
from ddlabel.commands.expert_plan import (
    PlannedRun,
    RealImages,
    checkpoint_steps,
    lr_factor_of,
    passes_of,
)
from ddlabel.commands.expert_state import (
    Expert,
    Record,
    finish,
    open_run,
    resume,
    save_checkpoint,
    save_training,
    training_sample,
)
from ddlabel.core import interruption, rng
from ddlabel.core.config import TrainExpertOptions
from ddlabel.data.bundle import Bundle
from ddlabel.data.expert_run import ExpertRun
from ddlabel.data.schema import require
from ddlabel.methods.augmentations import augment_of
from ddlabel.methods.losses import loss_of
from ddlabel.methods.metrics import correct
from ddlabel.methods.nets import Network
from ddlabel.methods.optimizers import optimizer_of
from ddlabel.training import distributed
from ddlabel.training.batches import BatchTransform, image_batches
from ddlabel.training.device_data import DeviceBundle, predict
from ddlabel.training.environment import environment
from ddlabel.training.image_stream import split_crop, streamed_batches
from ddlabel.training.labeler import network_of
from ddlabel.training.loop import Batch, MeanLosses, Progress, TrainSpec, fit
from ddlabel.training.runtime import Runtime
from ddlabel.training.stacking import Forward

# Takes the record of a checkpoint when it is saved.
Report = Callable[[Record], None]


def train_run(
    real: RealImages,
    planned: PlannedRun,
    options: TrainExpertOptions,
    *,
    test: Bundle | None = None,
    report: Report = lambda record: None,  # noqa: ARG005
    progress: Progress = iter,
) -> ExpertRun:
    """Train one expert, or go on with a run that was killed or is shorter, to the same bytes.

    The record of a checkpoint has the mean training loss since the last one and the accuracy on a
    fixed sample of training images and, with `test`, on the test images and the digest of these.

    Raises:
        ResourceError: The device is not there.
        InvalidInputError: Training diverges, or an image of a folder cannot be read.
    """
    training = _Training.of(real, planned, options)
    expert = training.begin()
    body = expert.network.body
    forward = training.forward(body)
    steps = checkpoint_steps(planned.info, options.save_every)
    needed = needed_to_go_on(options, training.runtime)
    start, records = resume(planned, expert, steps, needed=needed)
    saver = _CheckpointSaver(
        planned=planned,
        expert=expert,
        forward=forward,
        **training.tests(test),
        records=records,
        report=report,
        environment=training.environment(body),
        saved_step=start,
    )
    remaining = range(start, planned.info.steps)
    with training.runtime.arithmetic(), saver.saving_on_signals():
        fit(
            training.parallel_forward(body, forward),
            [training.spec(expert, remaining)],
            steps=progress(remaining),
            **saver.hooks(steps),
            layer_seed=partial(rng.stream, planned.info.seed, distributed.layer_stream()),
            scaler=expert.scaler,
        )
    finish(planned, expert, needed)
    return expert.run


@dataclass(frozen=True, kw_only=True)
class _Training:
    """What one expert is trained on, and how."""

    real: RealImages
    planned: PlannedRun
    options: TrainExpertOptions
    runtime: Runtime
    in_memory: DeviceBundle

    @classmethod
    def of(cls, real: RealImages, planned: PlannedRun, options: TrainExpertOptions) -> Self:
        """Copy the images to the device."""
        runtime = Runtime.of(options)
        return cls(
            real=real,
            planned=planned,
            options=options,
            runtime=runtime,
            in_memory=DeviceBundle.fitting(real.sample, runtime.device),
        )

    def begin(self) -> Expert:
        """Make or find the folder of the run, and build its network with fresh weights."""
        run = open_run(self.planned, self.real)
        network = network_of(self.planned.info, run).to(self.runtime.device)
        optimizer = optimizer_of(self.options.optimizer, network.body.parameters())
        return Expert(
            run=run,
            network=network,
            optimizer=optimizer,
            mean_losses=MeanLosses(1, self.runtime.device),
            scaler=self.runtime.loss_scaler(),
        )

    def forward(self, body: nn.Module) -> Forward:
        """Return the network as a function of images, compiled if its training is long enough."""
        passes = passes_of(self.real, self.planned.info, self.options)
        return self.runtime.forward([body], **passes)

    def environment(self, body: nn.Module) -> Record:
        """Return what the training depends on besides its inputs and options."""
        passes = passes_of(self.real, self.planned.info, self.options)
        work = self.runtime.work(body, **passes)
        return environment(self.runtime.device) | {"precision": work.precision}

    def parallel_forward(self, body: nn.Module, forward: Forward) -> Forward:
        """Return the function to train with: `forward`, or one that averages over several ranks.

        Rank 0 alone tests with `forward`: the other one would wait for the other ranks.
        """
        _, world_size = distributed.rank_and_world_size()
        return forward if world_size == 1 else self.forward(distributed.data_parallel(body))

    def tests(self, test: Bundle | None) -> dict[str, Any]:
        """Return the images that checkpoints are tested on, and the digest of the test images."""
        digest = None if test is None else test.digest
        return {"tested_on": self.tested_on(test), "test_digest": digest}

    def tested_on(self, test: Bundle | None) -> dict[str, DeviceBundle]:
        """Return the images whose accuracy is recorded, by its name in records.

        `--epoch auto` goes by the accuracy of the training images.
        """
        device = self.in_memory.device
        sample = training_sample(self.in_memory, self.planned.info.seed)
        tested_on = {"train_accuracy": sample}
        if test is not None and distributed.is_first_rank():
            tested_on["test_accuracy"] = DeviceBundle.fitting(test, device)
        return tested_on

    def spec(self, expert: Expert, steps: range) -> TrainSpec:
        """Return how the network is trained in these steps."""
        whole_batch = self._batches(expert.network, steps)
        batch, loss = distributed.shard_batch(whole_batch, loss_of("ce"))
        return TrainSpec(
            batch=batch,
            loss=loss,
            optimizer=expert.optimizer,
            lr_factor=lr_factor_of(self.options, self.planned.info),
        )

    def _batches(self, network: Network, steps: range) -> Batch:
        """Return batches of augmented images with hard labels, from memory or from a folder."""
        options = self.options
        seed = self.planned.info.seed
        if self.real.folder is None:
            return image_batches(
                self.in_memory,
                self._transform(network, options.augment),
                self.in_memory.hard_target,
                batch_size=options.batch_size,
                seed=seed,
            )
        crop, augment = split_crop(options.augment)
        return streamed_batches(
            self.real.folder,
            self._transform(network, augment),
            crop=crop,
            batch_size=options.batch_size,
            seed=seed,
            steps=steps,
            workers=options.workers,
            device=self.in_memory.device,
        )

    def _transform(self, network: Network, augment: str) -> BatchTransform:
        info = self.planned.info
        augmentation = augment_of(
            augment, channels=info.channels, size=info.size, prepare=network.prepare
        )
        return BatchTransform(prepare=network.prepare, augment=augmentation)


@dataclass(kw_only=True)
class _CheckpointSaver:
    """Saves the checkpoints of a run; ranks other than 0 only check that training is sound."""

    planned: PlannedRun
    expert: Expert
    forward: Forward
    tested_on: Mapping[str, DeviceBundle]
    test_digest: str | None
    records: list[Record]
    report: Report
    environment: Record
    saved_step: int

    def hooks(self, steps: list[int]) -> dict[str, Any]:
        """Return what `fit` calls after these steps and after every step, and what is saved."""
        return {
            "callbacks": {step: partial(self._after, step) for step in steps},
            "after_step": self.stop_if_requested,
            "mean_losses": self.expert.mean_losses,
        }

    def _after(self, step: int, losses: list[float]) -> None:
        """Record the losses and accuracies after a step, and save the checkpoint.

        Raises:
            InvalidInputError: Training has diverged.
        """
        loss = distributed.average(losses[0])
        require(
            math.isfinite(loss),
            f"training diverged before step {step}: lower the learning rate in --optimizer",
        )
        if not distributed.is_first_rank():
            return
        record: Record = {"step": step, "epoch": self.expert.run.epoch_of(step), "loss": loss}
        for name, images in self.tested_on.items():
            record[name] = self._accuracy(images)
        if self.test_digest is not None:
            record["test"] = self.test_digest
        record["environment"] = self.environment
        self.records.append(record)
        save_checkpoint(self.planned, self.expert, self.records)
        self.saved_step = step
        self.report(record)

    @contextmanager
    def saving_on_signals(self) -> Iterator[None]:
        """Let signals wait for `stop_if_requested`, and say what the same command does then.

        Ranks would stop after different steps and wait for each other: under torchrun a signal does
        not wait.
        """
        _, world_size = distributed.rank_and_world_size()
        with interruption.outlook(self.outlook), interruption.deferred(enabled=world_size == 1):
            yield

    def stop_if_requested(self, step: int) -> None:
        """Save the state after a step and leave, if a signal has asked for it.

        Raises:
            Interrupted: A signal has.
        """
        if interruption.is_requested():
            save_training(self.planned, self.expert, step)
            self.saved_step = step
            interruption.leave_if_requested()

    def outlook(self) -> str | None:
        """Return what the same command does if this one ends now: see `interruption.outlook`."""
        if self.saved_step == 0:
            return None
        return interruption.goes_on_from(f"step {self.saved_step}")

    def _accuracy(self, data: DeviceBundle) -> float:
        logits = predict([self.expert.network], self.forward, data)[0]
        return int(correct(logits, data.hard)) / len(data)
