"""Bundles as HDF5 files: one contiguous dataset for each array.

The header is the root attribute `ddlabel`.
"""

import io
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from ddlabel.core.errors import InvalidInputError, ResourceError
from ddlabel.data.atomic import NO_HEAD, Chunk, Head
from ddlabel.data.bundle import Bundle
from ddlabel.data.hdf5_files import check_end, contiguous_offset, library, refuse_links
from ddlabel.data.schema import ArrayInfo, Header, check_length, require

SUFFIXES = (".h5", ".hdf5")
# A file is built in memory first: when the disk fills up while HDF5 writes, it ends the process
# without an exception.
_MAX_BYTES = 1 << 32


def write(bundle: Bundle, header: Callable[[], Header]) -> tuple[Head, Iterable[Chunk], int]:
    """Return the head, which is empty, the file's bytes, built in memory, and their number.

    Raises:
        InvalidInputError: The header is too long.
        ResourceError: The arrays have more than 4 GiB.
    """
    text = header().to_json().encode()
    check_length(len(text))
    size = sum(array.nbytes for array in bundle.arrays.values())
    require(
        size <= _MAX_BYTES,
        f"{size} bytes are too many for HDF5: write .safetensors, which streams",
        ResourceError,
    )
    buffer = io.BytesIO()
    with library().File(buffer, "w", libver="v110") as file:
        file.attrs["ddlabel"] = np.bytes_(text)
        for name, array in bundle.arrays.items():
            file.create_dataset(name, data=np.ascontiguousarray(array), track_times=False)
    content = buffer.getbuffer()
    return NO_HEAD, [content], len(content)


def locate(path: Path) -> tuple[Header, dict[str, int]]:
    """Return the header and the byte offset of each array.

    The file must hold the declared datasets and nothing else.

    Raises:
        InvalidInputError: The file is foreign, cut off or damaged.
        IncompatibleError: It is of another format version.
        UnsafeInputError: A link or a dataset refers to other bytes.
    """
    h5py = library()
    require(h5py.is_hdf5(path), "not an HDF5 file, or cut off")
    check_end(path)
    try:
        with h5py.File(path, "r") as file:
            refuse_links(file)
            header = _read_header(file)
            require(
                set(file) == set(header.arrays),
                f"its datasets are {', '.join(file)}: expected {', '.join(header.arrays)}",
            )
            file_size = path.stat().st_size
            offsets = {}
            for name, info in header.arrays.items():
                offsets[name] = _offset(name, file[name], info, file_size)
            return header, offsets
    except (OSError, RuntimeError, ValueError, KeyError, TypeError) as error:
        raise InvalidInputError("the HDF5 file is cut off or damaged") from error


def _read_header(file: Any) -> Header:
    require(
        "ddlabel" in file.attrs, "an HDF5 file, but not a bundle: it has no 'ddlabel' attribute"
    )
    # The type and the size are checked before anything is read.
    attribute = file.attrs.get_id("ddlabel")
    fixed_length = attribute.dtype.kind == "S" and attribute.shape == ()
    require(fixed_length, "its 'ddlabel' attribute is not one byte string of fixed length")
    check_length(attribute.get_storage_size())
    return Header.from_json(file.attrs["ddlabel"].decode())


def _offset(name: str, dataset: Any, info: ArrayInfo, file_size: int) -> int:
    """Return the byte offset of a dataset, which must be contiguous and as declared."""
    offset = contiguous_offset(name, dataset, file_size)
    expected_dtype = np.dtype(info.dtype).newbyteorder("<")
    as_declared = dataset.dtype == expected_dtype and dataset.shape == info.shape
    require(
        as_declared,
        f"{name!r} is {dataset.dtype} {list(dataset.shape)}: the header declares another array",
    )
    return offset
