"""Several processes on one task, as torchrun starts them; a process that did not `join` others is alone."""

import json
import os
import warnings
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.rendezvous import rendezvous
from torch.nn.parallel import DistributedDataParallel

from ddlabel.bundle import Array
from ddlabel.errors import IncompatibleError, ResourceError
from ddlabel.provenance import canonical_json
from ddlabel.train.fit import Batch

_PATIENCE = timedelta(seconds=60)
# They wait for as long as rank 0 tests and saves; when one dies torchrun ends the others, and no clock has to.
_WORK = timedelta(days=1)
Loss = Callable[[Tensor, Any, int], Tensor]


def join(device: str, inputs: dict[str, Any]) -> None:
    """Come together with the other ranks: gloo between CPUs, nccl between GPUs, of which each rank takes its own.

    IncompatibleError if they have other inputs, ResourceError if one does not come within a minute or has no GPU.
    """
    try:
        store, rank, world = next(rendezvous("env://", timeout=_PATIENCE))
        store.set(f"inputs of {rank}", canonical_json(inputs))
        every = [json.loads(store.get(f"inputs of {each}")) for each in range(world)]
    except (RuntimeError, ValueError) as error:
        raise ResourceError("the ranks do not find each other: start all of them at once, with torchrun") from error
    if different := [name for name in every[0] if any(each.get(name) != every[0][name] for each in every)]:
        raise IncompatibleError(f"the ranks have other {', '.join(different)}: give all the same command and files")
    gpus = 0 if device == "cpu" else torch.cuda.device_count()
    if gpus:
        if (local := int(os.environ.get("LOCAL_RANK", rank))) >= gpus:
            raise ResourceError(f"a GPU for each rank: there are {gpus}; take fewer --nproc-per-node, or --device cpu")
        torch.cuda.set_device(local)
    backend = "cpu:gloo,cuda:nccl" if gpus else "gloo"
    dist.init_process_group(backend, store=store, rank=rank, world_size=world, timeout=_WORK)


def current() -> tuple[int, int]:
    """This process's rank, and how many there are."""
    return (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)


def mean(value: float) -> float:
    """Of a number that every rank has; waits for all of them."""
    world = current()[1]
    if world == 1:
        return value
    total = torch.tensor(value, dtype=torch.float64)
    dist.all_reduce(total)
    return float(total) / world


def part(count: int) -> slice:
    """Which rows of a batch are this rank's; all of a batch too small to share, as a batch norm needs two rows."""
    rank, world = current()
    return slice(None) if count < 2 * world else slice(rank, None, world)


def parallel(body: nn.Module) -> nn.Module:
    """The module with the ranks' mean gradients; batch norms take each rank's own statistics (torchvision's recipe)."""
    warnings.filterwarnings("ignore", "Grad strides")  # of kernels with one channel, whose order means nothing
    return body if current()[1] == 1 else DistributedDataParallel(body)


def shared(batch: Batch, loss: Loss) -> tuple[Batch, Loss]:
    """A batch cut down to this rank's `part`, and a loss whose mean over the ranks is that of the whole batch.

    The whole batch is augmented by every rank, so that the pictures are those that one process would see.
    """
    world, weight = current()[1], 1.0
    if world == 1:
        return batch, loss

    def own_batch(step: int) -> tuple[Tensor, Any]:
        nonlocal weight
        images, target = batch(step)
        rows = torch.arange(len(images), device=images.device)[part(len(images))]
        weight = len(rows) / len(images) * (1 if len(rows) == len(images) else world)
        return images[rows], target.take(rows)

    return own_batch, lambda logits, target, step: weight * loss(logits, target, step)


def turns(chunks: Iterable[slice], values: Array) -> Iterator[slice]:
    """The chunks whose rows of `values` this rank is to fill, by turns; after each round rank 0 has those of all."""
    rank, world = current()
    every = list(chunks)
    for start in range(0, len(every), world):
        these = every[start : start + world]
        if rank < len(these):
            yield these[rank]
        for other, rows in enumerate(these[1:], 1):
            if rank == 0:
                dist.recv(torch.from_numpy(values[rows]), other)
            elif rank == other:
                dist.send(torch.from_numpy(values[rows]), 0)
