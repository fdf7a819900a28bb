"""Pairs of `.pt` tensors, as MTT, GLaD and DATM publish them: images, and integer labels or logits."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ddlabel.config import ImportOptions
from ddlabel.errors import InvalidInputError, UnsafeInputError
from ddlabel.importers.source import Array, Source
from ddlabel.importers.tensors import from_arrays

_MAX_BYTES = 1 << 34


def recognises(paths: Sequence[Path]) -> bool:
    """Files with the suffix .pt or .pth."""
    return all(path.suffix in (".pt", ".pth") for path in paths)


def load(paths: Sequence[Path], options: ImportOptions) -> Source:
    """One tensor of images [N, C, H, W] and one of labels [N] or [N, K], in either order.

    Hard labels of a file with soft labels only are their largest entries.

    Raises:
        InvalidInputError: if there are not two such tensors.
        UnsafeInputError: if a file would run code or unfold to more than it holds.
    """
    arrays = {array.ndim >= 3: array for array in map(_read, paths)}
    if len(paths) != 2 or set(arrays) != {True, False}:
        found = ", ".join(path.name for path in paths)
        raise InvalidInputError(f"expected a .pt file of images and one of labels, got {found}")
    return from_arrays(str(paths[0]), arrays[True], arrays[False], options)


def _read(path: Path) -> Array:
    """The tensor of a file, read without running anything in it."""
    import torch

    _check_archive(path)
    try:
        # Files saved with numpy scalars inside name these, and only these, beyond what is allowed anyway.
        make_scalar = np.float64(0).__reduce__()[0]
        scalars: list[Any] = [np.dtype, np.dtypes.Float64DType, np.dtypes.Float32DType]
        scalars += [(make_scalar, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")]
        with torch.serialization.safe_globals(scalars):
            tensor = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        text = str(error).split("\n")[0]
        kind = UnsafeInputError if "Weights only load failed" in text else InvalidInputError
        raise kind(f"{path}: cannot be read as tensors without running its code ({type(error).__name__})") from error
    if not isinstance(tensor, torch.Tensor):
        raise InvalidInputError(f"{path}: holds a {type(tensor).__name__}: expected one tensor")
    if tensor.is_sparse or tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
        raise UnsafeInputError(f"{path}: a tensor of shape {list(tensor.shape)} that its bytes do not fill")
    return tensor.detach().contiguous().numpy()


def _check_archive(path: Path) -> None:
    """Stored members only, of a bounded size: a compressed one can inflate a thousandfold."""
    if not zipfile.is_zipfile(path):
        if path.stat().st_size > _MAX_BYTES:
            raise UnsafeInputError(f"{path}: has {path.stat().st_size} bytes: at most {_MAX_BYTES} are read")
        return
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
    if any(info.compress_type != zipfile.ZIP_STORED for info in members):
        raise UnsafeInputError(f"{path}: a compressed archive, which torch.save does not write")
    if sum(info.file_size for info in members) > _MAX_BYTES:
        raise UnsafeInputError(f"{path}: declares more than {_MAX_BYTES} bytes")
