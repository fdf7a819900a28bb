"""IDX files, as MNIST and its relatives come: a folder of the four files, or one pair of images and labels."""

import gzip
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ddlabel.core.config import ImportOptions
from ddlabel.data.bundle import Array
from ddlabel.data.importers.source import Source, check_size, from_pair
from ddlabel.data.reading import reading
from ddlabel.data.schema import require

PAIR = True
OPTIONS = {"split"}
_MAX_BYTES = 1 << 32


def recognises(paths: Sequence[Path]) -> bool:
    """Files whose names hold `idx1`, `idx3` or `idx4`, or a folder of such."""
    paths = list(paths[0].iterdir()) if len(paths) == 1 and paths[0].is_dir() else paths
    return sum("-idx" in path.name or ".idx" in path.name for path in paths) >= 2


def load(paths: Sequence[Path], options: ImportOptions) -> Source:
    """Images (IDX of 3 or 4 axes, unsigned bytes) and their labels (1 axis); gzip is undone.

    Of a folder with a file both packed and unpacked the unpacked one is read.
    """
    if len(paths) == 1 and paths[0].is_dir():
        prefix = "t10k" if options.part == "test" else options.part
        found = [p for p in paths[0].iterdir() if p.name.startswith(prefix) and "idx" in p.name]
        # In falling order x comes after x.gz and takes its place.
        paths = list({p.name.removesuffix(".gz"): p for p in sorted(found, reverse=True)}.values())
    return from_pair(
        f"one IDX file of images and one of labels for --split {options.part}",
        paths,
        _read,
        options,
    )


def _read(path: Path) -> Array:
    """One IDX file of unsigned bytes: two zeros, type 8, number of axes, their lengths big-endian, the data."""
    with (
        reading(path, "cannot be read as IDX"),
        gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file,
    ):
        head = file.read(4)
        known = head[:3] == b"\0\0\x08" and head[3] in (1, 3, 4)
        require(known, "not an IDX file of unsigned bytes with 1, 3 or 4 axes")
        shape = tuple(map(int, np.frombuffer(file.read(4 * head[3]), ">u4")))
        size = math.prod(shape)
        check_size(size, _MAX_BYTES)
        content = np.frombuffer(file.read(size + 1), np.uint8)
        require(
            len(content) == size,
            f"{len(content)} bytes of data where {size} are declared: cut off or damaged",
        )
        return content.reshape(shape)
