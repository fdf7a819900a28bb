"""Archives that are written as a stream, with the same bytes for the same content."""

import io
import tarfile
import zipfile
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from ddlabel.data.labels import Array
from ddlabel.data.provenance import array_chunks

# The first date that a zip archive can have.
_NO_DATE = (1980, 1, 1, 0, 0, 0)
_MODE = 0o644


class _Buffer(io.RawIOBase):
    """A stream whose bytes are taken out after each member."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, content: object) -> int:
        data = bytes(content)  # type: ignore[call-overload]
        self._parts.append(data)
        return len(data)

    def take(self) -> bytes:
        content = b"".join(self._parts)
        self._parts = []
        return content


def npz_chunks(arrays: Iterable[tuple[str, Array]]) -> Iterator[bytes]:
    """Yield the bytes of an uncompressed .npz archive of arrays."""
    buffer = _Buffer()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, array in arrays:
            info = zipfile.ZipInfo(f"{name}.npy", _NO_DATE)
            info.external_attr = _MODE << 16
            with archive.open(info, "w", force_zip64=True) as member:
                np.lib.format.write_array_header_1_0(member, _npy_header(array))
                for chunk in array_chunks(array):
                    member.write(chunk)
                    yield buffer.take()
    yield buffer.take()


def tar_chunks(members: Iterable[tuple[str, bytes]]) -> Iterator[bytes]:
    """Yield the bytes of an uncompressed tar archive of files."""
    buffer = _Buffer()
    with tarfile.open(fileobj=buffer, mode="w|", format=tarfile.PAX_FORMAT) as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            info.mode = _MODE
            archive.addfile(info, io.BytesIO(content))
            yield buffer.take()
    yield buffer.take()


def _npy_header(array: Array) -> dict[str, Any]:
    descr = np.lib.format.dtype_to_descr(array.dtype)
    return {"descr": descr, "fortran_order": False, "shape": array.shape}
