"""KIP's archives: images NHWC, and one-hot labels that are shifted to the mean 0."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ddlabel.core.config import ImportOptions
from ddlabel.data.importers import own_whitening
from ddlabel.data.importers.hard_labels import OPTIONS as HARD
from ddlabel.data.importers.numpy_files import open_npz, read_array, read_shape
from ddlabel.data.importers.registry import Certainty, Found, importers
from ddlabel.data.importers.source import Source, from_arrays
from ddlabel.data.labels import Array
from ddlabel.data.schema import require

_IMAGES = "images"
_LABELS = "labels"
_TOLERANCE = 1e-3


def _recognise(paths: Sequence[Path]) -> Found | None:
    """Find an .npz file with images NHWC and labels whose rows sum to 0."""
    path = paths[0]
    if path.suffix != ".npz" or not path.is_file():
        return None
    with open_npz(path) as (archive, members):
        if not {_IMAGES, _LABELS} <= members.keys():
            return None
        shape = read_shape(archive, members[_IMAGES])
        label_shape = read_shape(archive, members[_LABELS])
        if len(shape) != 4 or shape[3] not in (1, 3) or len(label_shape) != 2:
            return None
        labels = read_array(archive, members[_LABELS])
    if labels.dtype.kind != "f" or labels.shape[1] < 2:
        return None
    if _is_shifted(labels):
        return Found("an archive of KIP (one-hot labels shifted to the mean 0)", Certainty.MARK)
    if np.abs(labels.sum(1, dtype=np.float64)).max() < _TOLERANCE:
        return Found("an archive of KIP with learned labels (they sum to 0)", Certainty.CONTENT)
    return None


def _is_shifted(labels: Array) -> bool:
    """Return whether labels [N, K] are one-hot labels minus 1/K."""
    one_hot = np.eye(labels.shape[1])[labels.argmax(1)]
    return bool(np.abs(labels + 1 / labels.shape[1] - one_hot).max() < _TOLERANCE)


@importers.add("kip", recognise=_recognise, options={"pixels", "zca_from", "label_space", *HARD})
def load(paths: Sequence[Path], options: ImportOptions) -> Source:
    """An .npz archive of KIP: `images` NHWC, and `labels`, one-hot labels minus 1/K.

    One-hot labels become hard labels. Learned ones are shifted back by 1/K, and are soft labels of
    the space that `options.label_space` says. With `options.pixels` zca, KIP's own whitening is
    undone: channels normalised, each image divided by its norm, ε = 0.1 of the mean eigenvalue.

    Raises:
        InvalidInputError: The archive is damaged or lacks the arrays.
        UnsafeInputError: It declares too many bytes or holds pickled objects.
        UsageError: A space is not stated.
    """
    path = paths[0]
    with open_npz(path) as (archive, members):
        has_both = {_IMAGES, _LABELS} <= members.keys()
        require(has_both, f"it holds {', '.join(members)}: expected {_IMAGES} and {_LABELS}")
        images = read_array(archive, members[_IMAGES])
        labels = read_array(archive, members[_LABELS])
    has_axes = images.ndim == 4 and labels.ndim == 2 and labels.dtype.kind == "f"
    require(
        has_axes and labels.shape[1] > 1,
        f"{path}: images {list(images.shape)} and labels {list(labels.shape)}: expected "
        "[N, H, W, C] and [N, K]",
    )
    if np.isfinite(labels).all() and _is_shifted(labels):
        labels = labels.argmax(1)
    else:
        labels = labels + np.float32(1 / labels.shape[1])
    source = from_arrays(
        str(path),
        images.transpose(0, 3, 1, 2),
        [labels],
        options,
        convert=own_whitening.converter(standardise=True),
    )
    return source._replace(notes=(*source.notes, *own_whitening.notes(options)))
