"""HDF5 files of strangers: arrays that lie in the file itself, as they are, and nothing else."""

import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ddlabel.core.errors import UnsafeInputError
from ddlabel.data.labels import Array
from ddlabel.data.reading import reading
from ddlabel.data.schema import require

SUFFIXES = (".h5", ".hdf5")
_SIGNATURE = b"\x89HDF\r\n\x1a\n"
# Where the superblock has the address of the file's end, for each of its versions.
_END_OFFSETS = {0: 40, 1: 44, 2: 28, 3: 28}
_ADDRESS_BYTES = 8


def library() -> Any:
    """Return h5py, which loads no filter plugins."""
    # Third-party filter plugins are code from a folder that an environment variable names.
    os.environ["HDF5_PLUGIN_PRELOAD"] = "::"
    import h5py

    return h5py


def check_end(path: Path) -> None:
    """Check that the file begins and ends where HDF5 says: other bytes would not be verified.

    Raises:
        InvalidInputError: It begins or ends elsewhere.
    """
    with path.open("rb") as file:
        superblock = file.read(max(_END_OFFSETS.values()) + _ADDRESS_BYTES)
        file_size = file.seek(0, io.SEEK_END)
    is_known = superblock[: len(_SIGNATURE)] == _SIGNATURE
    version = superblock[len(_SIGNATURE)]
    require(is_known and version in _END_OFFSETS, "the HDF5 file is cut off or damaged")
    begin = _END_OFFSETS[version]
    end = int.from_bytes(superblock[begin : begin + _ADDRESS_BYTES], "little")
    require(end <= file_size, "the HDF5 file is cut off or damaged")
    require(
        end == file_size,
        f"{file_size - end} bytes stand behind the end of the HDF5 file: it is damaged",
    )


def refuse_links(file: Any) -> None:
    """Refuse links of the root group to other names and files.

    Raises:
        UnsafeInputError: There is one.
    """
    h5py = library()
    for name in file:
        if not isinstance(file.get(name, getlink=True), h5py.HardLink):
            raise UnsafeInputError(f"{name!r} is a link to elsewhere: a file holds its own arrays")


def contiguous_offset(name: str, dataset: Any, file_size: int) -> int:
    """Return the byte offset of a dataset, which must lie in the file in one piece.

    Raises:
        InvalidInputError: It is a group, chunked, compressed or cut off.
        UnsafeInputError: It keeps its bytes elsewhere.
    """
    h5py = library()
    require(isinstance(dataset, h5py.Dataset), f"{name!r} is a group: expected a dataset")
    properties = dataset.id.get_create_plist()
    if dataset.is_virtual or properties.get_external_count():
        raise UnsafeInputError(
            f"{name!r} keeps its bytes in another file: a file holds its own arrays"
        )
    offset = dataset.id.get_offset()
    contiguous = properties.get_layout() == h5py.h5d.CONTIGUOUS and offset is not None
    require(contiguous, f"{name!r} is chunked or compressed: expected contiguous datasets")
    require(
        offset + dataset.nbytes <= file_size,
        f"{name!r} ends behind the end of the file: it is cut off",
    )
    return int(offset)


def read_datasets(path: Path, names: Sequence[str]) -> dict[str, Array]:
    """Map datasets of numbers in the root group of a file, those of `names` that it has.

    Raises:
        InvalidInputError: The file is damaged, or a dataset is empty, chunked or of no numbers.
        UnsafeInputError: A link or a dataset refers to other bytes.
    """
    h5py = library()
    arrays = {}
    with reading(path, "the HDF5 file is cut off or damaged"):
        check_end(path)
        with h5py.File(path, "r") as file:
            refuse_links(file)
            for name in file:
                if name in names:
                    arrays[name] = _map(path, name, file[name])
    return arrays


def _map(path: Path, name: str, dataset: Any) -> Array:
    offset = contiguous_offset(name, dataset, path.stat().st_size)
    dtype = dataset.dtype
    is_numeric = dtype.kind in "iuf" and dtype.isnative and dataset.size > 0
    require(is_numeric, f"{name!r} is {dtype} {list(dataset.shape)}: expected numbers")
    return np.memmap(path, dtype=dtype, mode="r", offset=offset, shape=dataset.shape)


def dataset_names(path: Path) -> list[str]:
    """Return the names in the root group of a file, without following links.

    Raises:
        InvalidInputError: The file is damaged, or none of HDF5.
    """
    with reading(path, "not an HDF5 file, or damaged"), library().File(path, "r") as file:
        return [*file]


def is_bundle(path: Path) -> bool:
    """Return whether an HDF5 file has the header of a bundle."""
    with reading(path, "not an HDF5 file, or damaged"), library().File(path, "r") as file:
        return "ddlabel" in file.attrs
