"""RaT-BPTT's HDF5 files: flat images in its own whitening, and labels without a norm."""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ddlabel.core.config import ImportOptions
from ddlabel.data import hdf5_files
from ddlabel.data.importers import own_whitening
from ddlabel.data.importers.hard_labels import OPTIONS as HARD
from ddlabel.data.importers.registry import Certainty, Found, importers
from ddlabel.data.importers.source import Source, from_arrays
from ddlabel.data.labels import Array
from ddlabel.data.schema import require

_IMAGES = "data"
_LABELS = "label"
# Its code has CIFAR, Tiny-ImageNet, CUB (3 channels) and MNIST (1).
_CHANNELS = (3, 1)


def _recognise(paths: Sequence[Path]) -> Found | None:
    """Find an HDF5 file with a dataset `data` that is no bundle."""
    path = paths[0]
    if path.suffix.lower() not in hdf5_files.SUFFIXES or not path.is_file():
        return None
    if hdf5_files.is_bundle(path):
        return None
    names = hdf5_files.dataset_names(path)
    what = f"an HDF5 file with {', '.join(names) or 'nothing'}"
    if _IMAGES not in names:
        return Found(what, Certainty.NAME, missing=f"{_IMAGES} and {_LABELS}, which RaT-BPTT has")
    if _LABELS not in names:
        missing = f"{_LABELS} (add --format rat-bptt --hard-labels FILE)"
        return Found("a file of RaT-BPTT", Certainty.MARK, missing)
    return Found("a file of RaT-BPTT", Certainty.MARK)


@importers.add("rat-bptt", recognise=_recognise, options={"pixels", "zca_from", *HARD})
def load(paths: Sequence[Path], options: ImportOptions) -> Source:
    """An HDF5 file of RaT-BPTT: `data` [N, C·H·W], and `label` [N, K] that is not normalised.

    Labels keep their sums, which weigh the images (the label space `mass`). With `options.pixels`
    zca, the whitening of RaT-BPTT is undone: each image divided by its norm, ε = 0.1 of the mean
    eigenvalue.

    Raises:
        InvalidInputError: The file is damaged, or the arrays do not fit together.
        UnsafeInputError: It refers to other files.
        UsageError: The space of the pixels is not stated.
    """
    path = paths[0]
    arrays = hdf5_files.read_datasets(path, (_IMAGES, _LABELS))
    require(_IMAGES in arrays, f"{path}: it has no dataset {_IMAGES!r}: not a file of RaT-BPTT")
    images = _unflattened(path, arrays[_IMAGES])
    labels = [arrays[_LABELS]] if _LABELS in arrays else []
    source = from_arrays(
        str(path),
        images,
        labels,
        replace(options, label_space="mass"),
        convert=own_whitening.converter(standardise=False),
    )
    return source._replace(notes=(*source.notes, *own_whitening.notes(options)))


def _unflattened(path: Path, flat: Array) -> Array:
    """Return images [N, D] as [N, C, H, W] with square images and C of 3 or 1."""
    for num_channels in _CHANNELS if flat.ndim == 2 else ():
        side = math.isqrt(flat.shape[1] // num_channels)
        if num_channels * side * side == flat.shape[1]:
            return flat.reshape(len(flat), num_channels, side, side)
    require(
        flat.ndim == 4,
        f"{path}: {_IMAGES} is {list(flat.shape)}: expected [N, C·H·W] of square images",
    )
    return flat
