"""CIFAR-10 and CIFAR-100 in the form of their authors: the python archive, packed or unpacked."""

from __future__ import annotations

import io
import pickle
import tarfile
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from ddlabel.config import ImportOptions
from ddlabel.errors import InvalidInputError, UnsafeInputError
from ddlabel.importers.source import DAMAGED, Source, is_archive

PAIR = False
OPTIONS = {"split"}
_FILES = {
    "train": ("data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5", "train"),
    "test": ("test_batch", "test"),
}
_NAMES = {"batches.meta": b"label_names", "meta": b"fine_label_names"}
_MAX_MEMBER_BYTES = 1 << 28
# What a pickle of numpy arrays and byte strings needs; anything else could run code.
_ALLOWED = {
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("_codecs", "encode"),
}


def recognises(paths: Sequence[Path]) -> bool:
    """A tar archive, or a folder with a `batches.meta` or `meta` file."""
    if len(paths) != 1:
        return False
    path = paths[0]
    if path.is_dir():
        return any((path / name).is_file() for name in _NAMES)
    return is_archive(tarfile.is_tarfile, path)


def load(paths: Sequence[Path], options: ImportOptions) -> Source:
    """All images of one part (`train` or `test`), in the order of the files.

    Raises:
        InvalidInputError: if the archive is damaged or is not CIFAR's.
        UnsafeInputError: if a pickle asks for more than arrays.
    """
    path = paths[0]
    members = _read_folder(path) if path.is_dir() else _read_archive(path)
    if options.part not in _FILES:
        raise InvalidInputError(f"{path}: CIFAR has no part {options.part!r}: choose --split train or test")
    try:
        meta = next(name for name in _NAMES if name in members)
        classes = [name.decode() for name in _unpickle(members[meta])[_NAMES[meta]]]
        batches = [_unpickle(members[name]) for name in _FILES[options.part] if name in members]
        images = np.concatenate([batch[b"data"].reshape(-1, 3, 32, 32) for batch in batches])
        hard = np.concatenate([np.array(batch.get(b"fine_labels", batch.get(b"labels"))) for batch in batches])
    except UnsafeInputError as error:
        raise UnsafeInputError(f"{path}: {error}") from error
    except Exception as error:
        # A damaged pickle can raise nearly anything; no code of its own can have run.
        raise InvalidInputError(f"{path}: not a CIFAR python archive, or damaged ({type(error).__name__})") from error
    if hard.dtype.kind not in "iu" or ((hard < 0) | (hard >= len(classes))).any():
        raise InvalidInputError(f"{path}: the labels are not whole numbers 0 … {len(classes) - 1}: it is damaged")
    return _sorted(images, hard, classes)


def _sorted(images: Any, hard: Any, classes: list[str]) -> Source:
    """Classes in the order of their names, which is CIFAR's own and that of class folders."""
    order = sorted(range(len(classes)), key=classes.__getitem__)
    rank = np.argsort(order)
    return Source(images=images, hard_labels=rank[hard], classes=tuple(classes[i] for i in order))


def _read_folder(path: Path) -> dict[str, bytes]:
    wanted = {*_NAMES, *_FILES["train"], *_FILES["test"]}
    return {p.name: p.read_bytes() for p in path.iterdir() if p.name in wanted and p.is_file()}


def _read_archive(path: Path) -> dict[str, bytes]:
    wanted = {*_NAMES, *_FILES["train"], *_FILES["test"]}
    members = {}
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                name = PurePosixPath(member.name).name
                if name not in wanted or not member.isfile():
                    continue
                if member.size > _MAX_MEMBER_BYTES:
                    raise UnsafeInputError(f"{path}: the member {member.name!r} declares {member.size} bytes")
                content = archive.extractfile(member)
                members[name] = content.read() if content else b""
    except DAMAGED as error:
        raise InvalidInputError(f"{path}: the archive is damaged: {error}") from error
    return members


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise UnsafeInputError(f"a pickle asks for {module}.{name}: only arrays are read")
        return super().find_class(module, name)


def _unpickle(content: bytes) -> dict[bytes, Any]:
    value: dict[bytes, Any] = _Unpickler(io.BytesIO(content), encoding="bytes").load()
    return value
