"""Tensors in `.pt` files, the form of MTT, GLaD and DATM: images, labels and a learned rate."""

from collections.abc import Sequence
from pathlib import Path

from ddlabel.core.config import ImportOptions
from ddlabel.core.errors import InvalidInputError
from ddlabel.data.importers.hard_labels import OPTIONS as HARD
from ddlabel.data.importers.registry import Certainty, Found, importers
from ddlabel.data.importers.source import Source, from_files
from ddlabel.data.importers.torch_files import array_of, is_tensor, is_torch_file, read_torch
from ddlabel.data.labels import Array
from ddlabel.data.provenance import LEARNED_LR
from ddlabel.data.schema import require

# The files of a folder that the code of MTT and DATM calls the best.
_BEST = ("images_best.pt", "labels_best.pt")
_BEST_RATE = "lr_best.pt"
_EXPECTED = "a .pt file of images and one of labels"
_SHOWN_FILES = 4


def _recognise(paths: Sequence[Path]) -> Found | None:
    """Find files that hold one tensor each, or a folder with the best ones of a distillation."""
    if len(paths) == 1 and paths[0].is_dir():
        return _recognise_folder(paths[0])
    if not all(is_torch_file(path) for path in paths):
        return None
    values = [read_torch(path, mapped=True) for path in paths]
    if not all(is_tensor(value) for value in values):
        return None
    arrays = [array_of(path, value) for path, value in zip(paths, values, strict=True)]
    roles = [_role(array) for array in arrays]
    *first, last = dict.fromkeys(roles)
    what = f"{', '.join(first)} and {last}" if first else last
    missing = [role for role in ("images", "labels") if role not in roles]
    wanted = " and ".join(f"a .pt file of {role}" for role in missing)
    if missing == ["images"]:
        wanted += " ('ddlabel import-labels' puts labels on a bundle)"
    if missing == ["labels"]:
        wanted += f": name both, such as 'ddlabel import {paths[0]} {_labels_beside(paths[0])} OUT'"
    return Found(
        f"{what} in {'one .pt file' if len(roles) == 1 else '.pt files'}", Certainty.MARK, wanted
    )


def _labels_beside(images: Path) -> str:
    """Return the file of labels that belongs to a file of images, by the names of MTT."""
    labels = images.with_name(images.name.replace("images", "labels"))
    return "LABELS.pt" if labels == images else str(labels)


def _recognise_folder(folder: Path) -> Found | None:
    names = sorted(file.name for file in folder.glob("*.pt"))
    if set(names).issuperset(_BEST):
        method = "DATM" if _BEST_RATE in names else "MTT or GLaD"
        return Found(f"a folder of {method} (it has {_BEST[0]})", Certainty.CONTENT)
    if not any(name.startswith(("images", "labels")) for name in names):
        return None
    more = ", …" if len(names) > _SHOWN_FILES else ""
    what = f"a folder of .pt files ({', '.join(names[:_SHOWN_FILES])}{more})"
    missing = f"{_BEST[0]} and {_BEST[1]}: name {_EXPECTED}"
    return Found(what, Certainty.NAME, missing)


def _role(array: Array) -> str:
    """Return what an array is by its axes and its type."""
    if array.ndim >= 3:
        return "images"
    return "a learned rate" if _is_rate(array) else "labels"


def _is_rate(array: Array) -> bool:
    """Return whether an array is a learning rate: one number that is no class."""
    return array.ndim < 2 and array.size == 1 and array.dtype.kind == "f"


@importers.add(
    "pt",
    recognise=_recognise,
    options={"pixels", "label_space", "zca_from", *HARD},
    most_paths=4,
)
def load(paths: Sequence[Path], options: ImportOptions) -> Source:
    """Tensors in .pt files, as of MTT, GLaD and DATM: images and labels, or their folder.

    Images are [N, C, H, W] and labels [N], [N, K], or one file of each. A file of one number is the
    learning rate that DATM learned with the images. The files may be in any order. Of a folder
    `images_best.pt`, `labels_best.pt` and `lr_best.pt` are read.

    Raises:
        InvalidInputError: A file is damaged or does not hold one tensor of numbers.
        UnsafeInputError: A file asks for code, or declares more than its bytes hold.
        UsageError: A space is ambiguous and not stated.
    """
    if len(paths) == 1 and paths[0].is_dir():
        files = [paths[0] / name for name in (*_BEST, _BEST_RATE)]
        paths = [file for file in files if file.is_file()]
        require(len(paths) >= 2, f"{files[0].parent}: expected {' and '.join(_BEST)} in it")
    arrays = [_read(path) for path in paths]
    rates = [array for array in arrays if _is_rate(array)]
    others = [array for array in arrays if not _is_rate(array)]
    require(len(rates) < 2, f"{paths[0]}: two files of one number: expected one learning rate")
    source = from_files(_EXPECTED, paths, others, options)
    if not rates:
        return source
    rate = float(rates[0].reshape(()))
    require(0 < rate < float("inf"), f"{paths[0].parent}: the learned rate is {rate}: expected > 0")
    advice = f"train students with --optimizer sgd:lr={rate:.4g}"
    note = f"note: the learned rate {rate:.4g} is kept in the history: {advice}"
    facts = {**source.facts, LEARNED_LR: rate}
    return source._replace(facts=facts, notes=(*source.notes, note))


def _read(path: Path) -> Array:
    value = read_torch(path)
    if not is_tensor(value):
        raise InvalidInputError(f"{path}: holds a {type(value).__name__}: expected one tensor")
    return array_of(path, value)
