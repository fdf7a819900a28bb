"""NumPy archives."""

from collections.abc import Iterator

import numpy as np

from ddlabel.core.config import ExportOptions
from ddlabel.data import atomic
from ddlabel.data.bundle import Bundle
from ddlabel.data.exporters.archives import npz_chunks
from ddlabel.data.exporters.pixels import as_floats
from ddlabel.data.exporters.registry import exporters
from ddlabel.data.labels import Array

PIXELS = "pixels"
_KEEPS = ("images", "exact pixels", "order", "class names", "empty classes", "normalisation")


@exporters.add("npz", keeps=(*_KEEPS, "hard", "soft", "views", "source rows"), suffixes=(".npz",))
def write(bundle: Bundle, path: str, options: ExportOptions) -> None:
    """A NumPy archive (`.npz`) of all arrays, with decoded labels.

    Logits are divided by their temperature. `class_names`, `mean` and `std` are those of the
    header. The texts `pixels` (uint8, unit or normalised), `soft_labels_space` and
    `dense_labels_space` say what the numbers mean.
    """
    arrays = dict(_arrays(bundle))
    if options.normalise is not None:
        arrays["images"] = as_floats(bundle, options.normalise)
        arrays[PIXELS] = np.array("normalised")
    num_bytes = sum(array.nbytes for array in arrays.values())
    atomic.write(path, npz_chunks(arrays.items()), size=num_bytes)


def _arrays(bundle: Bundle) -> Iterator[tuple[str, Array]]:
    for name, array in bundle.arrays.items():
        if name in ("soft_labels", "dense_labels"):
            labels = bundle.labels(name.removesuffix("_labels"))
            values = labels.decode()
            if labels.meta.space == "logits":
                values = values / np.float32(labels.meta.temperature)
            yield name, values
            yield f"{name}_space", np.array(labels.meta.space)
        elif not name.endswith("_index") or name == "source_index":
            yield name, array
    yield PIXELS, np.array(bundle.pixels.space)
    yield "class_names", np.array(bundle.classes)
    yield "mean", np.array(bundle.pixels.mean)
    yield "std", np.array(bundle.pixels.std)
