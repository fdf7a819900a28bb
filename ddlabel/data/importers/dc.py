"""Result files of DC, DSA and DM: a dictionary of the distilled sets and their accuracies."""

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ddlabel.core.config import ImportOptions
from ddlabel.core.errors import InvalidInputError, UsageError
from ddlabel.data.importers.hard_labels import OPTIONS as HARD
from ddlabel.data.importers.registry import Certainty, Found, importers
from ddlabel.data.importers.source import Source, from_arrays
from ddlabel.data.importers.torch_files import array_of, is_tensor, is_torch_file, read_torch
from ddlabel.data.schema import require

_SETS = "data"
_ACCURACIES = "accs_all_exps"
# res_{method}_{dataset}_{net}_{ipc}ipc.pt
_NAME = re.compile(r"res_(\w+?)_(\w+?)_(\w+?)_(\d+)ipc")
# More would fill the header, and no one records more than a hundred for a network.
_MOST_ACCURACIES = 10_000


def _recognise(paths: Sequence[Path]) -> Found | None:
    """Find a .pt file of a dictionary with `data`, a list of pairs of tensors."""
    if not is_torch_file(paths[0]):
        return None
    value = read_torch(paths[0], mapped=True)
    if not isinstance(value, dict) or not {_SETS, _ACCURACIES} & value.keys():
        return None
    if _ACCURACIES not in value and not _are_sets(value[_SETS]):
        return None
    method = _NAME.search(paths[0].name)
    of = f" ({method[1]}, {method[2]}, {method[3]}, IPC {method[4]})" if method else ""
    what = f"a result file of DC, DSA or DM{of}"
    if not _are_sets(value.get(_SETS)):
        return Found(what, Certainty.MARK, missing="data = [[images, labels], …]")
    num_sets = len(value[_SETS])
    return Found(f"{what} with {num_sets} {'set' if num_sets == 1 else 'sets'}", Certainty.MARK)


def _are_sets(value: Any) -> bool:
    """Return whether a value is a list of pairs of tensors."""
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(pair, list | tuple) and len(pair) == 2 for pair in value)
        and all(is_tensor(tensor) for pair in value for tensor in pair)
    )


@importers.add(
    "dc", recognise=_recognise, options={"set", "pixels", "label_space", "zca_from", *HARD}
)
def load(paths: Sequence[Path], options: ImportOptions) -> Source:
    """A result file of DC, DSA or DM (`res_DC_CIFAR10_ConvNet_10ipc.pt`): sets and accuracies.

    The file is a dictionary with `data`, a list of [images, labels]. The last set is read, or the
    one that `options.set` names, from 0. The accuracies that it records (`accs_all_exps`) go into
    the history.

    Raises:
        InvalidInputError: The file is damaged or has another layout.
        UnsafeInputError: It asks for code, or declares more than its bytes hold.
        UsageError: There is no such set; the space of the pixels is not stated.
    """
    path = paths[0]
    value = read_torch(path)
    is_result = isinstance(value, dict) and _are_sets(value.get(_SETS))
    require(is_result, f"{path}: not a result file: expected a dictionary with data = [[images, …")
    sets = value[_SETS]
    number = len(sets) - 1 if options.set is None else options.set
    if number >= len(sets):
        raise UsageError(f"{path}: --set is {number}: expected 0 to {len(sets) - 1}")
    images, labels = (array_of(path, tensor) for tensor in sets[number])
    source = from_arrays(str(path), images, [labels], options)
    facts = {**source.facts, **_accuracies(path, value.get(_ACCURACIES, {}))}
    notes = list(source.notes)
    if len(sets) > 1:
        notes.append(f"note: {path}: set {number} of 0 … {len(sets) - 1} is read (--set)")
    return source._replace(facts=facts, notes=tuple(notes))


def _accuracies(path: Path, recorded: Any) -> dict[str, Any]:
    """Return the fact of the accuracies that a file records for each network.

    Raises:
        InvalidInputError: They are no finite numbers, or too many.
    """
    expected = f"expected lists of at most {_MOST_ACCURACIES} finite numbers by network"
    try:
        accuracies = {str(name): list(map(float, values)) for name, values in recorded.items()}
    except (TypeError, ValueError, AttributeError, OverflowError, RuntimeError) as error:
        raise InvalidInputError(f"{path}: {_ACCURACIES} cannot be read: {expected}") from error
    numbers = [number for each in accuracies.values() for number in each]
    is_good = len(numbers) <= _MOST_ACCURACIES and all(map(math.isfinite, numbers))
    require(is_good, f"{path}: {_ACCURACIES} has {len(numbers)} numbers: {expected}")
    known = {name: each for name, each in accuracies.items() if each}
    return {"accuracies": known} if known else {}
