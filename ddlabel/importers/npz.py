"""NumPy archives with images and labels under their usual names."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ddlabel.config import ImportOptions
from ddlabel.errors import InvalidInputError, UnsafeInputError
from ddlabel.importers.source import DAMAGED, Array, Source
from ddlabel.importers.tensors import from_arrays

PAIR = False
OPTIONS = {"split", "pixels", "label_space", "zca_from"}
_IMAGES = ("images", "x", "data", "x_{}", "{}_images", "X_{}")
_LABELS = ("labels", "y", "label", "y_{}", "{}_labels", "Y_{}", "hard_labels")
_MAX_BYTES = 1 << 34


def recognises(paths: Sequence[Path]) -> bool:
    """One file with the suffix .npz."""
    return len(paths) == 1 and paths[0].suffix == ".npz"


def load(paths: Sequence[Path], options: ImportOptions) -> Source:
    """`images`, `x` or `x_train` with `labels`, `y` or `y_train` (the part is `split`); nothing pickled.

    Raises:
        InvalidInputError: if the arrays are missing or damaged.
        UnsafeInputError: if they are pickled or declare more than 16 GiB.
    """
    path = paths[0]
    try:
        with zipfile.ZipFile(path) as archive:
            declared = sum(info.file_size for info in archive.infolist())
            if declared > _MAX_BYTES:
                raise UnsafeInputError(f"{path}: declares {declared} bytes: at most {_MAX_BYTES} are read")
            names = [name.removesuffix(".npy") for name in archive.namelist()]
            images, labels = (
                next((_array(archive, n) for n in (name.format(options.part) for name in known) if n in names), None)
                for known in (_named(_IMAGES, options), _named(_LABELS, options))
            )
    except (*DAMAGED, MemoryError) as error:
        if "Object arrays" in str(error):
            raise UnsafeInputError(f"{path}: pickled objects could run code: only numbers are read") from error
        raise InvalidInputError(f"{path}: cannot be read as an .npz archive: {error}") from error
    if images is None or labels is None:
        wanted = f"images and labels, or x_{options.part} and y_{options.part}"
        raise InvalidInputError(f"{path}: it holds {', '.join(names)}: expected {wanted}")
    return from_arrays(str(path), images, labels, options)


def _array(archive: zipfile.ZipFile, name: str) -> Array:
    with archive.open(f"{name}.npy") as file:
        array: Array = np.lib.format.read_array(file, allow_pickle=False)
    return array


def _named(known: tuple[str, ...], options: ImportOptions) -> list[str]:
    """The names to look for: with an explicit `split` those of parts only."""
    return [name for name in known if options.split is None or "{}" in name]
