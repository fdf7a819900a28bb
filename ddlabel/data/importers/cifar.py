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
from ddlabel.data.reading import reading
from ddlabel.data.schema import require

PAIR = False
OPTIONS = {"split"}
_FILES = {
    "train": (*(f"data_batch_{number}" for number in range(1, 6)), "train"),
    "test": ("test_batch", "test"),
}
_NAMES = {"batches.meta": b"label_names", "meta": b"fine_label_names"}
_MAX_MEMBER_BYTES = 1 << 28
# What a pickle of numpy arrays and byte strings needs; anything else could run code.
_ALLOWED = {("numpy", "ndarray"), ("numpy", "dtype"), ("_codecs", "encode")}
_ALLOWED |= {(f"numpy.{core}.multiarray", "_reconstruct") for core in ("core", "_core")}


def recognises(paths: Sequence[Path]) -> bool:
    """A tar archive, or a folder with a `batches.meta` or `meta` file."""
    path = paths[0]
    return (
        any((path / name).is_file() for name in _NAMES)
        if path.is_dir()
        else is_archive(tarfile.is_tarfile, path)
    )


def load(paths: Sequence[Path], options: ImportOptions) -> Source:
    """All images of one part (`train` or `test`), in the order of the files.

    The classes come in the order of their names, which is CIFAR's own and that of class folders.
    """
    path = paths[0]
    require(
        options.part in _FILES,
        f"{path}: CIFAR has no part {options.part!r}: choose --split train or test",
    )
    # A damaged pickle can raise nearly anything; no code of its own can have run.
    with reading(path, "not a CIFAR python archive, or damaged"):
        members = _members(path, {*_NAMES, *_FILES[options.part]})
        meta = next(name for name in _NAMES if name in members)
        names = [name.decode() for name in _unpickle(members[meta])[_NAMES[meta]]]
        batches = [_unpickle(members[name]) for name in _FILES[options.part] if name in members]
        images = np.concatenate([batch[b"data"].reshape(-1, 3, 32, 32) for batch in batches])
        hard = np.concatenate(
            [np.array(batch.get(b"fine_labels", batch.get(b"labels"))) for batch in batches]
        )
        fine = hard.dtype.kind in "iu" and hard.min() >= 0 and hard.max() < len(names)
        require(fine, f"the labels are not whole numbers 0 … {len(names) - 1}: it is damaged")
    order = sorted(range(len(names)), key=names.__getitem__)
    return Source(images, np.argsort(order)[hard], tuple(names[number] for number in order))


def _members(path: Path, wanted: set[str]) -> dict[str, bytes]:
    """The files of these names in a folder or a tar archive."""
    if path.is_dir():
        return {name: (path / name).read_bytes() for name in wanted if (path / name).is_file()}
    members = {}
    with tarfile.open(path) as archive:
        for member in archive:
            name = PurePosixPath(member.name).name
            if name in wanted and member.isfile() and (content := archive.extractfile(member)):
                check_size(member.size, _MAX_MEMBER_BYTES, f"the member {member.name!r}")
                members[name] = content.read()
    return members


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        require(
            (module, name) in _ALLOWED,
            f"a pickle wants {module}.{name}: only arrays are read",
            UnsafeInputError,
        )
        return super().find_class(module, name)


def _unpickle(content: bytes) -> Any:
    return _Unpickler(io.BytesIO(content), encoding="bytes").load()
