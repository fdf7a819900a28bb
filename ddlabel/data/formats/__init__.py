"""Bundle files: a format is a module with `SUFFIXES`, `locate` and `write`.

`locate(path)` returns the header and the byte offset of each array. It raises what `load` here
does, without the file's name. `write(bundle, header)` returns the head, the chunks after it and the
number of bytes of both, and raises InvalidInputError if the header is too long. Its `header()`
blocks until the digests are ready, which takes as long as the writing: it is called last.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import numpy as np

from ddlabel.core.errors import DDLabelError, StorageError, UsageError
from ddlabel.core.memory import is_out_of_memory
from ddlabel.data import atomic
from ddlabel.data.bundle import Bundle
from ddlabel.data.formats import hdf5, safetensors
from ddlabel.data.labels import Array
from ddlabel.data.provenance import sha256_of_array
from ddlabel.data.reading import (
    is_regular,
    is_standard_input,
    is_standard_output,
    is_stream,
    spool_standard_input,
)
from ddlabel.data.schema import Header, require

FORMATS = {suffix: module for module in (safetensors, hdf5) for suffix in module.SUFFIXES}


def format_of(path: str) -> ModuleType:
    """Return the format of a path's suffix; standard streams, FIFOs and devices are safetensors.

    Raises:
        UsageError: No format has the suffix.
    """
    if not path:
        raise UsageError("the name of a bundle is empty: name a file, such as few.safetensors")
    suffix = Path(path).suffix.lower()
    is_standard = is_standard_output(path) or is_standard_input(path)
    if is_stream(Path(path)) or (is_standard and suffix not in FORMATS):
        return safetensors
    if suffix not in FORMATS:
        raise UsageError(
            f"{path}: unknown suffix {suffix!r}: a bundle is one of {', '.join(FORMATS)} or - for "
            "a pipe"
        )
    return FORMATS[suffix]


def read_header(path: str) -> Header:
    """Return the header of a bundle without reading an array.

    Raises:
        DDLabelError: What `load` raises.
    """
    with _errors_named(path):
        header, _, _ = _locate(path)
        return header


def read(path: str, *, verify: bool = True) -> Bundle:
    """Read a bundle with its arrays memory-mapped: `load` without the header.

    Raises:
        DDLabelError: What `load` raises.
    """
    bundle, _ = load(path, verify=verify)
    return bundle


def load(path: str, *, verify: bool = True) -> tuple[Bundle, Header]:
    """Read a bundle with its arrays memory-mapped, and its header; `-` is standard input.

    With `verify` the sha256 of every array and every number are checked.

    Raises:
        InvalidInputError: The file is missing, foreign, cut off or damaged.
        IncompatibleError: It is of another format version.
        UnsafeInputError: It refers to other files.
        UsageError: No format has its suffix.
        StorageError: The operating system refuses.
    """
    with _errors_named(path):
        header, source, offsets = _locate(path)
        arrays: dict[str, Array] = {}
        for name, info in header.arrays.items():
            arrays[name] = np.memmap(
                source, dtype=info.dtype, mode="r", offset=offsets[name], shape=info.shape
            )
        if verify:
            _check_digests(header, arrays)
        bundle = Bundle.from_header(header, arrays)
        bundle.remember_file(path, header.digest)
        if verify:
            bundle.check_values()
    return bundle, header


def write(path: str, bundle: Bundle, *, force: bool = False) -> Header:
    """Write a bundle, all of it or nothing, and return its header.

    Raises:
        OutputExistsError: The file exists, or another process has written it meanwhile, and `force`
            is not set.
        InvalidInputError: A number in the bundle has no meaning, or its header is too long.
        UsageError: No format has the suffix of the path.
        ResourceError: The bundle is too large for the format.
        StorageError: The disk is full or the operating system refuses.
        ClosedPipeError: The reader of a pipe is gone.
    """
    bundle.check_values()
    with ThreadPoolExecutor(1) as pool:
        # The digests are computed while the arrays are being written.
        header = pool.submit(bundle.header)
        head, chunks, size = format_of(path).write(bundle, header.result)
        atomic.write(path, chunks, size=size, head=head, force=force)
    return header.result()


def _locate(path: str) -> tuple[Header, Path, dict[str, int]]:
    """Return the header, the file that can be mapped, and the byte offset of each array in it."""
    is_standard = is_standard_input(path)
    source = spool_standard_input(safetensors.declared_size) if is_standard else Path(path)
    require(
        not source.is_dir(),
        "it is a folder, not a bundle: an expert run, or images for 'ddlabel import'",
    )
    require(source.exists(), "there is no such file")
    if is_regular(path) and not is_standard and source.suffix.lower() not in FORMATS:
        raise UsageError(
            f"{path}: no bundle ({', '.join(FORMATS)}): make one of images with 'ddlabel import "
            f"{path} OUT'; 'ddlabel info {path}' says what it is"
        )
    header, offsets = format_of(path).locate(source)
    return header, source, offsets


def _check_digests(header: Header, arrays: dict[str, Array]) -> None:
    for name, array in arrays.items():
        intact = sha256_of_array(array) == header.arrays[name].sha256
        require(intact, f"the array {name} does not match its sha256: the file is damaged")


@contextmanager
def _errors_named(path: str) -> Iterator[None]:
    """Put the file's name in front of our errors, and turn those of the system into ours."""
    shown = "standard input" if is_standard_input(path) else path
    try:
        yield
    except UsageError:
        raise
    except DDLabelError as error:
        raise type(error)(f"{shown}: {error}") from error
    except OSError as error:
        if is_out_of_memory(error):  # to map the file
            raise
        raise StorageError(f"cannot read {shown}: {error.strerror or error}") from error
