"""Files of torch.save: numbers in tensors, lists and dictionaries, read without running code."""

import warnings
import zipfile
from argparse import Namespace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from ddlabel.core.errors import InvalidInputError, UnsafeInputError
from ddlabel.data.importers import budget
from ddlabel.data.labels import Array
from ddlabel.data.reading import reading
from ddlabel.data.schema import require

if TYPE_CHECKING:
    from torch import Tensor

SUFFIXES = (".pt", ".pth")
_ZIP_MAGIC = b"PK\3\4"


def is_torch_file(path: Path) -> bool:
    """Return whether a path is a file with the suffix .pt or .pth."""
    return path.suffix in SUFFIXES and path.is_file()


def read_torch(path: Path, *, mapped: bool = False) -> Any:
    """Return the value of a file: tensors and numbers in lists, tuples and dictionaries.

    With `mapped` the numbers of tensors are read when they are used: to look at their shapes.

    Raises:
        InvalidInputError: The file is damaged, or not one of torch.save.
        UnsafeInputError: It asks for code, or declares more than its bytes hold.
    """
    import torch

    is_zip = _check_archive(path)
    try:
        with warnings.catch_warnings(action="ignore"), torch.serialization.safe_globals(_known()):
            return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped and is_zip)
    except Exception as error:
        # For a file that asks for code, torch names "GLOBAL posix.system" or its `safe_globals`.
        if "GLOBAL" in str(error) or "safe_globals" in str(error):
            raise UnsafeInputError(
                f"{path}: asks for code, which is not run: save tensors only"
            ) from error
        raise InvalidInputError(f"{path}: not a file of torch.save, or damaged") from error


def is_tensor(value: Any) -> bool:
    """Return whether a value is a tensor."""
    import torch

    return isinstance(value, torch.Tensor)


def check_filled(name: Path | str, tensor: "Tensor") -> None:
    """Check that a tensor does not show the same numbers many times over, by a stride of 0.

    Raises:
        UnsafeInputError: It has more numbers than its bytes hold.
        RuntimeError: It is sparse.
    """
    num_bytes = tensor.numel() * tensor.element_size()
    if num_bytes > tensor.untyped_storage().nbytes():
        raise UnsafeInputError(
            f"{name}: a tensor of shape {list(tensor.shape)} that its bytes do not fill"
        )


def array_of(name: Path | str, tensor: "Tensor") -> Array:
    """Return a tensor as an array; `name` is how messages name it.

    A type that numpy lacks, such as bfloat16, becomes float32.

    Raises:
        InvalidInputError: It is sparse, complex or of another type that is no plain number.
        UnsafeInputError: It has more numbers than its bytes hold.
    """
    import torch

    numpy_floats = (torch.float64, torch.float32, torch.float16)
    try:
        check_filled(name, tensor)
        if tensor.is_floating_point() and tensor.dtype not in numpy_floats:
            tensor = tensor.float()
        return np.asarray(tensor.detach().numpy())
    except (TypeError, RuntimeError) as error:
        kind = f"{tensor.dtype} ({tensor.layout}, {tensor.device})"
        raise InvalidInputError(
            f"{name}: a tensor of {kind}: save plain numbers (.float().cpu())"
        ) from error


def _known() -> list[Any]:
    """Return the names that files may have beyond those that torch allows.

    They are numpy scalars, and the options that training programs save with a checkpoint.
    """
    make_scalar = np.float64(0).__reduce__()[0]
    kinds = (np.dtypes.Float64DType, np.dtypes.Float32DType, np.dtypes.Int64DType)
    known: list[Any] = [np.dtype, *kinds, Namespace]
    for core in ("core", "_core"):  # numpy 1 and numpy 2
        known.append((make_scalar, f"numpy.{core}.multiarray.scalar"))
    return known


def _check_archive(path: Path) -> bool:
    """Return whether a file is a zip archive, as torch decides it.

    Raises:
        UnsafeInputError: A member is compressed, which can inflate a thousandfold, or the total
            size is too large.
    """
    with reading(path, "the archive is damaged"):
        size = path.stat().st_size
        with path.open("rb") as file:
            is_zip = file.read(4) == _ZIP_MAGIC
        if is_zip:
            check_stored(path, size)
        budget.check_budget("it", size, budget.MAX_TOTAL_BYTES)
    return is_zip


def check_stored(file: Path | IO[bytes], size: int) -> None:
    """Check that the members of an archive of `size` bytes are stored as they are.

    Raises:
        UnsafeInputError: A member is compressed, or members lie over one another.
        BadZipFile: It is no archive.
    """
    with zipfile.ZipFile(file) as archive:
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
