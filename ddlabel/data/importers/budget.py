"""The limits on what an import reads from files of strangers, and the check of all of them."""

import os
from pathlib import Path

from ddlabel.core.errors import UnsafeInputError, UsageError
from ddlabel.data.reading import is_stream
from ddlabel.data.schema import require

# This environment variable multiplies all limits.
VARIABLE = "DDLABEL_IMPORT_LIMITS"
# The bytes of one image file, one member of an archive of CIFAR, or one read of an archive.
MAX_FILE_BYTES = 1 << 28
# The pixels of one image, decoded or resized. Pillow keeps 4 bytes for each of them.
MAX_IMAGE_PIXELS = 64_000_000
# The bytes of all arrays of a file, or of all that a compressed file inflates to.
MAX_TOTAL_BYTES = 1 << 34
# A compressed file may always inflate to the first number, and to more only at the second rate.
# Deflate reaches 1,000 on zeros, and real images reach less than 10.
MAX_INFLATED_BYTES = 1 << 28
MAX_INFLATION = 100


def check_budget(name: str, size: int, limit: int, unit: str = "bytes") -> None:
    """Check a size that a file declares, before anything of this size is read.

    Raises:
        UnsafeInputError: `size` is above `limit` times the factor of the environment.
        UsageError: The factor is not a number from 1.
    """
    if size <= limit:
        return
    allowed = int(limit * _factor())
    require(
        size <= allowed,
        f"{name} has {size} {unit}: at most {allowed} are read ({VARIABLE}=N allows N times more)",
        UnsafeInputError,
    )


def check_inflated(size: int, file_bytes: int, name: str = "the unpacked content") -> None:
    """Check the number of bytes that a compressed file of `file_bytes` inflates to.

    Raises:
        UnsafeInputError: It is above every limit, or out of proportion to the file.
    """
    in_proportion = max(MAX_INFLATED_BYTES, MAX_INFLATION * file_bytes)
    check_budget(name, size, min(in_proportion, MAX_TOTAL_BYTES))


def check_decoded(size: int, file_bytes: int) -> None:
    """Check the bytes of decoded images, whose files have `file_bytes`. Real ones may be any many.

    Raises:
        UnsafeInputError: They are out of proportion to the files.
    """
    limit = max(MAX_INFLATED_BYTES, MAX_INFLATION * file_bytes)
    check_budget(f"the decoded content of {file_bytes} bytes of images", size, limit)


def check_source(path: Path) -> None:
    """Check that a source is a file or a folder, and not a stream, which can be endless.

    Raises:
        InvalidInputError: There is no such file.
        OSError: There is no permission to read it.
        UnsafeInputError: It is a FIFO, a socket or a device.
    """
    require(path.exists(), f"{path}: there is no such file or folder")
    require(
        not is_stream(path),
        f"{path}: a stream or a device, which can be endless: copy it to a file first",
        UnsafeInputError,
    )
    if path.is_dir():
        os.scandir(path).close()
    else:
        path.open("rb").close()


def _factor() -> float:
    """Return the factor that the environment gives for all limits; 1 without it."""
    text = os.environ.get(VARIABLE, "1")
    try:
        factor = float(text)
    except ValueError:
        factor = 0
    if not 1 <= factor < 1e6:
        raise UsageError(f"{VARIABLE}={text!r}: expected a number from 1, by which limits grow")
    return factor
