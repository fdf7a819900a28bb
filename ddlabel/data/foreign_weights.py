"""Weights of networks that other programs trained: state dicts, and the replay buffers of MTT."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ddlabel.core.errors import InvalidInputError, StorageError, UnsafeInputError, UsageError
from ddlabel.core.number_list import read_numbers
from ddlabel.data.importers import budget
from ddlabel.data.importers.torch_files import array_of, check_filled, is_tensor, read_torch
from ddlabel.data.reading import reading
from ddlabel.data.run_files import Arrays
from ddlabel.data.safetensors_files import check_header
from ddlabel.data.schema import require

if TYPE_CHECKING:
    from torch import Tensor

# The keys under which training programs save a state dict beside an optimizer and an epoch.
_WRAPPERS = ("state_dict", "model_state_dict", "model", "net", "network", "weights")
# What DataParallel, torch.compile, Lightning and wrapper classes put before every name.
_PREFIXES = ("module.", "_orig_mod.", "model.", "net.", "network.")
_NUMBERED = re.compile(r"(\d{1,9})$")
_NUMBERED_ALONE = re.compile(r"(?:model|epoch|checkpoint|ckpt)[_-]?(\d{1,9})$")
_SAFETENSORS = ".safetensors"
_SHOWN_KEYS = 6


class Weights(NamedTuple):
    """The weights of a network at one epoch.

    Attributes:
        name: How messages name them: the file, of a replay buffer with expert and epoch.
        epoch: The epoch that they are of.
        tensors: The parameters and buffers. In a replay buffer, which has parameters alone, their
            names are their numbers.
        has_names: Whether the names are those of layers.
        in_order: Whether they are in module order. In a .safetensors file they are not.
    """

    name: str
    epoch: int
    tensors: "dict[str, Tensor]"
    has_names: bool = True
    in_order: bool = True

    def arrays(self) -> Arrays:
        """Return the weights as float32, and whole numbers such as counters as they are.

        Raises:
            InvalidInputError: A weight is not a finite number.
            UnsafeInputError: A tensor has more numbers than its bytes hold.
        """
        arrays = {}
        for key, tensor in self.tensors.items():
            name = f"{self.name}: {key}"
            array = array_of(name, tensor)
            require(array.dtype.kind in "biuf", f"{name} has {array.dtype.name}: expected numbers")
            if array.dtype.kind == "f":
                with np.errstate(over="ignore"):
                    array = array.astype(np.float32)
                require(np.isfinite(array).all(), f"{name} has NaN or infinity")
            arrays[key] = array
        return arrays


# The checkpoints of one expert in the order of their epochs, by the number of the expert.
Experts = dict[int, list[Weights]]


def read_experts(paths: Sequence[Path], epochs: str | None, experts: str | None) -> Experts:
    """Read state dicts, which are the epochs of one expert, or replay buffers with many experts.

    Args:
        paths: .pt, .pth, … files of torch.save, or .safetensors files.
        epochs: For state dicts the epoch of each file, for replay buffers those to read.
        experts: The experts of replay buffers to read, numbered through all files.

    Raises:
        InvalidInputError: A file is missing, damaged, or holds no weights.
        UnsafeInputError: A file asks for code, or declares more than its bytes hold.
        UsageError: The epochs or experts are not there, or are not one for each file.
        StorageError: The operating system refuses to read.
    """
    values = []
    for path in paths:
        try:
            budget.check_source(path)
        except OSError as error:
            raise StorageError(f"cannot read {path}: {error.strerror or error}") from error
        require(path.is_file(), f"{path}: a folder: name the files of the weights in it")
        values.append(_read(path))
    are_buffers = [isinstance(value, list) for value in values]
    require(
        len(set(are_buffers)) == 1,
        f"{paths[0]}: replay buffers and other files together: import them one by one",
    )
    if all(are_buffers):
        return _of_buffers(paths, values, epochs, experts)
    if experts is not None:
        raise UsageError(
            "--experts chooses from the experts of a replay buffer, and this is a state dict, "
            "which has one: leave it out"
        )
    numbers = _epochs_of_files(paths, epochs)
    weights = [
        Weights(
            str(path),
            epoch,
            _state_dict(path, value),
            in_order=path.suffix != _SAFETENSORS,
        )
        for path, epoch, value in zip(paths, numbers, values, strict=True)
    ]
    return {0: sorted(weights, key=lambda each: each.epoch)}


def _read(path: Path) -> Any:
    """Return the value of a file; the numbers of its tensors are read when they are used."""
    if path.suffix == _SAFETENSORS:
        from safetensors.torch import load_file

        with reading(path, "the file is damaged"):
            budget.check_budget("it", path.stat().st_size, budget.MAX_TOTAL_BYTES)
            check_header(path)
            return load_file(path)
    try:
        return read_torch(path, mapped=True)
    except UnsafeInputError as error:
        if "code" not in str(error):
            raise
        raise UnsafeInputError(f"{error}, of a network its state_dict()") from error


def _state_dict(path: Path, value: Any) -> "dict[str, Tensor]":
    """Find the state dict in what a file holds, and take the prefixes from its names."""
    found = _unwrapped(value)
    if found is None:
        raise InvalidInputError(f"{path}: {_described(value)}: expected a state dict or {_BUFFER}")
    with reading(path, "its weights are not dense tensors"):
        for name, tensor in found.items():
            check_filled(name, tensor)
    names = list(found)
    prefix = ""
    while True:
        more = [each for each in _PREFIXES if all(n.startswith(prefix + each) for n in names)]
        if not more:
            break
        prefix += more[0]
    return {name.removeprefix(prefix): tensor for name, tensor in found.items()}


def _unwrapped(value: Any, depth: int = 3) -> "Mapping[str, Tensor] | None":
    """Return the state dict in a dictionary, or under one of the usual keys in it."""
    if depth == 0 or not isinstance(value, Mapping):
        return None
    are_names = all(isinstance(key, str) for key in value)
    if value and are_names and all(is_tensor(each) for each in value.values()):
        return value
    for key in _WRAPPERS:
        found = _unwrapped(value[key], depth - 1) if key in value else None
        if found is not None:
            return found
    return None


_BUFFER = "a replay buffer (a list of experts, of epochs, of parameters)"


def _described(value: Any) -> str:
    """Return what a file holds that has no weights."""
    if not isinstance(value, Mapping):
        return f"it holds a {type(value).__name__} and no weights"
    keys = [str(key) for key in value]
    more = ", …" if len(keys) > _SHOWN_KEYS else ""
    shown = ", ".join(keys[:_SHOWN_KEYS]) or "nothing"
    return f"it holds {shown}{more} and no weights of a network"


def _epochs_of_files(paths: Sequence[Path], epochs: str | None) -> list[int]:
    """Return the epoch of each file: as given, or by the number at the end of its name."""
    if epochs is not None:
        numbers = read_numbers("--epochs", epochs)
        if len(numbers) != len(paths):
            raise UsageError(
                f"--epochs {epochs} are {len(numbers)} epochs for {len(paths)} files: name the "
                "epoch of each file"
            )
        return numbers
    if len(paths) == 1:
        match = _NUMBERED_ALONE.search(paths[0].stem)
        return [1 if match is None else int(match[1])]
    found = [_NUMBERED.search(path.stem) for path in paths]
    numbers = [int(match[1]) for match in found if match is not None]
    if len(set(numbers)) < len(paths):
        raise UsageError(
            f"{len(paths)} files, whose names do not end in one epoch each: add --epochs with the "
            "epoch of each file"
        )
    return numbers


def _of_buffers(
    paths: Sequence[Path], values: Sequence[Any], epochs: str | None, experts: str | None
) -> Experts:
    """Return the chosen experts of replay buffers, at the chosen epochs."""
    trajectories = []
    for path, value in zip(paths, values, strict=True):
        _check_buffer(path, value)
        trajectories += [(path, trajectory) for trajectory in value]
    chosen = _chosen("--experts", experts, list(range(len(trajectories))))
    found: Experts = {}
    for number in chosen:
        path, trajectory = trajectories[number]
        # Epoch 0 is the untrained network: it is read if it is asked for.
        known = list(range(len(trajectory)))
        steps = known[1:] if epochs is None else _chosen("--epochs", epochs, known)
        require(steps, f"{path}: expert {number} has no epoch after its first weights")
        found[number] = [
            Weights(
                f"{path}, expert {number}, epoch {step}",
                step,
                {f"parameter {place}": tensor for place, tensor in enumerate(trajectory[step])},
                has_names=False,
            )
            for step in steps
        ]
    return found


def _check_buffer(path: Path, value: Any) -> None:
    """Check that a value is a list of experts, which are lists of epochs, of parameters."""
    levels = [value]
    for _ in range(2):
        levels = [part for level in levels for part in level if isinstance(level, list | tuple)]
        are_lists = all(isinstance(level, list | tuple) and len(level) > 0 for level in levels)
        require(levels and are_lists, f"{path}: a list that is not {_BUFFER}")
    for parameters in levels:
        are_tensors = all(is_tensor(parameter) for parameter in parameters)
        require(are_tensors, f"{path}: a list that is not {_BUFFER}")


def _chosen(flag: str, text: str | None, known: Sequence[int]) -> list[int]:
    """Return the numbers that an option chooses; all without it."""
    if text is None:
        return list(known)
    numbers = sorted(set(read_numbers(flag, text)))
    unknown = [number for number in numbers if number not in known]
    if unknown:
        raise UsageError(f"{flag} {text}: there is no {unknown[0]}: it goes from 0 to {known[-1]}")
    return numbers
