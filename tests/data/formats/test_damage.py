"""Damaged, foreign and missing bundle files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from format_samples import SUFFIXES, small

from ddlabel.core.errors import (
    InvalidInputError,
)
from ddlabel.data import formats


@pytest.mark.parametrize(("suffix", "stride"), [("safetensors", 7), ("h5", 101)])
def test_every_truncation_is_refused_before_an_array_is_read(tmp_path, suffix, stride):
    name = str(tmp_path / f"x.{suffix}")
    formats.write(name, small())
    content = Path(name).read_bytes()
    for length in range(0, len(content), stride):
        Path(name).write_bytes(content[:length])
        with pytest.raises(InvalidInputError):
            formats.read_header(name)


def test_without_verify_a_changed_number_passes_and_with_it_does_not(path):
    content = Path(path).read_bytes()
    soft = np.array([[0.25, 0.75], [1, 0]], np.float32).tobytes()
    assert content.count(soft) == 1
    changed = np.array([[0.75, 0.25], [1, 0]], np.float32).tobytes()
    Path(path).write_bytes(content.replace(soft, changed))
    assert formats.read(path, verify=False).soft.values[0].tolist() == [0.75, 0.25]
    with pytest.raises(InvalidInputError, match="soft_labels"):
        formats.read(path)


@pytest.mark.parametrize(
    "content", [b"", b"\0", b"PK\3\4", b"hello world, this is text", bytes(4096)]
)
def test_foreign_files_are_refused(tmp_path, suffix, content):
    name = tmp_path / f"x{suffix}"
    name.write_bytes(content)
    with pytest.raises(InvalidInputError, match=name.name):
        formats.read(str(name))


def test_missing_files_and_folders_are_refused(tmp_path, suffix):
    with pytest.raises(InvalidInputError, match=rf"x\{suffix}"):
        formats.read(str(tmp_path / f"x{suffix}"))
    (tmp_path / f"y{suffix}").mkdir()
    with pytest.raises(InvalidInputError, match=rf"y\{suffix}"):
        formats.read(str(tmp_path / f"y{suffix}"))


def test_a_file_of_one_format_with_the_suffix_of_the_other_is_refused(tmp_path, path, suffix):
    other = str(tmp_path / f"x{SUFFIXES[1 - SUFFIXES.index(suffix)]}")
    Path(path).rename(other)
    with pytest.raises(InvalidInputError):
        formats.read(other)
