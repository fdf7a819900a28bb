"""IDX files, the form of MNIST and its relatives: a folder of four files, or images and labels."""

import gzip
import math
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np

from ddlabel.core.config import ImportOptions
from ddlabel.data.importers import budget
from ddlabel.data.importers.registry import Certainty, Found, importers
from ddlabel.data.importers.source import Source, from_files
from ddlabel.data.labels import Array
from ddlabel.data.reading import reading
from ddlabel.data.schema import require

# The longest chunk that a packed file is inflated to at once.
_CHUNK_BYTES = 1 << 24
_UNSIGNED_BYTES = b"\0\0\x08"


def _recognise(paths: Sequence[Path]) -> Found | None:
    """Find two files named like IDX files, or a folder of such."""
    is_folder = len(paths) == 1 and paths[0].is_dir()
    files = list(paths[0].iterdir()) if is_folder else paths
    named = [file for file in files if "-idx" in file.name or ".idx" in file.name]
    if not named:
        return None
    missing = "a file of images and one of labels" if len(named) < 2 else ""
    what = f"{len(named)} IDX files, as of MNIST" if len(named) > 1 else "one IDX file"
    return Found(what, Certainty.NAME, missing)


@importers.add("idx", recognise=_recognise, options={"split"}, most_paths=2)
def load(paths: Sequence[Path], options: ImportOptions) -> Source:
    """IDX files of MNIST and its relatives: a folder of them, or images and labels.

    Images are unsigned bytes with 3 or 4 axes, and labels have 1 axis. Files that end in `.gz` are
    unpacked; where a folder has a file both packed and unpacked, the unpacked one is read.

    Raises:
        InvalidInputError: A file is missing, damaged or not IDX.
        UnsafeInputError: A file declares too many bytes.
    """
    if len(paths) == 1 and paths[0].is_dir():
        paths = _files_of_part(paths[0], options.part)
    expected = f"one IDX file of images and one of labels for --split {options.part}"
    return from_files(expected, paths, [_read(path) for path in paths], options)


def _files_of_part(folder: Path, part: str) -> list[Path]:
    prefix = "t10k" if part == "test" else part
    files = [
        file
        for file in folder.iterdir()
        if file.name.startswith(prefix) and "idx" in file.name and file.is_file()
    ]
    # In falling order `x` comes after `x.gz` and takes its place.
    by_name = {file.name.removesuffix(".gz"): file for file in sorted(files, reverse=True)}
    return list(by_name.values())


def _read(path: Path) -> Array:
    """Read an IDX file: two zeros, type 8, number of axes, their lengths big-endian, the data."""
    with (
        reading(path, "cannot be read as IDX"),
        gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file,
    ):
        start = file.read(4)
        known = start[:3] == _UNSIGNED_BYTES and start[3] in (1, 3, 4)
        require(known, "not an IDX file of unsigned bytes with 1, 3 or 4 axes")
        num_axes = start[3]
        lengths = np.frombuffer(file.read(4 * num_axes), ">u4")
        shape = tuple(map(int, lengths))
        size = math.prod(shape)
        file_bytes = path.stat().st_size
        if path.suffix == ".gz":
            budget.check_inflated(size, file_bytes)
        else:
            budget.check_budget("the array", size, budget.MAX_TOTAL_BYTES)
            _check_length(file_bytes - file.tell(), size)
        content = np.empty(size, np.uint8)
        num_read = _fill(content, file)
        num_more = len(file.read(1))
        _check_length(num_read + num_more, size)
        return content.reshape(shape)


def _check_length(size: int, declared: int) -> None:
    require(
        size == declared,
        f"{size} bytes of data where {declared} are declared: cut off or damaged",
    )


def _fill(content: Array, file: BinaryIO | gzip.GzipFile) -> int:
    """Read bytes from a file into an array, and return how many there were."""
    end = 0
    while end < len(content):
        chunk = file.read(min(_CHUNK_BYTES, len(content) - end))
        if not chunk:
            break
        content[end : end + len(chunk)] = np.frombuffer(chunk, np.uint8)
        end += len(chunk)
    return end
