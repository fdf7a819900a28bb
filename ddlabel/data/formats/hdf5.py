"""Bundles as HDF5 files: one contiguous dataset an array, the header in the root attribute `ddlabel`."""

import io
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from ddlabel.core.errors import InvalidInputError, ResourceError, UnsafeInputError
from ddlabel.data.atomic import Head
from ddlabel.data.bundle import Bundle
from ddlabel.data.schema import ArrayInfo, Header, check_length, require

SUFFIXES = (".h5", ".hdf5")
# Built in memory first: HDF5 ends the process, without an exception, when a disk fills up under it.
_MAX_BYTES = 1 << 32


def write(
    bundle: Bundle, header: Callable[[], Header]
) -> tuple[Head, Iterable[bytes | memoryview], int]:
    """The file's bytes, built in memory, and how many there are."""
    text = header().to_json().encode()
    check_length(len(text))
    size = sum(array.nbytes for array in bundle.arrays.values())
    require(
        size <= _MAX_BYTES,
        f"{size} bytes are too many for HDF5: write .safetensors, which streams",
        ResourceError,
    )
    buffer = io.BytesIO()
    with _library().File(buffer, "w", libver="v110") as file:
        file.attrs["ddlabel"] = np.bytes_(text)
        for name, array in bundle.arrays.items():
            file.create_dataset(name, data=np.ascontiguousarray(array), track_times=False)
    content = buffer.getbuffer()
    return (0, bytes), [content], len(content)


def locate(path: Path) -> tuple[Header, dict[str, int]]:
    """The header, and at which byte each array begins; the file must hold the declared plain datasets and no more."""
    h5py = _library()
    require(h5py.is_hdf5(path), "not an HDF5 file, or cut off")
    try:
        with h5py.File(path, "r") as file:
            for name in file:
                if not isinstance(file.get(name, getlink=True), h5py.HardLink):
                    raise UnsafeInputError(
                        f"{name!r} is a link to elsewhere: a bundle holds its own arrays"
                    )
            require(
                "ddlabel" in file.attrs,
                "an HDF5 file, but not a bundle: it has no 'ddlabel' attribute",
            )
            stored = file.attrs.get_id("ddlabel")
            plain = stored.dtype.kind == "S" and stored.shape == ()
            require(plain, "its 'ddlabel' attribute is not one byte string of fixed length")
            check_length(stored.get_storage_size())
            header = Header.from_json(file.attrs["ddlabel"].decode())
            require(
                set(file) == set(header.arrays),
                f"it holds {', '.join(file)}: expected {', '.join(header.arrays)}",
            )
            total = path.stat().st_size
            return header, {
                name: _offset(name, file[name], info, total) for name, info in header.arrays.items()
            }
    except (OSError, RuntimeError, ValueError, KeyError, TypeError) as error:
        raise InvalidInputError(f"the HDF5 file is damaged ({type(error).__name__})") from error


def _library() -> Any:
    # Third-party filter plugins are code from a folder that an environment variable names.
    os.environ["HDF5_PLUGIN_PRELOAD"] = "::"
    import h5py

    return h5py


def _offset(name: str, dataset: Any, info: ArrayInfo, total: int) -> int:
    """Where a dataset's bytes begin, if it is contiguous and as declared."""
    h5py = _library()
    require(isinstance(dataset, h5py.Dataset), f"{name!r} is a group: expected a dataset")
    properties = dataset.id.get_create_plist()
    if dataset.is_virtual or properties.get_external_count():
        raise UnsafeInputError(
            f"{name!r} keeps its bytes in another file: a bundle holds its own arrays"
        )
    offset = dataset.id.get_offset()
    contiguous = properties.get_layout() == h5py.h5d.CONTIGUOUS and offset is not None
    require(contiguous, f"{name!r} is chunked or compressed: a bundle's datasets are contiguous")
    declared = (
        dataset.dtype == np.dtype(info.dtype).newbyteorder("<") and dataset.shape == info.shape
    )
    require(
        declared, f"{name!r} is {dataset.dtype} {dataset.shape}: the header declares another array"
    )
    require(
        offset + dataset.nbytes <= total, f"{name!r} ends behind the end of the file: it is cut off"
    )
    return int(offset)
