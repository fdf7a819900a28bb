"""NumPy archives with images and labels under their usual names."""

import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ddlabel.core.config import ImportOptions
from ddlabel.core.errors import InvalidInputError, UnsafeInputError
from ddlabel.data.importers.source import Source, check_size, from_arrays
from ddlabel.data.labels import Array
from ddlabel.data.reading import reading

PAIR = False
OPTIONS = {"split", "pixels", "label_space", "zca_from"}
# Known names in the order of their precedence; {} is the part, such as train.
_IMAGES = ("images", "x", "data", "x_{}", "{}_images", "X_{}")
_LABELS = ("labels", "y", "label", "y_{}", "{}_labels", "Y_{}", "hard_labels")
_MAX_BYTES = 1 << 34


def recognises(paths: Sequence[Path]) -> bool:
    """Return whether the file has the suffix .npz."""
    return paths[0].suffix == ".npz"


def load(paths: Sequence[Path], options: ImportOptions) -> Source:
    """Read `images`, `x` or `x_train` with `labels`, `y` or `y_train`.

    With an explicit `options.split` only names with a part are looked for.

    Raises:
        InvalidInputError: The archive is damaged or lacks the arrays.
        UnsafeInputError: It declares too many bytes or holds pickled objects.
        UsageError: A space is ambiguous and not stated.
    """
    path = paths[0]
    with reading(path, "cannot be read as an .npz archive"), zipfile.ZipFile(path) as archive:
        declared = sum(info.file_size for info in archive.infolist())
        check_size(declared, _MAX_BYTES)
        images = _read_array(archive, _IMAGES, options)
        labels = _read_array(archive, _LABELS, options)
    return from_arrays(str(path), images, labels, options)


def _read_array(archive: zipfile.ZipFile, patterns: Sequence[str], options: ImportOptions) -> Array:
    """Read the first array that has one of the known names."""
    members = [name.removesuffix(".npy") for name in archive.namelist()]
    if options.split is not None:
        patterns = [pattern for pattern in patterns if "{}" in pattern]
    names = [pattern.format(options.part) for pattern in patterns]
    name = next((name for name in names if name in members), None)
    if name is None:
        raise InvalidInputError(
            f"it holds {', '.join(members)}: expected images and labels, or x_{options.part} and "
            f"y_{options.part}"
        )
    try:
        with archive.open(f"{name}.npy") as file:
            return np.asarray(np.lib.format.read_array(file, allow_pickle=False))
    except ValueError as error:
        if "Object arrays" in str(error):
            raise UnsafeInputError(
                "pickled objects could run code: only numbers are read"
            ) from error
        raise
