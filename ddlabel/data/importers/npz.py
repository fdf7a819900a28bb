"""NumPy archives with images and labels under their usual names."""

import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ddlabel.core.config import ImportOptions
from ddlabel.core.errors import InvalidInputError, UnsafeInputError
from ddlabel.data.bundle import Array
from ddlabel.data.importers.source import Source, check_size, from_arrays
from ddlabel.data.reading import reading

PAIR = False
OPTIONS = {"split", "pixels", "label_space", "zca_from"}
_IMAGES = ("images", "x", "data", "x_{}", "{}_images", "X_{}")
_LABELS = ("labels", "y", "label", "y_{}", "{}_labels", "Y_{}", "hard_labels")
_MAX_BYTES = 1 << 34


def recognises(paths: Sequence[Path]) -> bool:
    """A file with the suffix .npz."""
    return paths[0].suffix == ".npz"


def load(paths: Sequence[Path], options: ImportOptions) -> Source:
    """`images`, `x` or `x_train` with `labels`, `y` or `y_train`; with an explicit `split` names of parts only."""
    path = paths[0]
    found: list[Array] = []
    with reading(path, "cannot be read as an .npz archive"), zipfile.ZipFile(path) as archive:
        check_size(sum(info.file_size for info in archive.infolist()), _MAX_BYTES)
        held = [name.removesuffix(".npy") for name in archive.namelist()]
        for known in (_IMAGES, _LABELS):
            names = [
                name.format(options.part) for name in known if options.split is None or "{}" in name
            ]
            name = next((name for name in names if name in held), None)
            if name is None:
                wanted = f"images and labels, or x_{options.part} and y_{options.part}"
                raise InvalidInputError(f"it holds {', '.join(held)}: expected {wanted}")
            try:
                with archive.open(f"{name}.npy") as file:
                    found.append(np.lib.format.read_array(file, allow_pickle=False))
            except ValueError as error:
                if "Object arrays" in str(error):
                    raise UnsafeInputError(
                        "pickled objects could run code: only numbers are read"
                    ) from error
                raise
    return from_arrays(str(path), found[0], found[1], options)
