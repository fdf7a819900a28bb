"""Appending lines: whole or not at all, never glued to what a killed process left."""

from __future__ import annotations

import errno
import os

import pytest

from ddlabel.data.lines import locked_lines


@pytest.fixture
def path(tmp_path):
    return tmp_path / "lines"


def append(path, line: bytes) -> None:
    with locked_lines(path, create=True) as lines:
        lines.append(line)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"", b"new\n"),
        (b"old\n", b"old\nnew\n"),
        (b"cut o", b"cut o\nnew\n"),
        (b"\n", b"\nnew\n"),
    ],
)
def test_a_line_begins_at_the_beginning_of_a_line(path, before, after):
    path.write_bytes(before)
    append(path, b"new")
    assert path.read_bytes() == after


def test_a_line_that_the_system_takes_in_small_parts_is_whole(path, monkeypatch):
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:3]))
    append(path, b"a line of some length")
    assert path.read_bytes() == b"a line of some length\n"


@pytest.mark.parametrize("before", [b"", b"old\n", b"cut o"])
@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "full"), KeyboardInterrupt()])
def test_a_line_that_fails_in_the_middle_is_taken_back(path, monkeypatch, before, error):
    path.write_bytes(before)
    write = os.write
    calls = []

    def write_once(descriptor, data):
        calls.append(data)
        if len(calls) > 1:
            raise error
        return write(descriptor, data[:3])

    monkeypatch.setattr(os, "write", write_once)
    with pytest.raises(type(error)):
        append(path, b"new line")
    assert len(calls) == 2
    assert path.read_bytes() == before


def test_a_system_that_takes_no_byte_and_says_nothing_is_an_error(path, monkeypatch):
    monkeypatch.setattr(os, "write", lambda *_: 0)
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        append(path, b"new")


def test_the_lock_is_held_against_others_until_the_block_ends(path):
    import fcntl

    append(path, b"old")
    with path.open("rb") as other:
        with locked_lines(path, create=False), pytest.raises(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_SH | fcntl.LOCK_NB)
        fcntl.flock(other, fcntl.LOCK_SH | fcntl.LOCK_NB)


def test_a_missing_file_is_made_only_if_asked_for(path):
    with pytest.raises(FileNotFoundError), locked_lines(path, create=False):
        pass
    assert not path.exists()
    append(path, b"new")
    assert path.read_bytes() == b"new\n"
