"""What a killed run goes on from, on disk."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from ddlabel.data import atomic
from ddlabel.data.reading import reading


def save_state(path: Path, state: dict[str, Any]) -> None:
    """Write tensors and numbers whole or not at all."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    atomic.write(str(path), [buffer.getbuffer()], size=buffer.getbuffer().nbytes)


@contextmanager
def loaded_state(path: Path) -> Iterator[dict[str, Any]]:
    """What `save_state` wrote; what goes wrong while it is loaded and put to use is an InvalidInputError."""
    with reading(path, "cannot be read; delete it to begin again"):
        yield torch.load(path, map_location="cpu", weights_only=True)
