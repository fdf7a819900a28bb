"""IDX files, as MNIST and its relatives come: a folder of the four files, or one pair of images and labels."""

from __future__ import annotations

import gzip
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ddlabel.config import ImportOptions
from ddlabel.errors import InvalidInputError, UnsafeInputError
from ddlabel.importers.source import DAMAGED, Array, Source, grey_to_chw, numbered

PAIR = True
OPTIONS = {"split"}
_PREFIX = {"train": "train", "test": "t10k"}
_MAX_BYTES = 1 << 32


def recognises(paths: Sequence[Path]) -> bool:
    """Files whose names hold `idx1`, `idx3` or `idx4`, or a folder of such."""
    names = [p.name for p in paths[0].iterdir()] if len(paths) == 1 and paths[0].is_dir() else [p.name for p in paths]
    return sum("-idx" in name or ".idx" in name for name in names) >= 2


def load(paths: Sequence[Path], options: ImportOptions) -> Source:
    """Images (IDX of 3 or 4 axes, unsigned bytes) and their labels (1 axis); gzip is undone.

    Of a folder with a file both packed and unpacked the unpacked one is read.

    Raises:
        InvalidInputError: if a file is missing, damaged or of other axes.
    """
    if len(paths) == 1 and paths[0].is_dir():
        prefix = _PREFIX.get(options.part, options.part)
        found = [p for p in paths[0].iterdir() if p.name.startswith(prefix) and "idx" in p.name]
        # In falling order x comes after x.gz and takes its place.
        paths = list({p.name.removesuffix(".gz"): p for p in sorted(found, reverse=True)}.values())
    arrays = {array.ndim > 1: array for array in map(_read, paths)}
    if len(paths) != 2 or set(arrays) != {True, False}:
        names = ", ".join(p.name for p in paths) or "none"
        raise InvalidInputError(
            f"expected one IDX file of images and one of labels for --split {options.part}: {names}"
        )
    images, hard = grey_to_chw(arrays[True]), arrays[False].astype(np.int64)
    if len(images) != len(hard):
        raise InvalidInputError(f"{paths[0]}: {len(images)} images and {len(hard)} labels do not belong together")
    return Source(images=images, hard_labels=hard, classes=numbered(int(hard.max()) + 1))


def _read(path: Path) -> Array:
    """One IDX file of unsigned bytes: two zeros, type 8, number of axes, their lengths big-endian, the data."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            head = file.read(4)
            if head[:3] != b"\0\0\x08" or not 1 <= head[3] <= 4:
                raise InvalidInputError(f"{path}: not an IDX file of unsigned bytes")
            shape = tuple(int(n) for n in np.frombuffer(file.read(4 * head[3]), ">u4"))
            size = math.prod(shape)
            if size > _MAX_BYTES:
                raise UnsafeInputError(f"{path}: declares {size} bytes: at most {_MAX_BYTES} are read")
            content = file.read(size + 1)
    except DAMAGED as error:
        raise InvalidInputError(f"{path}: cannot be read as IDX: {error}") from error
    if len(content) != size or not size:
        raise InvalidInputError(
            f"{path}: {len(content)} bytes of data where {size} are declared: it is cut off or damaged"
        )
    return np.frombuffer(content, np.uint8).reshape(shape)
