"""Outputs are whole or not there: failing calls, kills, limits, and several writers of one name."""

from __future__ import annotations

import errno
import os

import fault_programs
import numpy as np
import pytest
from format_samples import SUFFIXES, small
from injection import ERRORS, every_call

from ddlabel.core.errors import OutputExistsError, StorageError
from ddlabel.data import exclusive, formats

OLD = b"the old content"


@pytest.fixture(params=["exclusive rename", "hard link", "placeholder"])
def way(request, monkeypatch) -> str:
    """How a new file gets its name: the file systems of others lack the first way or two."""

    def refuse(*paths, **options):
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    if request.param != "exclusive rename":
        monkeypatch.setattr(exclusive, "_rename_exclusively", lambda *_: False)
    if request.param == "placeholder":
        monkeypatch.setattr(os, "link", refuse)
    return request.param


def bytes_of(path) -> bytes | None:
    return path.read_bytes() if path.exists() else None


@pytest.mark.parametrize("old", [None, OLD], ids=["a new file", "an old file"])
@pytest.mark.parametrize("act", ERRORS)
def test_a_call_that_fails_leaves_the_old_file_or_the_new_one(tmp_path, way, figure, act, old):
    path = tmp_path / "folder" / "out.safetensors"
    path.parent.mkdir()
    formats.write(str(tmp_path / "whole.safetensors"), small())
    new = (tmp_path / "whole.safetensors").read_bytes()
    force = old is not None
    if force and way != "exclusive rename":
        pytest.skip("a file is replaced in one way only")

    def prepare() -> None:
        path.unlink(missing_ok=True)
        if old is not None:
            path.write_bytes(old)

    def write() -> None:
        formats.write(str(path), small(), force=force)

    prepare()
    failed = []
    refused = 0
    for name, error in every_call(write, ERRORS[act]):
        failed.append(name)
        content = bytes_of(path)
        if (way, act, name, content) == ("placeholder", "fail_after", "open", b""):
            path.unlink()  # the last resort cannot know that it took the name
            continue
        assert content in (old, new), name
        if error is None:
            assert content == new, name
        else:
            refused += 1
            assert isinstance(error, StorageError | OutputExistsError), name
        # The next writer removes what the failed one could not.
        if content == new and not force:
            with pytest.raises(OutputExistsError):
                formats.atomic.check_output(str(path), force=False)
        else:
            write()
        assert [file.name for file in path.parent.iterdir()] == [path.name], name
        assert path.read_bytes() == new
        prepare()
    calls = {"open", "write", "fsync", "replace" if force else "_rename_exclusively"}
    assert calls <= set(failed)
    assert refused > 5
    kind = "replace a file" if force else f"write a new file by {way}"
    figure(f"{kind}, a call does {act}", tried=len(failed), refused=refused)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("num_bytes", [1, 7, 4096])
def test_short_writes_give_the_same_file(tmp_path, monkeypatch, suffix, num_bytes):
    formats.write(str(tmp_path / f"whole{suffix}"), small())
    write = os.write
    monkeypatch.setattr(os, "write", lambda file, data: write(file, data[:num_bytes]))
    formats.write(str(tmp_path / f"short{suffix}"), small())
    assert bytes_of(tmp_path / f"short{suffix}") == bytes_of(tmp_path / f"whole{suffix}")


def test_a_kill_at_any_call_leaves_the_old_file_or_the_new_one(tmp_path, figure):
    figures = fault_programs.run("kill_writing", tmp_path)
    assert figures["old"] > 0 < figures["new"]
    figure("write a bundle, killed at each call", **figures)


def test_a_limit_of_the_files_size_leaves_the_old_file_or_the_new_one(tmp_path, figure):
    figures = fault_programs.run("limit_writing", tmp_path, 37)
    assert 0 < figures["refused"] < figures["limits"]
    figure("write a bundle under RLIMIT_FSIZE", **figures)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("num_processes", [2, pytest.param(16, marks=pytest.mark.faults)])
def test_of_several_writers_of_one_output_one_wins(tmp_path, figure, suffix, num_processes):
    """All have looked for the output, and none has found it, when the first one writes it."""
    path = tmp_path / f"out{suffix}"
    commands = [fault_programs.command("write_one", path, n) for n in range(num_processes)]
    codes = fault_programs.at_once(*commands)
    assert sorted(codes) == [0] + [6] * (num_processes - 1)
    bundle = formats.read(str(path))
    assert bundle.classes == (f"class {codes.index(0)}", "dog")
    np.testing.assert_array_equal(bundle.images, small().images)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    figure(f"{num_processes} writers of one {suffix}", won=1, exit_6=codes.count(6))
