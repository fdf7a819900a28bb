"""Pairs of `.pt` tensors, as MTT, GLaD and DATM publish them: images, and integer labels or logits."""

from __future__ import annotations

import warnings
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ddlabel.config import ImportOptions
from ddlabel.errors import InvalidInputError, UnsafeInputError
from ddlabel.importers.source import DAMAGED, Array, Source
from ddlabel.importers.tensors import from_arrays

PAIR = True
OPTIONS = {"pixels", "label_space", "zca_from"}
_MAX_BYTES = 1 << 34


def recognises(paths: Sequence[Path]) -> bool:
    """Files with the suffix .pt or .pth."""
    return all(path.suffix in (".pt", ".pth") for path in paths)


def load(paths: Sequence[Path], options: ImportOptions) -> Source:
    """One tensor of images [N, C, H, W] and one of labels [N] or [N, K], in either order.

    Hard labels of a file with soft labels only are their largest entries.

    Raises:
        InvalidInputError: if there are not two such tensors, or a file is damaged.
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
        with warnings.catch_warnings(action="ignore"), torch.serialization.safe_globals(scalars):
            tensor = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        # Torch says "GLOBAL posix.system" or names its list of safe ones where a file asks for code.
        if "GLOBAL" in str(error) or "safe_globals" in str(error):
            raise UnsafeInputError(f"{path}: asks for code, which is not run: save tensors only") from error
        raise InvalidInputError(f"{path}: not a file of torch.save, or damaged ({type(error).__name__})") from error
    if not isinstance(tensor, torch.Tensor):
        raise InvalidInputError(f"{path}: holds a {type(tensor).__name__}: expected one tensor")
    return _to_numpy(path, tensor.detach())


def _to_numpy(path: Path, tensor: Any) -> Array:
    """The numbers of a tensor; floating point that numpy does not have, such as bfloat16, as float32."""
    try:
        if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
            raise UnsafeInputError(f"{path}: a tensor of shape {list(tensor.shape)} that its bytes do not fill")
        if tensor.is_floating_point() and str(tensor.dtype) not in ("torch.float64", "torch.float32", "torch.float16"):
            tensor = tensor.float()
        array: Array = tensor.contiguous().numpy()
    except (TypeError, RuntimeError) as error:
        kind = f"{tensor.dtype} ({tensor.layout}, {tensor.device})"
        raise InvalidInputError(f"{path}: a tensor of {kind}: save plain numbers (.float().cpu())") from error
    return array


def _check_archive(path: Path) -> None:
    """Stored members only, of a bounded size: a compressed one can inflate a thousandfold."""
    if path.stat().st_size > _MAX_BYTES:
        raise UnsafeInputError(f"{path}: has {path.stat().st_size} bytes: at most {_MAX_BYTES} are read")
    try:
        with path.open("rb") as file:
            if file.read(4) != b"PK\3\4":  # what torch takes for an archive
                return
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except DAMAGED as error:
        raise InvalidInputError(f"{path}: the archive is damaged: {error}") from error
    if any(info.compress_type != zipfile.ZIP_STORED for info in members):
        raise UnsafeInputError(f"{path}: a compressed archive, which torch.save does not write")
    if sum(info.file_size for info in members) > _MAX_BYTES:
        raise UnsafeInputError(f"{path}: declares more than {_MAX_BYTES} bytes")
