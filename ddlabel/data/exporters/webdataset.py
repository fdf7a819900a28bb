"""Tar archives of WebDataset."""

import json
from collections.abc import Iterator

from ddlabel.core.config import ExportOptions
from ddlabel.data import atomic
from ddlabel.data.bundle import Bundle
from ddlabel.data.exporters.archives import tar_chunks
from ddlabel.data.exporters.labels import soft_values, space_of_values
from ddlabel.data.exporters.pixels import check_png, png
from ddlabel.data.exporters.registry import exporters

_KEEPS = ("images", "order", "class names", "hard", "soft", "label space")


@exporters.add("webdataset", keeps=_KEEPS, suffixes=(".tar",))
def write(bundle: Bundle, path: str, options: ExportOptions) -> None:  # noqa: ARG001
    """A tar archive of WebDataset: for each image a PNG, the class number, and a JSON.

    The JSON has `class_name` and, where there are soft labels, `soft_label` (probabilities, or the
    vectors of directions) and its `label_space`.

    Raises:
        IncompatibleError: The images are neither grey nor of three colours.
    """
    check_png(bundle)
    atomic.write(path, tar_chunks(_members(bundle)), size=0)


def _members(bundle: Bundle) -> Iterator[tuple[str, bytes]]:
    for row, hard in enumerate(bundle.hard_labels.tolist()):
        key = f"{row:06d}"
        about: dict[str, object] = {"class_name": bundle.classes[hard]}
        if bundle.soft is not None:
            about["soft_label"] = soft_values(bundle, slice(row, row + 1))[0].tolist()
            about["label_space"] = space_of_values(bundle)
        yield f"{key}.cls", str(hard).encode()
        yield f"{key}.json", json.dumps(about, ensure_ascii=False).encode()
        yield f"{key}.png", png(bundle.images[row])
