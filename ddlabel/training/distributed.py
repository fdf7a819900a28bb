"""Several processes on one task, as torchrun starts them; a process that did not `join` others is alone."""

import json
import os
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from ddlabel.core.errors import IncompatibleError, ResourceError
from ddlabel.data.labels import Array
from ddlabel.training.loop import Batch
from ddlabel.training.runtime import pick_device

Loss = Callable[[Tensor, Any, int], Tensor]


def join(device: str, inputs: dict[str, Any]) -> None:
    """Come together with the other ranks: gloo between CPUs, nccl between GPUs, of which each rank takes its own.

    IncompatibleError if they have other inputs, ResourceError if one does not come within a minute or has no GPU.
    """
    try:
        store, rank, world = next(dist.rendezvous("env://", timeout=timedelta(seconds=60)))  # type: ignore[attr-defined]
        store.set(f"inputs of {rank}", json.dumps(inputs))
        every = [json.loads(store.get(f"inputs of {each}")) for each in range(world)]
    except (RuntimeError, ValueError) as error:
        raise ResourceError(
            "the ranks do not find each other: start all of them at once, with torchrun"
        ) from error
    if different := [
        name for name in every[0] if any(each.get(name) != every[0][name] for each in every)
    ]:
        raise IncompatibleError(
            f"the ranks differ in {', '.join(different)}: give all the same command and files"
        )
    if gpu := device != "cpu" and torch.cuda.is_available():
        torch.cuda.set_device(pick_device(f"cuda:{os.environ['LOCAL_RANK']}"))
    # The others wait for as long as rank 0 tests and saves; when one dies torchrun ends them, and no clock has to.
    dist.init_process_group(
        "cpu:gloo,cuda:nccl" if gpu else "gloo", None, timedelta(days=1), world, rank, store
    )


def current() -> tuple[int, int]:
    """This process's rank, and how many there are."""
    return (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)


def mean(value: float) -> float:
    """Of a number that every rank has; waits for all of them."""
    total, world = torch.tensor(value, dtype=torch.float64), current()[1]
    if world > 1:
        dist.all_reduce(total)
    return float(total) / world


def part(count: int) -> slice:
    """Which rows of a batch are this rank's; all of a batch too small to share, as a batch norm needs two rows."""
    rank, world = current()
    return slice(None) if count < 2 * world else slice(rank, None, world)


def parallel(body: nn.Module) -> nn.Module:
    """The module with the ranks' mean gradients; batch norms take each rank's own statistics (torchvision's recipe)."""
    return nn.parallel.DistributedDataParallel(body)


def shared(batch: Batch, loss: Loss) -> tuple[Batch, Loss]:
    """A batch cut down to this rank's `part`, and a loss whose mean over the ranks is that of the whole batch.

    The whole batch is augmented by every rank, so that the pictures are those that one process would see.
    """
    world, weight = current()[1], 1.0

    def own_batch(step: int) -> tuple[Tensor, Any]:
        nonlocal weight
        images, target = batch(step)
        own = part(len(images))
        weight = 1 if own == slice(None) else world * len(images[own]) / len(images)
        return images[own], target.take(own)

    return (
        own_batch,
        loss if world == 1 else lambda logits, target, step: weight * loss(logits, target, step),
    )


def chunks_for_rank(chunks: Iterable[slice], values: Array) -> Iterator[slice]:
    """The chunks whose rows of `values` this rank is to fill, by turns; rank 0 gets those of the others."""
    rank, world = current()
    for number, rows in enumerate(chunks):
        owner = number % world
        if rank == owner:
            yield rows
        if owner and rank in (0, owner):
            dist.send(torch.from_numpy(values[rows]), 0) if rank else dist.recv(
                torch.from_numpy(values[rows]), owner
            )
