"""The arrays that a bundle can have."""

from typing import NamedTuple

_FLOATS = ("float16", "float32")
_STORED_LABELS = ("uint8", "uint16", *_FLOATS)


class ArraySpec(NamedTuple):
    """What an array of a bundle must be.

    Attributes:
        axes: the letters of its axes; of several alternatives, the one with as many axes counts.
        dtypes: the dtypes that it may have.
        needs: the arrays that must be there with it.
    """

    axes: tuple[str, ...]
    dtypes: tuple[str, ...]
    needs: tuple[str, ...] = ()


# The one table of arrays. Reading, writing and checking follow it.
ARRAYS: dict[str, ArraySpec] = {
    "images": ArraySpec(("NCHW",), ("uint8", *_FLOATS)),
    "hard_labels": ArraySpec(("N",), ("int64",)),
    "source_index": ArraySpec(("N",), ("int64",)),
    "soft_labels": ArraySpec(("NK",), _STORED_LABELS),
    "soft_index": ArraySpec(("NS",), ("uint8", "uint16"), needs=("soft_labels",)),
    "dense_labels": ArraySpec(("NVK",), _STORED_LABELS, needs=("dense_boxes",)),
    "dense_index": ArraySpec(("NVD",), ("uint8", "uint16"), needs=("dense_labels",)),
    "dense_boxes": ArraySpec(("V4", "NV4"), ("float32",), needs=("dense_labels",)),
    "dense_flip": ArraySpec(("NV",), ("uint8",), needs=("dense_labels",)),
    "dense_mix": ArraySpec(("NV",), ("int64",), needs=("dense_labels", "dense_mix_weight")),
    "dense_mix_weight": ArraySpec(("NV",), ("float32",), needs=("dense_mix",)),
    "dense_mix_box": ArraySpec(("NV4",), ("float32",), needs=("dense_mix",)),
}
