"""Bundle files: a format is a module with SUFFIXES, `locate` (what is where in a file) and `write`."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import numpy as np

from ddlabel import files
from ddlabel.bundle import Array, Bundle
from ddlabel.errors import DDLabelError, InvalidInputError, StorageError, UsageError
from ddlabel.formats import hdf5, safetensors
from ddlabel.header import Header
from ddlabel.provenance import sha256_of_array

FORMATS = {suffix: module for module in (safetensors, hdf5) for suffix in module.SUFFIXES}


def format_of(path: str) -> ModuleType:
    """The format that a path's suffix names; standard input and output, pipes and devices are safetensors.

    Raises:
        UsageError: for a suffix that no format has.
    """
    if path == files.STANDARD or files.is_stream(Path(path)):
        return safetensors
    suffix = Path(path).suffix.lower()
    if suffix not in FORMATS:
        raise UsageError(f"{path}: unknown suffix {suffix!r}: a bundle is one of {', '.join(FORMATS)} or - for a pipe")
    return FORMATS[suffix]


def read_header(path: str) -> Header:
    """The header of a bundle, without reading an array.

    Raises:
        InvalidInputError: if the file is missing, foreign, truncated or damaged, or the header is.
    """
    return _open(path)[0]


def read(path: str, *, verify: bool = True) -> Bundle:
    """A bundle with its arrays memory-mapped: `load` without the header."""
    return load(path, verify=verify)[0]


def load(path: str, *, verify: bool = True) -> tuple[Bundle, Header]:
    """A bundle with its arrays memory-mapped, and the header it came with; `-` is standard input.

    With `verify` every array is compared with its sha256 and every number with its meaning.

    Raises:
        InvalidInputError: if the file is missing, foreign, truncated or damaged.
        UnsafeInputError: if it reaches outside itself.
    """
    header, source, offsets = _open(path)
    arrays: dict[str, Array] = {
        name: np.memmap(source, dtype=info.dtype, mode="r", offset=offsets[name], shape=info.shape)
        for name, info in header.arrays.items()
    }
    try:
        if verify:
            for key, array in arrays.items():
                if sha256_of_array(array) != header.arrays[key].sha256:
                    raise InvalidInputError(f"the array {key} does not match its sha256: the file is damaged")
        bundle = Bundle.from_header(header, arrays)
        if verify:
            bundle.check_values()
    except DDLabelError as error:
        raise _naming(path, error) from error
    return bundle, header


def write(path: str, bundle: Bundle) -> Header:
    """Write a bundle whole or not at all, and return its header.

    Raises:
        InvalidInputError: if a number in it has no meaning.
        StorageError: if the disk is full or refuses.
    """
    bundle.check_values()
    header = bundle.header()
    chunks, size = format_of(path).write(bundle, header)
    files.write(path, chunks, size=size)
    return header


def _open(path: str) -> tuple[Header, Path, dict[str, int]]:
    """The header, the file that can be mapped, and where each array begins in it."""
    source = files.spool_standard_input() if path == files.STANDARD else Path(path)
    name = _shown(path)
    if source.is_dir():
        raise InvalidInputError(f"{name} is a folder, not a bundle: an expert run, or images for 'ddlabel import'")
    if not source.exists():
        raise InvalidInputError(f"{name}: there is no such file")
    module = format_of(path)
    try:
        header, offsets = module.locate(source)
    except DDLabelError as error:
        raise _naming(path, error) from error
    except OSError as error:
        raise StorageError(f"cannot read {name}: {error.strerror or error}") from error
    return header, source, offsets


def _naming(path: str, error: DDLabelError) -> DDLabelError:
    """The same error with the file's name in front."""
    return type(error)(f"{_shown(path)}: {error}")


def _shown(path: str) -> str:
    return "standard input" if path == files.STANDARD else path
