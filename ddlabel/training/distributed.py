"""Several processes on one task, as torchrun starts them.

A process that did not `join` others works alone: it is rank 0 of 1.
"""

import json
import os
from collections.abc import Iterable, Iterator
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from ddlabel.core.errors import IncompatibleError, ResourceError, UsageError
from ddlabel.data.labels import Array
from ddlabel.training.loop import Batch, StepLoss
from ddlabel.training.runtime import pick_device

_SECONDS_TO_MEET = 60
# The other ranks wait for as long as rank 0 tests and saves. No clock has to end them when a rank
# dies: torchrun does.
_LONGEST_WAIT = timedelta(days=1)
# A batch norm cannot train on one image.
_FEWEST_ROWS_OF_RANK = 2


def join(device: str, inputs: dict[str, Any]) -> None:
    """Meet the other ranks and compare `inputs`, the options and digests that decide the outcome.

    Ranks talk by gloo between CPUs and by nccl between GPUs; each rank takes its own GPU.

    Raises:
        UsageError: The device is one GPU.
        IncompatibleError: The ranks have different inputs.
        ResourceError: A rank does not come within a minute, or there is no GPU for it.
    """
    if device.startswith("cuda:"):
        raise UsageError(f"--device is {device} and each rank takes its own GPU: use --device cuda")
    try:
        timeout = timedelta(seconds=_SECONDS_TO_MEET)
        meeting = dist.rendezvous("env://", timeout=timeout)  # type: ignore[attr-defined]
        store, rank, world_size = next(meeting)
        store.set(_inputs_key(rank), json.dumps(inputs))
        inputs_of_ranks = [json.loads(store.get(_inputs_key(other))) for other in range(world_size)]
    except (RuntimeError, ValueError) as error:
        raise ResourceError(
            "the ranks do not find each other: start all of them at once, with torchrun"
        ) from error
    _check_same_inputs(inputs_of_ranks)
    backend = "gloo"
    if device != "cpu" and torch.cuda.is_available():
        torch.cuda.set_device(pick_device(f"cuda:{os.environ['LOCAL_RANK']}"))
        backend = "cpu:gloo,cuda:nccl"
    dist.init_process_group(
        backend, timeout=_LONGEST_WAIT, world_size=world_size, rank=rank, store=store
    )


def rank_and_world_size() -> tuple[int, int]:
    """Return the rank of this process and the number of ranks."""
    if not dist.is_initialized():
        return 0, 1
    return dist.get_rank(), dist.get_world_size()


def is_first_rank() -> bool:
    """Return whether this process is rank 0, which tests and saves."""
    rank, _ = rank_and_world_size()
    return rank == 0


def layer_stream() -> str:
    """Return the name of the random stream of layers such as dropout: every rank has another."""
    rank, _ = rank_and_world_size()
    return f"layers of rank {rank}" if rank else "layers"


def average(value: float) -> float:
    """Average `value` over all ranks. Blocks until every rank calls it."""
    _, world_size = rank_and_world_size()
    total = torch.tensor(value, dtype=torch.float64)
    if world_size > 1:
        dist.all_reduce(total)
    return float(total) / world_size


def wait_for_all() -> None:
    """Block until every rank calls it."""
    average(0.0)


def data_parallel(body: nn.Module) -> nn.Module:
    """Return the network with gradients averaged over the ranks.

    Batch norms take the statistics of each rank's own images, as in torchvision's recipe.
    """
    return nn.parallel.DistributedDataParallel(body)


def rows_of_rank(batch_size: int) -> slice:
    """Return the rows of a batch that this rank works on.

    Every rank works on all rows of a batch with fewer than two rows for each rank, because a batch
    norm cannot train on one image.
    """
    rank, world_size = rank_and_world_size()
    if batch_size < _FEWEST_ROWS_OF_RANK * world_size:
        return slice(None)
    return slice(rank, None, world_size)


def shard_batch(batch: Batch, loss: StepLoss) -> tuple[Batch, StepLoss]:
    """Return batches cut down to `rows_of_rank`, and the loss for them.

    The mean of the losses over the ranks is the loss of the whole batch. Every rank augments the
    whole batch, so that the images are those of a single process.
    """
    _, world_size = rank_and_world_size()
    weight = 1.0

    def batch_of_rank(step: int) -> tuple[Tensor, Any]:
        nonlocal weight
        images, target = batch(step)
        rows = rows_of_rank(len(images))
        images_of_rank = images[rows]
        # Ranks with more rows than others count for more. Where each has all rows all count alike.
        weight = 1.0
        if rows != slice(None):
            weight = world_size * len(images_of_rank) / len(images)
        return images_of_rank, target.take(rows)

    def weighted_loss(logits: Tensor, target: Any, step: int) -> Tensor:
        return weight * loss(logits, target, step)

    return batch_of_rank, loss if world_size == 1 else weighted_loss


def chunks_for_rank(chunks: Iterable[slice], values: Array) -> Iterator[slice]:
    """Iterate over the chunks of rows of `values` that this rank is to fill.

    The ranks take turns. A chunk that another rank filled is sent to rank 0, whose `values` are
    complete at the end.
    """
    rank, world_size = rank_and_world_size()
    for number, rows in enumerate(chunks):
        owner = number % world_size
        if rank == owner:
            yield rows
        if owner == 0:
            continue
        if rank == owner:
            dist.send(torch.from_numpy(values[rows]), 0)
        elif rank == 0:
            dist.recv(torch.from_numpy(values[rows]), owner)


def _inputs_key(rank: int) -> str:
    """Return the key under which a rank shows its inputs to the others."""
    return f"inputs of {rank}"


def _check_same_inputs(inputs_of_ranks: list[dict[str, Any]]) -> None:
    """Raise IncompatibleError unless all ranks have the inputs of rank 0."""
    first = inputs_of_ranks[0]
    different = [
        name for name in first if any(other.get(name) != first[name] for other in inputs_of_ranks)
    ]
    if different:
        raise IncompatibleError(
            f"the ranks differ in {', '.join(different)}: give all the same command and files"
        )
