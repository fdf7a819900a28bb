"""The files of an expert run: each is written whole, and verified when it is read."""

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ddlabel.data import atomic
from ddlabel.data.provenance import (
    canonical_json,
    sha256_of_array,
    sha256_of_file,
    sha256_of_text,
)
from ddlabel.data.reading import reading
from ddlabel.data.safetensors_files import check_header
from ddlabel.data.schema import require

INFO = "expert.json"
METRICS = "metrics.jsonl"
WHITENING = "whitening.safetensors"
# An expert of 65,536 classes has 5 MB of names, and 10,000 checkpoints have 5 MB of records.
MAX_TEXT_BYTES = 1 << 24
# The state that a killed run leaves.
RESUME = "resume.pt"
# The optimizer's state after the last step, from which a finished run goes on to more epochs.
OPTIMIZER = "optimizer.pt"
_CHECKPOINT = re.compile(r"step-(\d{8,})\.safetensors")
_PART = re.compile(r"\.(?P<name>.+)\.\d+-[0-9a-f]+\.part")
_DIGEST = "digest"
_DIGEST_LENGTH = 64
# A name that no array of a safetensors file can have.
_METADATA = "__metadata__"
Arrays = dict[str, NDArray[Any]]


def checkpoint_name(step: int) -> str:
    """Return the name of the file of a checkpoint."""
    return f"step-{step:08d}.safetensors"


def checkpoint_step(name: str) -> int | None:
    """Return the step of a checkpoint's file; None if the name is not that of one."""
    match = _CHECKPOINT.fullmatch(name)
    return None if match is None else int(match[1])


def is_temporary(name: str) -> bool:
    """Return whether a file is a temporary one of a run's file, which `atomic.write` makes."""
    match = _PART.fullmatch(name)
    if match is None:
        return False
    target = match["name"]
    is_file_of_run = target in (INFO, METRICS, WHITENING, RESUME, OPTIMIZER)
    return is_file_of_run or checkpoint_step(target) is not None


def write_file(path: Path, content: bytes) -> None:
    """Write or replace a file.

    Raises:
        StorageError: The operating system refuses.
    """
    atomic.write(str(path), [content], size=len(content), force=True)


def with_digest(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values with the sha256 of their canonical JSON as `digest`."""
    return {**values, _DIGEST: _digest_of(values)}


def without_digest(text: bytes, *, name: str) -> dict[str, Any]:
    """Return the values of a JSON text that `with_digest` signed.

    Raises:
        InvalidInputError: They do not match their digest; `name` says whose they are.
        ValueError, RecursionError: The text is not JSON.
    """
    values: dict[str, Any] = json.loads(text)
    require(isinstance(values, dict), f"{name} is not a JSON object")
    digest = values.pop(_DIGEST, None)
    is_intact = digest == _digest_of(values)
    require(is_intact, f"{name} does not match its digest: the file is damaged")
    return values


def _digest_of(values: Mapping[str, Any]) -> str:
    return sha256_of_text(canonical_json(values))


def write_arrays(path: Path, arrays: Arrays) -> str:
    """Write arrays, and return the sha256 of the file."""
    content = _write_safetensors(path, arrays)
    return hashlib.sha256(content).hexdigest()


def read_arrays(path: Path, sha256: str) -> Arrays:
    """Return the arrays of a file with this sha256.

    Raises:
        InvalidInputError: The file is missing, damaged or another.
    """
    from safetensors.numpy import load_file

    with reading(path, "the checkpoint is damaged"):
        require(path.exists(), "the checkpoint is missing")
        is_intact = sha256_of_file(path) == sha256
        require(is_intact, "the checkpoint does not match its sha256: the file is damaged")
        check_header(path)
        return dict(load_file(path))


def write_signed_arrays(path: Path, arrays: Arrays, *, about: str = "") -> None:
    """Write arrays and a text about them: a digest of all and the text are in the metadata.

    They share a key, because the library writes several keys in a random order.
    """
    digest = _digest_of_arrays(arrays, about)
    _write_safetensors(path, arrays, {_DIGEST: f"{digest}{about}"})


def read_signed_arrays(path: Path) -> tuple[Arrays, str]:
    """Return the arrays that `write_signed_arrays` wrote, and the text about them.

    Raises:
        InvalidInputError: The file is missing or damaged.
    """
    from safetensors import safe_open

    with reading(path, "the file is damaged"):
        require(path.exists(), "the file is missing")
        check_header(path)
        with safe_open(path, framework="numpy") as file:
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            signed = (file.metadata() or {}).get(_DIGEST, "")
        about = signed[_DIGEST_LENGTH:]
        is_intact = signed[:_DIGEST_LENGTH] == _digest_of_arrays(arrays, about)
        require(is_intact, "the file does not match its digest: it is damaged")
        return arrays, about


def _digest_of_arrays(arrays: Arrays, about: str) -> str:
    content: dict[str, Any] = {}
    for name, array in arrays.items():
        content[name] = [array.dtype.str, list(array.shape), sha256_of_array(array)]
    return _digest_of({**content, _METADATA: about} if about else content)


def _write_safetensors(path: Path, arrays: Arrays, metadata: dict[str, str] | None = None) -> bytes:
    """Write arrays, and return the bytes of the file."""
    from safetensors.numpy import save

    # The library writes wrong numbers for an array that is not contiguous.
    contiguous = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    content = save(contiguous, metadata)
    write_file(path, content)
    return bytes(content)
