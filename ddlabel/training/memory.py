"""Memory: kept between steps on a CPU, given back on a GPU, and smaller chunks when it runs out."""

import ctypes
import functools
import gc
import os
import sys
from collections.abc import Callable

import psutil
import torch
from torch import Tensor

from ddlabel.core.memory import is_out_of_memory
from ddlabel.training.chunking import cache_sized_chunks
from ddlabel.training.warning import warn_once

# Libraries multiply a matrix by one vector in another order than by two: the last bits differ.
_FEWEST_IMAGES = 2
# The options of glibc's `mallopt`, from its malloc.h.
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
# Larger than the activations of a layer for a batch: 256 images at 224 px of a ResNet take 0.8 GB.
_KEPT_BYTES = 1 << 30
# With one of these the user has set the allocator, or has another one.
_ALLOCATOR_VARIABLES = ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES")


@functools.cache
def keep_freed_memory() -> bool:
    """Let this process keep the memory that it frees, and return whether it does.

    By default glibc gives every large array back to the system, and each layer of each step waits
    for new, zeroed pages. Blocks of up to 1 GiB are kept for the next step, until the process
    ends. Environment variables of the allocator win. Only glibc needs this; under another C library
    of Linux a warning says once that steps are slower.
    """
    if sys.platform != "linux" or any(name in os.environ for name in _ALLOCATOR_VARIABLES):
        return False
    set_option = getattr(ctypes.CDLL(None), "mallopt", None)
    options = {_M_MMAP_THRESHOLD: _KEPT_BYTES, _M_TRIM_THRESHOLD: _KEPT_BYTES}
    is_kept = set_option is not None and all(
        set_option(option, value) == 1 for option, value in options.items()
    )
    if not is_kept:
        warn_once("this C library gives freed memory back to the system: steps are slower")
    return is_kept


def free_bytes(device: torch.device) -> int:
    """Return the memory of a device that a program can have without swapping.

    On a CPU this counts what the system keeps of files, which it gives up when it is needed.
    """
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        # torch keeps the memory of tensors that are gone for new ones.
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(free + kept)
    return int(psutil.virtual_memory().available)


def copied(tensor: Tensor, device: torch.device) -> Tensor:
    """Copy a tensor of the host to a device, without making the host wait for a GPU."""
    if device.type != "cuda":
        return tensor.to(device)
    # The copy of memory that is not pinned begins when all work before it is done.
    return tensor.pin_memory().to(device, non_blocking=True)


def release_memory() -> None:
    """Give memory that nothing uses back to the device, after an error that it is exhausted."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


class ChunkedFunction:
    """A function of images [B, C, H, W] → values [B, ...] that is called for one chunk at a time.

    A chunk that does not fit into memory is halved, and all later chunks are at most as large. A
    warning says so once.
    """

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        self._function = function
        self._most_images: int | None = None

    def __call__(self, images: Tensor) -> Tensor:
        """Return the values of all images.

        Raises:
            MemoryError, RuntimeError: There is not enough memory for two images.
        """
        return torch.cat([self._values(chunk) for chunk in cache_sized_chunks(images)])

    def _values(self, images: Tensor) -> Tensor:
        """Return the values of a chunk, which is split if it does not fit."""
        most_images = self._most_images or len(images)
        if len(images) > most_images:
            parts = torch.split(images, most_images)
            return torch.cat([self._values_of_part(part) for part in parts])
        try:
            return self._function(images)
        except (MemoryError, RuntimeError) as error:
            if len(images) <= _FEWEST_IMAGES or not is_out_of_memory(error):
                raise
        # Not in the handler: there the error keeps the tensors of its frames alive.
        release_memory()
        self._most_images = max(_FEWEST_IMAGES, len(images) // 2)
        warn_once("out of memory: going on with fewer images at once through the network")
        return self._values(images)

    def _values_of_part(self, part: Tensor) -> Tensor:
        """Return the values of a part of a chunk."""
        missing = _FEWEST_IMAGES - len(part)
        if missing <= 0:
            return self._values(part)
        filled = torch.cat([part, part[-1:].expand(missing, *part.shape[1:])])
        return self._values(filled)[: len(part)]
