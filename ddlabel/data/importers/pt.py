"""Pairs of `.pt` tensors, as MTT, GLaD and DATM publish them: images, and integer labels or logits."""

import warnings
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ddlabel.core.config import ImportOptions
from ddlabel.core.errors import InvalidInputError, UnsafeInputError
from ddlabel.data.bundle import Array
from ddlabel.data.importers.source import Source, check_size, from_pair
from ddlabel.data.reading import reading

PAIR = True
OPTIONS = {"pixels", "label_space", "zca_from"}
_MAX_BYTES = 1 << 34


def recognises(paths: Sequence[Path]) -> bool:
    """Files with the suffix .pt or .pth."""
    return all(path.suffix in (".pt", ".pth") for path in paths)


def load(paths: Sequence[Path], options: ImportOptions) -> Source:
    """One tensor of images [N, C, H, W] and one of labels [N] or [N, K], in either order."""
    return from_pair("a .pt file of images and one of labels", paths, _read, options)


def _read(path: Path) -> Array:
    """The tensor of a file, read without running anything in it; what numpy lacks, such as bfloat16, as float32."""
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
            raise UnsafeInputError(
                f"{path}: asks for code, which is not run: save tensors only"
            ) from error
        raise InvalidInputError(
            f"{path}: not a file of torch.save, or damaged ({type(error).__name__})"
        ) from error
    if not isinstance(tensor, torch.Tensor):
        raise InvalidInputError(f"{path}: holds a {type(tensor).__name__}: expected one tensor")
    try:
        if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
            raise UnsafeInputError(
                f"{path}: a tensor of shape {list(tensor.shape)} that its bytes do not fill"
            )
        if tensor.is_floating_point() and tensor.dtype not in (
            torch.float64,
            torch.float32,
            torch.float16,
        ):
            tensor = tensor.float()
        return np.asarray(tensor.detach().numpy())
    except (TypeError, RuntimeError) as error:
        kind = f"{tensor.dtype} ({tensor.layout}, {tensor.device})"
        raise InvalidInputError(
            f"{path}: a tensor of {kind}: save plain numbers (.float().cpu())"
        ) from error


def _check_archive(path: Path) -> None:
    """Stored members only, of a bounded size: a compressed one can inflate a thousandfold."""
    with reading(path, "the archive is damaged"):
        size = path.stat().st_size
        with path.open("rb") as file:
            packed = file.read(4) == b"PK\3\4"  # what torch takes for an archive
        if packed:
            with zipfile.ZipFile(path) as archive:
                members = archive.infolist()
            if any(info.compress_type != zipfile.ZIP_STORED for info in members):
                raise UnsafeInputError("a compressed archive, which torch.save does not write")
            size = max(size, sum(info.file_size for info in members))
        check_size(size, _MAX_BYTES)
