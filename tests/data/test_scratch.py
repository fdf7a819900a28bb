"""Scratch arrays in memory and on disk."""

from __future__ import annotations

import shutil
import tempfile

import numpy as np
import pytest

from ddlabel.core.errors import StorageError
from ddlabel.data import scratch
from ddlabel.data.scratch import scratch_array


@pytest.mark.parametrize("on_disk", [False, True])
def test_a_scratch_array_is_zeros_to_fill_and_leaves_nothing_behind(tmp_path, monkeypatch, on_disk):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(scratch, "IN_MEMORY_BYTES", 23 if on_disk else 24)
    array = scratch_array((3, 2), np.float32)
    assert isinstance(array, np.memmap) == on_disk
    assert (array.shape, array.dtype, array.any()) == ((3, 2), np.float32, False)
    array[1] = 7
    assert array.tolist() == [[0, 0], [7, 7], [0, 0]]
    assert list(tmp_path.iterdir()) == []


def test_a_scratch_array_that_the_disk_cannot_hold_is_refused(monkeypatch):
    """A mapped file on a full disk ends the process with SIGBUS when it is filled."""
    monkeypatch.setattr(scratch, "IN_MEMORY_BYTES", 0)
    free = shutil.disk_usage(tempfile.gettempdir()).free
    with pytest.raises(StorageError, match="bytes of temporary space are needed"):
        scratch_array((free + 1,), np.uint8)
