"""Arrays that stay in memory, or in a mapped file, and are copied to a device row by row."""

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple, Self

import numpy as np
import torch
from torch import Tensor

from ddlabel.data.labels import Array, Labels
from ddlabel.data.mapped_file import MappedFile

# The rows that are wanted: some consecutive ones, or one index array for each leading dimension.
Index = slice | tuple[Array, ...]


class _Expected(NamedTuple):
    """Rows that are read ahead."""

    rows: Index
    values: "Future[Tensor]"


class HostRows:
    """An array on the host that is indexed like a tensor on a device.

    `expect` reads rows ahead in a thread while the device works, on a CUDA device into pinned
    memory, from which it copies them by itself.

    Attributes:
        shape: The shape of the array.
        device: The device to which rows are copied.
    """

    def __init__(
        self,
        read: Callable[[Index], Array],
        shape: Sequence[int],
        device: torch.device,
        files: Sequence[MappedFile | None],
    ) -> None:
        self.shape = torch.Size(shape)
        self.device = device
        self._read = read
        self._files = [file for file in files if file is not None]
        self._thread = ThreadPoolExecutor(1)
        self._expected: _Expected | None = None

    @classmethod
    def of_array(cls, array: Array, device: torch.device) -> Self:
        """Return the rows of an array."""
        return cls(array.__getitem__, array.shape, device, [MappedFile.of(array)])

    @classmethod
    def of_labels(cls, labels: Labels, device: torch.device) -> Self:
        """Return the rows of labels, decoded when they are read."""
        shape = (*labels.values.shape[:-1], labels.num_classes)
        arrays = [labels.values] if labels.index is None else [labels.values, labels.index]
        return cls(labels.decode, shape, device, [MappedFile.of(array) for array in arrays])

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, wanted: slice | Tensor | tuple[Tensor, ...]) -> Tensor:
        """Return some rows on the device.

        Raises:
            InvalidInputError: The file was changed since it was opened.
        """
        rows, places = _without_repeats(_host_index(wanted))
        expected = self._expected
        self._expected = None
        if expected is not None and _are_equal(expected.rows, rows):
            values = expected.values.result()
        else:
            values = self._load(rows)
        on_device = values.to(self.device, non_blocking=True)
        return on_device if places is None else on_device[places.to(self.device)]

    def expect(self, wanted: slice | Tensor | tuple[Tensor, ...]) -> None:
        """Read some rows ahead: they will be asked for next."""
        rows, _ = _without_repeats(_host_index(wanted))
        self._expected = _Expected(rows, self._thread.submit(self._load, rows))

    def _load(self, rows: Index) -> Tensor:
        """Read rows, and check that the file is what it was."""
        self._check_files()
        values = self._read(rows)
        # A slice of a mapped file has not been read yet.
        copied = np.array(values) if isinstance(rows, slice) else np.asarray(values)
        self._check_files()
        tensor = torch.from_numpy(copied)
        return tensor.pin_memory() if self.device.type == "cuda" else tensor

    def _check_files(self) -> None:
        for file in self._files:
            file.check_unchanged()


def _host_index(wanted: slice | Tensor | tuple[Tensor, ...]) -> Index:
    """Return an index of tensors as one of numpy arrays."""
    if isinstance(wanted, slice):
        return wanted
    tensors = (wanted,) if isinstance(wanted, Tensor) else wanted
    return tuple(tensor.cpu().numpy() for tensor in tensors)


def _without_repeats(rows: Index) -> tuple[Index, Tensor | None]:
    """Return the rows without those that come again, and the place of each; None if none does.

    The views of an image in one batch ask for it as often as there are views.
    """
    if isinstance(rows, slice) or len(rows) > 1:
        return rows, None
    different, places = np.unique(rows[0], return_inverse=True)
    if len(different) == len(rows[0]):
        return rows, None
    return (different,), torch.from_numpy(places)


def _are_equal(first: Index, second: Index) -> bool:
    if isinstance(first, slice) or isinstance(second, slice):
        return first == second
    return len(first) == len(second) and all(
        np.array_equal(a, b) for a, b in zip(first, second, strict=True)
    )
