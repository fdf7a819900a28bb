"""Scratch arrays: temporary space that grows on disk and leaves nothing behind."""

import math
import shutil
import tempfile
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ddlabel.core.errors import StorageError

IN_MEMORY_BYTES = 1 << 28


def scratch_array(shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
    """Return an array of zeros to fill.

    An array of more than 256 MiB lies in an unnamed file, so that peak memory does not grow with N.

    Raises:
        StorageError: The disk of temporary files has less free space than the array takes.
    """
    num_bytes = math.prod(shape) * np.dtype(dtype).itemsize
    if num_bytes <= IN_MEMORY_BYTES:
        return np.zeros(shape, dtype)
    _check_free_space(num_bytes)
    with tempfile.TemporaryFile() as file:
        return np.memmap(file, dtype=dtype, mode="w+", shape=shape)


def _check_free_space(num_bytes: int) -> None:
    """Check the space for a mapped file: a full disk would end the process when it is filled."""
    folder = tempfile.gettempdir()
    free = shutil.disk_usage(folder).free
    if num_bytes > free:
        raise StorageError(
            f"{folder}: {num_bytes} bytes of temporary space are needed and {free} are free: free "
            "some, or set TMPDIR to another disk"
        )
