"""Bundle files: a format is a module with SUFFIXES, `locate` and `write`.

`locate` gives the header and at which byte each array begins, and raises what `load` here does but for the file's name;
`write` gives the file's head, the chunks after it and how many bytes there are, and raises InvalidInputError for a
header too long; it is given what waits for the header, whose digests take as long as the writing.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import numpy as np

from ddlabel.core.errors import DDLabelError, StorageError, UsageError
from ddlabel.data import atomic
from ddlabel.data.bundle import Bundle
from ddlabel.data.formats import hdf5, safetensors
from ddlabel.data.labels import Array
from ddlabel.data.provenance import sha256_of_array
from ddlabel.data.reading import STANDARD, is_stream, spool_standard_input
from ddlabel.data.schema import Header, require

FORMATS = {suffix: module for module in (safetensors, hdf5) for suffix in module.SUFFIXES}


def format_of(path: str) -> ModuleType:
    """The format of a path's suffix, UsageError if none has it; standard streams, pipes, devices are safetensors."""
    if path == STANDARD or is_stream(Path(path)):
        return safetensors
    suffix = Path(path).suffix.lower()
    if suffix not in FORMATS:
        raise UsageError(
            f"{path}: unknown suffix {suffix!r}: a bundle is one of {', '.join(FORMATS)} or - for a pipe"
        )
    return FORMATS[suffix]


def read_header(path: str) -> Header:
    """The header of a bundle, without reading an array; raises what `load` does."""
    with _naming(path):
        return _locate(path)[0]


def read(path: str, *, verify: bool = True) -> Bundle:
    """A bundle with its arrays memory-mapped: `load` without the header."""
    return load(path, verify=verify)[0]


def load(path: str, *, verify: bool = True) -> tuple[Bundle, Header]:
    """A bundle with its arrays memory-mapped, and the header it came with; `-` is standard input.

    With `verify` every array is compared with its sha256 and every number with its meaning. InvalidInputError if the
    file is missing, foreign, cut off or damaged, UnsafeInputError if it reaches outside itself, StorageError if the
    operating system refuses.
    """
    with _naming(path):
        header, source, offsets = _locate(path)
        arrays: dict[str, Array] = {
            name: np.memmap(
                source, dtype=info.dtype, mode="r", offset=offsets[name], shape=info.shape
            )
            for name, info in header.arrays.items()
        }
        for name, array in arrays.items():
            intact = not verify or sha256_of_array(array) == header.arrays[name].sha256
            require(intact, f"the array {name} does not match its sha256: the file is damaged")
        bundle = Bundle.from_header(header, arrays)
        if verify:
            bundle.check_values()
    return bundle, header


def write(path: str, bundle: Bundle) -> Header:
    """Write a bundle whole or not at all, and return its header.

    InvalidInputError if a number in it has no meaning, StorageError if the disk is full or refuses.
    """
    bundle.check_values()
    with ThreadPoolExecutor(1) as pool:
        header = pool.submit(
            bundle.header
        )  # whose digests are made while the arrays are being written
        head, chunks, size = format_of(path).write(bundle, header.result)
        atomic.write(path, chunks, size=size, head=head)
    return header.result()


def _locate(path: str) -> tuple[Header, Path, dict[str, int]]:
    """The header, the file that can be mapped, and where each array begins in it."""
    source = spool_standard_input() if path == STANDARD else Path(path)
    require(
        not source.is_dir(),
        "it is a folder, not a bundle: an expert run, or images for 'ddlabel import'",
    )
    require(source.exists(), "there is no such file")
    header, offsets = format_of(path).locate(source)
    return header, source, offsets


@contextmanager
def _naming(path: str) -> Iterator[None]:
    """Errors of ours with the file's name in front, and those of the operating system as ours."""
    shown = "standard input" if path == STANDARD else path
    try:
        yield
    except UsageError:
        raise
    except DDLabelError as error:
        raise type(error)(f"{shown}: {error}") from error
    except OSError as error:
        raise StorageError(f"cannot read {shown}: {error.strerror or error}") from error
