"""Memory of the device: given back, and work in smaller chunks when it runs out."""

import gc
from collections.abc import Callable

import torch
from torch import Tensor

from ddlabel.core.memory import is_out_of_memory
from ddlabel.training.chunking import cache_sized_chunks
from ddlabel.training.warning import warn_once

# Libraries multiply a matrix by one vector in another order than by two: the last bits differ.
_FEWEST_IMAGES = 2


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
