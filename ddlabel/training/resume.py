"""Files from which a killed run is resumed."""

import hashlib
import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from ddlabel.data import atomic
from ddlabel.data.importers.torch_files import check_stored
from ddlabel.data.reading import reading
from ddlabel.data.schema import require

# The first line of the file has the sha256 of the rest, which is what `torch.save` writes.
_HEAD = "sha256 {}\n"
_HEAD_BYTES = len(_HEAD.format("0" * 64))


def save_state(path: Path, state: dict[str, Any]) -> None:
    """Write tensors and numbers to a file, whole or not at all, after a line with their sha256.

    Equal states give the same bytes.
    """
    buffer = io.BytesIO()
    torch.save(_without_sharing(state), buffer)
    content = buffer.getbuffer()
    head = _head_of(content)
    atomic.write(str(path), [head, content], size=len(head) + content.nbytes, force=True)


@contextmanager
def loaded_state(path: Path) -> Iterator[dict[str, Any]]:
    """Give the state that `save_state` wrote to a `with` block.

    Raises:
        InvalidInputError: The file is damaged, or the block cannot use its state.
        UnsafeInputError: It is an archive that `save_state` does not write.
    """
    with reading(path, "cannot be read; delete it to begin again"):
        file = memoryview(path.read_bytes())
        content = file[_HEAD_BYTES:]
        # Some damages of the archive give other numbers and no error.
        require(
            file[:_HEAD_BYTES] == _head_of(content),
            "does not match its sha256: the file is damaged; delete it to begin again",
        )
        # The digest is a stranger's too: a compressed member could inflate without end.
        check_stored(io.BytesIO(content), len(content))
        yield torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)


def _without_sharing(value: Any) -> Any:
    """Return a value whose texts are one object where they are equal, and containers are not.

    A pickle refers to an object that it has written before: equal states whose parts are shared in
    other ways would have other bytes.
    """
    if isinstance(value, dict):
        return {_without_sharing(key): _without_sharing(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return type(value)([_without_sharing(each) for each in value])
    return sys.intern(value) if type(value) is str else value


def _head_of(content: memoryview) -> bytes:
    return _HEAD.format(hashlib.sha256(content).hexdigest()).encode()
