"""Errors that name the file, streams, and standard input as a file that can be mapped."""

from __future__ import annotations

import errno
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ddlabel.core.errors import InvalidInputError, StorageError, UnsafeInputError
from ddlabel.data.reading import (
    is_standard_input,
    is_standard_output,
    is_stream,
    read_limited,
    reading,
    spool_standard_input,
)


def test_an_error_of_ours_keeps_its_type_and_gets_the_name():
    with (
        pytest.raises(UnsafeInputError, match=r"^x\.pt: too large$"),
        reading(Path("x.pt"), "damaged"),
    ):
        raise UnsafeInputError("too large")


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ValueError("bad magic\nat byte 3"), "damaged: bad magic"),
        (KeyError("weights"), "damaged"),
        (FileNotFoundError(2, "No such file"), "damaged: No such file"),
    ],
)
def test_any_other_error_is_an_invalid_file(error, reason):
    with pytest.raises(InvalidInputError) as caught, reading(Path("x.pt"), "damaged"):
        raise error
    assert str(caught.value).startswith("x.pt: ")
    assert str(caught.value).endswith(reason)
    assert caught.value.__cause__ is error


@pytest.mark.parametrize("error", [MemoryError, KeyboardInterrupt])
def test_what_is_no_fault_of_the_file_passes(error):
    with pytest.raises(error), reading(Path("x.pt"), "damaged"):
        raise error


def test_only_what_is_there_and_neither_file_nor_folder_is_a_stream(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    os.mkfifo(tmp_path / "fifo")
    names = {"file": False, "fifo": True, "nothing": False, ".": False}
    assert {name: is_stream(tmp_path / name) for name in names} == names
    assert is_stream(Path("/dev/null"))


def test_a_file_is_read_up_to_a_limit(tmp_path):
    (tmp_path / "x").write_bytes(b"12345")
    assert read_limited(tmp_path / "x", 5) == b"12345"
    with pytest.raises(UnsafeInputError, match="4"):
        read_limited(tmp_path / "x", 4)
    with pytest.raises(UnsafeInputError):
        read_limited(Path("/dev/zero"), 1000)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_standard_input_becomes_a_file_without_a_name(monkeypatch, tmp_path):
    content = b"content" * 500_000
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
    monkeypatch.chdir(tmp_path)
    path = spool_standard_input(lambda _: len(content))
    assert path.read_bytes() == content
    assert list(tmp_path.iterdir()) == []
    os.close(int(path.name))


def test_one_byte_more_than_declared_is_copied_of_an_endless_stream(monkeypatch):
    with Path("/dev/zero").open() as stream:
        monkeypatch.setattr(sys, "stdin", stream)
        path = spool_standard_input(lambda _: 3_000_000)
    assert path.stat().st_size == 3_000_001
    os.close(int(path.name))


def test_a_stream_that_declares_more_than_the_disk_holds_is_not_copied(monkeypatch):
    with Path("/dev/zero").open() as stream:
        monkeypatch.setattr(sys, "stdin", stream)
        with pytest.raises(StorageError):
            spool_standard_input(lambda _: 1 << 60)


@pytest.mark.parametrize("stdin", [io.TextIOWrapper(io.BytesIO()), Terminal()])
def test_an_empty_standard_input_and_a_terminal_are_refused(monkeypatch, stdin):
    monkeypatch.setattr(sys, "stdin", stdin)
    with pytest.raises(InvalidInputError):
        spool_standard_input(lambda _: 0)


@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM, errno.EIO])
def test_a_file_that_the_system_refuses_to_read_is_no_damaged_one(number):
    with pytest.raises(StorageError, match=r"x\.pt"), reading(Path("x.pt"), "damaged"):
        raise OSError(number, os.strerror(number))


def standard_streams(*paths: Path | str, **streams) -> list[str]:
    """For each path `in`, `out`, `inout` or nothing, as a process with these streams sees it."""
    program = (
        "import os, sys\n"
        "from ddlabel.data.reading import is_standard_input, is_standard_output\n"
        "for path in sys.argv[1:]:\n"
        "    words = 'in' * is_standard_input(path) + 'out' * is_standard_output(path)\n"
        "    print(words, file=sys.stderr)\n"
    )
    command = [sys.executable, "-c", program, *map(str, paths)]
    done = subprocess.run(command, check=True, stderr=subprocess.PIPE, text=True, **streams)
    return done.stderr.splitlines()


NAMES_OF_OUTPUT = ["-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"]
NAMES_OF_INPUT = ["-", "/dev/stdin", "/dev/fd/0", "/proc/self/fd/0"]


@pytest.mark.parametrize("name", ["out", "out.h5"])
def test_every_path_of_standard_output_is_known(tmp_path, name):
    path = tmp_path / name
    (tmp_path / "link").symlink_to(path)
    names = [*NAMES_OF_OUTPUT[1:], path, tmp_path / "link"]
    other = [tmp_path / "other", tmp_path, "/dev/stderr"]
    with path.open("wb") as file:
        found = standard_streams(*names, *other, stdout=file, stdin=subprocess.PIPE)
    assert found == ["out"] * len(names) + [""] * len(other)
    through_a_pipe = standard_streams(*NAMES_OF_OUTPUT[1:], path, stdout=subprocess.PIPE, input="")
    assert through_a_pipe == ["out"] * 3 + [""]


def test_every_path_of_standard_input_is_known(tmp_path):
    (tmp_path / "bundle.h5").write_bytes(b"content")
    with (tmp_path / "bundle.h5").open("rb") as file:
        found = standard_streams(*NAMES_OF_INPUT[1:], tmp_path / "bundle.h5", stdin=file)
    # A file with a name is read by its name: a pipe would have to be safetensors.
    assert found == ["in"] * 3 + [""]
    assert standard_streams(*NAMES_OF_INPUT[1:], input="") == ["in"] * 3


def test_closed_streams_are_no_file(tmp_path, monkeypatch):
    for stream in (None, io.StringIO()):
        monkeypatch.setattr(sys, "stdin", stream)
        monkeypatch.setattr(sys, "stdout", stream)
        assert not is_standard_input("/dev/stdin")
        assert not is_standard_output("/dev/stdout")
        assert is_standard_input("-")
        assert is_standard_output("-")
