"""An expert in training: its checkpoints, and the state that a killed run goes on from."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal, NamedTuple

import torch
from torch.optim import Optimizer

from ddlabel.commands.expert_plan import PlannedRun, RealImages
from ddlabel.core import rng
from ddlabel.core.errors import IncompatibleError
from ddlabel.core.ranks import RANK
from ddlabel.data.expert_run import ExpertInfo, ExpertRun
from ddlabel.data.image_folder import SAMPLE_SIZE
from ddlabel.data.run_files import INFO, METRICS, OPTIMIZER
from ddlabel.data.schema import require
from ddlabel.methods.nets import Network
from ddlabel.training import distributed
from ddlabel.training.device_data import DeviceBundle
from ddlabel.training.labeler import load_weights
from ddlabel.training.loop import MeanLosses
from ddlabel.training.resume import loaded_state, save_state

Record = dict[str, Any]
# What training goes on from after a checkpoint, beside the weights.
Needed = Literal["nothing", "the optimizer", "more than is kept"]


class Expert(NamedTuple):
    """An expert in training: its run, its network, and what training goes on from."""

    run: ExpertRun
    network: Network
    optimizer: Optimizer
    mean_losses: MeanLosses
    scaler: torch.amp.GradScaler


def training_sample(images: DeviceBundle, seed: int) -> DeviceBundle:
    """Return the sample of training images whose accuracy is recorded. It is drawn once."""
    generator = torch.Generator().manual_seed(rng.stream(seed, "sample"))
    rows = torch.randperm(len(images), generator=generator)[:SAMPLE_SIZE]
    return images.take(rows.to(images.device))


def open_run(planned: PlannedRun, real: RealImages) -> ExpertRun:
    """Make the folder of a run, with its whitening if it has one, unless it is there already.

    A run of fewer epochs, which `check_extension` has let pass, becomes the one that is planned: as
    its first epochs are that run's, writing `expert.json` is all.
    """
    folder, info = planned
    rank, _ = distributed.rank_and_world_size()
    if rank == 0:
        is_there = (folder / INFO).exists() and ExpertRun(folder).about.digest == info.digest
        run = ExpertRun(folder) if is_there else ExpertRun.create(folder, info)
        if info.zca and not run.has_whitening:
            mean, matrix = real.whitening()
            run.save_whitening({"mean": mean, "matrix": matrix})
    distributed.wait_for_all()
    return ExpertRun(folder)


def save_checkpoint(planned: PlannedRun, expert: Expert, records: Sequence[Record]) -> None:
    """Write the weights after the step of the last record, the records, and the state to resume.

    The last record is given the sha256 of the weights.
    """
    record = records[-1]
    body = expert.network.body.state_dict()
    # Copies: on a CPU `numpy()` shares the memory of the live weights, and every checkpoint would
    # be the last one.
    weights = {name: tensor.detach().cpu().numpy().copy() for name, tensor in body.items()}
    record["sha256"] = expert.run.save_weights(record["step"], weights)
    expert.run.save_metrics(records)
    save_training(planned, expert, record["step"])


def save_training(planned: PlannedRun, expert: Expert, step: int) -> None:
    """Write the state to resume from after any step."""
    state = {
        "run": planned.info.digest,
        "body": expert.network.body.state_dict(),
        "optimizer": expert.optimizer.state_dict(),
        "losses": expert.mean_losses.state(),
        "scaler": expert.scaler.state_dict(),
        "step": step,
    }
    save_state(planned.resume_file, state)


def finish(planned: PlannedRun, expert: Expert, needed: Needed) -> None:
    """Keep what a longer run goes on from, and remove the state that a killed run resumes from.

    Blocks until every rank calls it: all read the last record, which rank 0 writes.
    """
    if distributed.is_first_rank():
        if needed == "the optimizer":
            state = {
                "run": _digest_without_length(planned.info),
                "optimizer": expert.optimizer.state_dict(),
                "step": planned.info.steps,
            }
            save_state(planned.folder / OPTIMIZER, state)
        planned.resume_file.unlink(missing_ok=True)
    distributed.wait_for_all()


def kept_step(run: ExpertRun) -> int | None:
    """Return the step after which the optimizer's state of a run is kept; None if it is not.

    Raises:
        InvalidInputError: The file is damaged.
    """
    path = run.folder / OPTIMIZER
    if not path.exists():
        return None
    with loaded_state(path) as state:
        is_of_run = state["run"] == _digest_without_length(run.about)
        return int(state["step"]) if is_of_run else None


def _digest_without_length(info: ExpertInfo) -> str:
    """Return the digest that a run and the beginning of a longer one have in common."""
    return replace(info, steps=0, options=info.options | {"epochs": 0}).digest


def resume(
    planned: PlannedRun, expert: Expert, checkpoint_steps: Sequence[int], *, needed: Needed
) -> tuple[int, list[Record]]:
    """Load the state that a killed run left, and remove the checkpoints after it.

    Without such a state the last checkpoint that has a record is loaded, if there is also what is
    `needed` to go on after it.

    Returns:
        The step to go on from, and the records up to it.

    Raises:
        InvalidInputError: The state or the records are damaged.
        IncompatibleError: The state is of another run.
    """
    step = 0
    records: list[Record] = []
    if planned.resume_file.exists():
        with loaded_state(planned.resume_file) as state:
            if state["run"] != planned.info.digest:
                raise IncompatibleError("left by another run: delete it to begin again")
            expert.network.body.load_state_dict(state["body"])
            expert.optimizer.load_state_dict(state["optimizer"])
            expert.mean_losses.load_state(state["losses"])
            if expert.scaler.is_enabled():
                expert.scaler.load_state_dict(state["scaler"])
            step = int(state["step"])
        records = [record for record in expert.run.saved_metrics() if record["step"] <= step]
        _check_records(planned, records, [saved for saved in checkpoint_steps if saved <= step])
    elif needed == "nothing":
        step, records = _load_weights(expert, checkpoint_steps, planned.info.steps)
    elif needed == "the optimizer" and (kept := kept_step(expert.run)) is not None:
        step, records = _load_weights(expert, checkpoint_steps, kept)
        if step:
            with loaded_state(planned.folder / OPTIMIZER) as state:
                expert.optimizer.load_state_dict(state["optimizer"])
    if RANK == 0:
        expert.run.remove_weights_after(step)
    return step, records


def _load_weights(
    expert: Expert, checkpoint_steps: Sequence[int], until: int
) -> tuple[int, list[Record]]:
    """Load the weights of the last record until a step, and return its step and the records.

    Without a record, or with one missing among them, nothing is loaded and the step is 0.

    Raises:
        InvalidInputError: The records or the weights are damaged.
    """
    records = [record for record in expert.run.saved_metrics() if record["step"] <= until]
    steps = [record["step"] for record in records]
    if not steps or steps != checkpoint_steps[: len(steps)]:
        return 0, []
    weights = expert.run.recorded_weights(records[-1])
    load_weights(expert.network, expert.run, steps[-1], weights)
    return steps[-1], records


def _check_records(planned: PlannedRun, records: Sequence[Record], steps: Sequence[int]) -> None:
    """Raise InvalidInputError unless the records are those of these steps."""
    require(
        [record["step"] for record in records] == list(steps),
        f"{planned.folder / METRICS}: records are missing: delete {planned.resume_file} to begin "
        "again",
    )
