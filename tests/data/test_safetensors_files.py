"""Headers of files of weights."""

from __future__ import annotations

import pytest

from ddlabel.core.errors import UnsafeInputError
from ddlabel.data import safetensors_files
from ddlabel.data.safetensors_files import check_header


@pytest.mark.parametrize(("length", "is_refused"), [(100, False), (101, True)])
def test_a_header_longer_than_the_limit_is_unsafe(tmp_path, monkeypatch, length, is_refused):
    monkeypatch.setattr(safetensors_files, "_MAX_HEADER_BYTES", 100)
    path = tmp_path / "x.safetensors"
    path.write_bytes(length.to_bytes(8, "little") + b" " * length)
    if is_refused:
        with pytest.raises(UnsafeInputError, match="101"):
            check_header(path)
    else:
        check_header(path)


@pytest.mark.parametrize("content", [b"", b"abc", b"a text and no weights", b"\xff" * 8])
def test_what_is_damaged_or_foreign_is_left_to_the_library(tmp_path, content):
    path = tmp_path / "x.safetensors"
    path.write_bytes(content)
    check_header(path)
