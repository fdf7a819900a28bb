"""Files from which a killed run is resumed."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from ddlabel.data import atomic
from ddlabel.data.reading import reading


def save_state(path: Path, state: dict[str, Any]) -> None:
    """Write tensors and numbers to a file, whole or not at all."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    content = buffer.getbuffer()
    atomic.write(str(path), [content], size=content.nbytes, force=True)


@contextmanager
def loaded_state(path: Path) -> Iterator[dict[str, Any]]:
    """Give the state that `save_state` wrote to a `with` block.

    Raises:
        InvalidInputError: The file is damaged, or the block cannot use its state.
    """
    with reading(path, "cannot be read; delete it to begin again"):
        yield torch.load(path, map_location="cpu", weights_only=True)
