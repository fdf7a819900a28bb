"""Files of weights in the format safetensors, before its library reads them."""

from pathlib import Path

from ddlabel.core.errors import UnsafeInputError
from ddlabel.data.schema import require

_LENGTH_BYTES = 8
# The library makes about 800 bytes for an entry of 60, and reads headers of up to 100 MB. A network
# of 10,000 tensors has a header of 1 MB.
_MAX_HEADER_BYTES = 1 << 23


def check_header(path: Path) -> None:
    """Check the length of a file's header.

    Raises:
        UnsafeInputError: It is there, and too long.
        OSError: The operating system refuses to read.
    """
    with path.open("rb") as file:
        length = int.from_bytes(file.read(_LENGTH_BYTES), "little")
    # A longer one than the file is that of a damaged or a foreign file.
    is_whole = length <= path.stat().st_size - _LENGTH_BYTES
    require(
        not is_whole or length <= _MAX_HEADER_BYTES,
        f"its header has {length} bytes: at most {_MAX_HEADER_BYTES} are read",
        UnsafeInputError,
    )
