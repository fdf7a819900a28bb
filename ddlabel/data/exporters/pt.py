"""Tensors of `torch.save`: the folders of MTT and DATM, and the result file of DC."""

import io
from typing import Any

import numpy as np

from ddlabel.core.config import ExportOptions
from ddlabel.data import atomic
from ddlabel.data.atomic_folder import write_folder
from ddlabel.data.bundle import Bundle
from ddlabel.data.exporters.labels import as_logits
from ddlabel.data.exporters.pixels import as_floats
from ddlabel.data.exporters.registry import exporters
from ddlabel.data.labels import Array

IMAGES = "images_best.pt"
LABELS = "labels_best.pt"
LEARNED_RATE = "lr_best.pt"
# The name of the learned rate among the facts of an import.
_RATE = "learned_lr"


_KEEPS = ("images", "exact pixels", "order")


@exporters.add("mtt", keeps=(*_KEEPS, "hard"), is_folder=True)
def write_mtt(bundle: Bundle, path: str, options: ExportOptions) -> None:
    """The folder of MTT: `images_best.pt` float32 [N, C, H, W], `labels_best.pt` classes [N]."""
    _write_pair(bundle, path, options, np.array(bundle.hard_labels))


@exporters.add("datm", keeps=(*_KEEPS, "soft"), is_folder=True)
def write_datm(bundle: Bundle, path: str, options: ExportOptions) -> None:
    """The folder of DATM: as MTT's, with logits [N, K] whose softmax is the soft label.

    `lr_best.pt` is there if the images came with a learned rate.

    Raises:
        IncompatibleError: The bundle has no soft labels, or they are no distributions.
    """
    _write_pair(bundle, path, options, as_logits(bundle.labels("soft")))


def _write_pair(bundle: Bundle, path: str, options: ExportOptions, labels: Array) -> None:
    """Write images and labels, and the learned rate if the bundle's history has one."""
    images = as_floats(bundle, options.normalise)
    files = [(IMAGES, [_saved(images)]), (LABELS, [_saved(labels)])]
    rates = [entry.facts[_RATE] for entry in bundle.history if _RATE in entry.facts]
    if rates:
        files.append((LEARNED_RATE, [_saved(np.array(rates[-1], np.float32))]))
    write_folder(path, files)


@exporters.add("dc", keeps=(*_KEEPS, "hard"))
def write_result(bundle: Bundle, path: str, options: ExportOptions) -> None:
    """A `.pt` file with the dictionary of DC, DSA and DM: `data` and `accs_all_exps`."""
    import torch

    images = torch.from_numpy(as_floats(bundle, options.normalise))
    labels = torch.from_numpy(np.array(bundle.hard_labels))
    content = _saved({"data": [[images, labels]], "accs_all_exps": {}})
    atomic.write(path, [content], size=len(content))


def _saved(value: Any) -> bytes:
    """Return what `torch.save` writes of tensors, or of an array as a tensor."""
    import torch

    buffer = io.BytesIO()
    torch.save(torch.from_numpy(value) if isinstance(value, np.ndarray) else value, buffer)
    return buffer.getvalue()
