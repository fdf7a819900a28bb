"""Damaged, foreign and missing bundle files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from format_samples import SUFFIXES, assert_same, small

from ddlabel.core.errors import (
    DDLabelError,
    InvalidInputError,
)
from ddlabel.data import formats


def mutate(content: bytes, generator: np.random.Generator) -> bytes:
    data = bytearray(content)
    size = len(data)
    start, other = sorted(map(int, generator.integers(0, size, 2)))
    length = int(generator.integers(1, 65))
    match int(generator.integers(0, 7)):
        case 0:
            del data[start:]
        case 1:
            data[start] ^= 1 << int(generator.integers(0, 8))
        case 2:
            data[start : start + length], data[other : other + length] = (
                data[other : other + length],
                data[start : start + length],
            )
        case 3:
            data[start : start + length] = bytes(len(data[start : start + length]))
        case 4:
            data += generator.bytes(length)
        case 5:
            del data[start : start + length]
        case 6:
            data[start : start + length] = generator.bytes(len(data[start : start + length]))
    return bytes(data)


@pytest.mark.parametrize("seed", range(4))
def test_a_damaged_file_is_one_error_or_changes_nothing(path, suffix, seed):
    content = Path(path).read_bytes()
    generator = np.random.default_rng(seed)
    original, header = small(), small().header()
    errors = []
    for number in range(60):
        # Half of the blows go where the structure is: nearly all of an HDF5 file's first 2 kB is.
        mutant = (
            mutate(content, generator)
            if number % 2
            else mutate(content[:2048], generator) + content[2048:]
        )
        Path(path).write_bytes(mutant)
        try:
            bundle, read = formats.load(path)
        except DDLabelError as error:
            errors.append(error)
        else:
            assert read == header
            assert_same(bundle, original)
    assert len(errors) >= 10
    assert {error.exit_code for error in errors} <= {3, 4, 5}
    assert all(str(error).startswith(path) and "\n" not in str(error) for error in errors)


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
