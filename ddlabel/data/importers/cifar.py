"""CIFAR-10 and CIFAR-100 in the form of their authors: the python archive, packed or unpacked."""

import io
import pickle
import tarfile
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from ddlabel.core.config import ImportOptions
from ddlabel.core.errors import UnsafeInputError
from ddlabel.data.importers.source import Source, check_size, is_archive
from ddlabel.data.labels import Array
from ddlabel.data.reading import reading
from ddlabel.data.schema import require

PAIR = False
OPTIONS = {"split"}
_FILES = {
    "train": (*(f"data_batch_{number}" for number in range(1, 6)), "train"),
    "test": ("test_batch", "test"),
}
# The file with the class names, and its key for them.
_NAMES = {"batches.meta": b"label_names", "meta": b"fine_label_names"}
_MAX_MEMBER_BYTES = 1 << 28
# A pickle of numpy arrays and byte strings needs these names; any other could run code.
_ALLOWED = {("numpy", "ndarray"), ("numpy", "dtype"), ("_codecs", "encode")}
_ALLOWED |= {(f"numpy.{core}.multiarray", "_reconstruct") for core in ("core", "_core")}


def recognises(paths: Sequence[Path]) -> bool:
    """Return whether it is a tar archive, or a folder with a `batches.meta` or `meta` file."""
    path = paths[0]
    if path.is_dir():
        return any((path / name).is_file() for name in _NAMES)
    return is_archive(tarfile.is_tarfile, path)


def load(paths: Sequence[Path], options: ImportOptions) -> Source:
    """Read all images of one part (`train` or `test`), in the order of the files.

    The classes are sorted by name, which is CIFAR's order and that of class folders.

    Raises:
        InvalidInputError: The part is unknown, or the archive is damaged or another one.
        UnsafeInputError: A pickle asks for code, or a member declares too many bytes.
    """
    path = paths[0]
    require(
        options.part in _FILES,
        f"{path}: CIFAR has no part {options.part!r}: choose --split train or test",
    )
    # A damaged pickle can raise nearly anything; no code of its own can have run.
    with reading(path, "not a CIFAR python archive, or damaged"):
        names, images, hard = _read_part(path, options.part)
        whole = hard.dtype.kind in "iu" and hard.min() >= 0 and hard.max() < len(names)
        require(whole, f"the labels must be 0 … {len(names) - 1}: the file is damaged")
    # order[new number] is the old number of a class, new_numbers[old number] is its inverse.
    order = sorted(range(len(names)), key=names.__getitem__)
    new_numbers = np.argsort(order)
    return Source(images, new_numbers[hard], tuple(names[number] for number in order))


def _read_part(path: Path, part: str) -> tuple[list[str], Array, Array]:
    """Return the class names, the images [N, 3, 32, 32] and the labels [N] as they are stored."""
    members = _members(path, {*_NAMES, *_FILES[part]})
    meta = next(name for name in _NAMES if name in members)
    names = [name.decode() for name in _unpickle(members[meta])[_NAMES[meta]]]
    batches = [_unpickle(members[name]) for name in _FILES[part] if name in members]
    images = np.concatenate([batch[b"data"].reshape(-1, 3, 32, 32) for batch in batches])
    labels = [np.array(batch.get(b"fine_labels", batch.get(b"labels"))) for batch in batches]
    return names, images, np.concatenate(labels)


def _members(path: Path, wanted: set[str]) -> dict[str, bytes]:
    """Return the content of the files with these names in a folder or a tar archive."""
    if path.is_dir():
        return {name: (path / name).read_bytes() for name in wanted if (path / name).is_file()}
    members = {}
    with tarfile.open(path) as archive:
        for member in archive:
            name = PurePosixPath(member.name).name
            if name not in wanted or not member.isfile():
                continue
            content = archive.extractfile(member)
            if content is not None:
                check_size(member.size, _MAX_MEMBER_BYTES, f"the member {member.name!r}")
                members[name] = content.read()
    return members


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        require(
            (module, name) in _ALLOWED,
            f"a pickle asks for {module}.{name}, which could run code: only arrays are read",
            UnsafeInputError,
        )
        return super().find_class(module, name)


def _unpickle(content: bytes) -> Any:
    return _Unpickler(io.BytesIO(content), encoding="bytes").load()
