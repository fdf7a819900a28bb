"""Pairs of `.pt` tensors, the form of MTT, GLaD and DATM: images, and integer labels or logits."""

import warnings
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ddlabel.core.config import ImportOptions
from ddlabel.core.errors import InvalidInputError, UnsafeInputError
from ddlabel.data.importers import budget
from ddlabel.data.importers.registry import Certainty, Found, importers
from ddlabel.data.importers.source import Source, from_pair
from ddlabel.data.labels import Array
from ddlabel.data.reading import reading
from ddlabel.data.schema import require

if TYPE_CHECKING:
    from torch import Tensor

_ZIP_MAGIC = b"PK\3\4"


def _recognise(paths: Sequence[Path]) -> Found | None:
    """Find files that all have the suffix .pt or .pth."""
    if not all(path.suffix in (".pt", ".pth") for path in paths):
        return None
    missing = "" if len(paths) == 2 else "a file of images and one of labels"
    return Found("tensors in .pt files", Certainty.NAME, missing)


@importers.add(
    "pt", recognise=_recognise, options={"pixels", "label_space", "zca_from"}, most_paths=2
)
def load(paths: Sequence[Path], options: ImportOptions) -> Source:
    """A pair of .pt tensors, as of MTT, GLaD and DATM: images and labels, in either order.

    Images are [N, C, H, W] and labels [N] or [N, K].

    Raises:
        InvalidInputError: A file is damaged or does not hold one tensor of numbers.
        UnsafeInputError: A file asks for code, or declares more than its bytes hold.
        UsageError: A space is ambiguous and not stated.
    """
    return from_pair("a .pt file of images and one of labels", paths, _read, options)


def _read(path: Path) -> Array:
    """Read the tensor of a file without running anything in it.

    A type that numpy lacks, such as bfloat16, becomes float32.
    """
    import torch

    tensor = _load_tensor(path)
    numpy_floats = (torch.float64, torch.float32, torch.float16)
    try:
        num_bytes = tensor.numel() * tensor.element_size()
        if num_bytes > tensor.untyped_storage().nbytes():
            raise UnsafeInputError(
                f"{path}: a tensor of shape {list(tensor.shape)} that its bytes do not fill"
            )
        if tensor.is_floating_point() and tensor.dtype not in numpy_floats:
            tensor = tensor.float()
        return np.asarray(tensor.detach().numpy())
    except (TypeError, RuntimeError) as error:
        kind = f"{tensor.dtype} ({tensor.layout}, {tensor.device})"
        raise InvalidInputError(
            f"{path}: a tensor of {kind}: save plain numbers (.float().cpu())"
        ) from error


def _load_tensor(path: Path) -> "Tensor":
    import torch

    _check_archive(path)
    try:
        with warnings.catch_warnings(action="ignore"), torch.serialization.safe_globals(_scalars()):
            tensor = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        # For a file that asks for code, torch names "GLOBAL posix.system" or its `safe_globals`.
        if "GLOBAL" in str(error) or "safe_globals" in str(error):
            raise UnsafeInputError(
                f"{path}: asks for code, which is not run: save tensors only"
            ) from error
        raise InvalidInputError(f"{path}: not a file of torch.save, or damaged") from error
    if not isinstance(tensor, torch.Tensor):
        raise InvalidInputError(f"{path}: holds a {type(tensor).__name__}: expected one tensor")
    return tensor


def _scalars() -> list[Any]:
    """Return the names that a file with numpy scalars needs beyond those that torch allows."""
    make_scalar = np.float64(0).__reduce__()[0]
    scalars: list[Any] = [np.dtype, np.dtypes.Float64DType, np.dtypes.Float32DType]
    for core in ("core", "_core"):  # numpy 1 and numpy 2
        scalars.append((make_scalar, f"numpy.{core}.multiarray.scalar"))
    return scalars


def _check_archive(path: Path) -> None:
    """Refuse compressed members, which can inflate a thousandfold, and a total size too large."""
    with reading(path, "the archive is damaged"):
        size = path.stat().st_size
        with path.open("rb") as file:
            is_zip = file.read(4) == _ZIP_MAGIC  # as torch decides it
        if is_zip:
            with zipfile.ZipFile(path) as archive:
                members = archive.infolist()
            if any(info.compress_type != zipfile.ZIP_STORED for info in members):
                raise UnsafeInputError("a compressed archive, which torch.save does not write")
            declared = sum(info.file_size for info in members)
            # Members that lie over one another could stand for any number of bytes.
            require(
                declared <= size,
                f"its members have {declared} bytes and it has {size}",
                UnsafeInputError,
            )
        budget.check_budget("it", size, budget.MAX_TOTAL_BYTES)
