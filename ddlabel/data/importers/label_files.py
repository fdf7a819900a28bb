"""Labels alone, in a file of NumPy, torch or text: hard [N], soft [N, K] or dense [N, V, K]."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from ddlabel.core.errors import InvalidInputError, UsageError
from ddlabel.core.registry import nearest
from ddlabel.data.importers.label_tables import LabelFile, read_table
from ddlabel.data.importers.numpy_files import open_npz, read_array, read_npy, read_shape
from ddlabel.data.importers.torch_files import array_of, is_tensor, read_torch
from ddlabel.data.labels import Array
from ddlabel.data.reading import reading

_TEXT = (".csv", ".tsv", ".txt")
_NUMPY = (".npy", ".npz")
_TORCH = (".pt", ".pth")
SUFFIXES = (*_NUMPY, *_TEXT, *_TORCH)
# The name of a tensor that has none.
_TENSOR = "tensor"
# Arrays that are read without being named, where a file has several.
_KNOWN = ("soft_labels", "dense_labels", "hard_labels", "labels", "label", "logits", "probs", "y")


class _Stored(NamedTuple):
    """An array of a file: its number of axes, without those of length 1 at the end, and itself."""

    num_axes: int
    read: Callable[[], Array]


def read_label_file(path: Path, array: str | None = None) -> LabelFile:
    """Read the labels of a file; `array` names one of several arrays of an .npz or .pt file.

    Raises:
        InvalidInputError: The file is damaged, of no known kind, or does not hold labels.
        UnsafeInputError: It could run code or exhaust the machine.
        UsageError: It holds several arrays that could be the labels, and none is named.
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise InvalidInputError(
            f"{path}: not a file of labels: expected one of {', '.join(SUFFIXES)}"
        )
    if array is not None and (suffix in _TEXT or suffix == ".npy"):
        raise UsageError(f"{path}: it holds one array: leave out --array {array}")
    if suffix in _TEXT:
        return read_table(path)
    if suffix == ".npy":
        return labels_of_array(path, read_npy(path))
    if suffix == ".npz":
        with open_npz(path) as (archive, members):
            stored = {}
            for name, member in members.items():
                shape = read_shape(archive, member)
                stored[name] = _Stored(_num_axes(shape), partial(read_array, archive, member))
            return _labels_of([one.read() for one in _pick(stored, array)])
    stored = _tensors(path)
    with reading(path, "cannot be read"):
        return _labels_of([one.read() for one in _pick(stored, array)])


def labels_of_array(name: Path | str, array: Array) -> LabelFile:
    """Return an array as hard, soft or dense labels by the number of its axes.

    Raises:
        InvalidInputError: It has another number of axes, or is empty.
    """
    with reading(name, "cannot be read"):
        return _labels_of([array])


def _num_axes(shape: Sequence[int]) -> int:
    """Return the number of axes of labels: [N, 1] has one."""
    return 1 if len(shape) == 2 and shape[1] == 1 else len(shape)


def _tensors(path: Path) -> dict[str, _Stored]:
    """Return the tensors of a .pt file by name; a tensor alone is called `tensor`."""
    value = read_torch(path)
    values = value if isinstance(value, dict) else {_TENSOR: value}
    stored = {}
    for name, tensor in values.items():
        if is_tensor(tensor):
            stored[str(name)] = _Stored(
                _num_axes(tensor.shape), partial(array_of, f"{name!r}", tensor)
            )
    if not stored:
        raise InvalidInputError(f"{path}: holds a {type(value).__name__} without tensors")
    return stored


def _pick(stored: Mapping[str, _Stored], wanted: str | None) -> list[_Stored]:
    """Return the array that is wanted, the only one, or the known ones: hard, soft or dense."""
    if wanted is not None:
        if wanted not in stored:
            raise UsageError(f"--array is {wanted!r}: {nearest(wanted, stored)}")
        return [stored[wanted]]
    if len(stored) == 1:
        return [*stored.values()]
    known = [name for name in _KNOWN if name in stored]
    picked = [stored[name] for name in known]
    axes = [one.num_axes for one in picked]
    if not picked or len(set(axes)) < len(axes):
        which = known or [*stored]
        raise UsageError(
            f"it holds {', '.join(stored)}: choose the labels with --array, such as "
            f"--array {which[0]}"
        )
    return picked


def _labels_of(arrays: Sequence[Array]) -> LabelFile:
    """Return hard, soft and dense labels by the number of their axes."""
    labels = LabelFile()
    for array in arrays:
        num_axes = _num_axes(array.shape)
        if array.size == 0 or not 1 <= num_axes <= 3:
            raise InvalidInputError(
                f"an array of shape {list(array.shape)}: expected hard labels [N], soft "
                "labels [N, K] or dense labels [N, V, K]"
            )
        if num_axes == 1:
            labels = labels._replace(hard=array.reshape(-1))
        elif num_axes == 2:
            labels = labels._replace(soft=array)
        else:
            labels = labels._replace(dense=array)
    return labels
