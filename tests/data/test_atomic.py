"""The writer: modes, links, streams, failures at any moment, and leftovers of killed writers."""

from __future__ import annotations

import errno
import io
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from format_samples import small

from ddlabel.core.errors import OutputExistsError, StorageError, UnsafeInputError
from ddlabel.data import atomic, formats


@pytest.fixture
def umask():
    before = os.umask(0o022)
    yield os.umask
    os.umask(before)


def put(path: Path | str, content: bytes, *, force: bool = True) -> None:
    chunks = [content[:3], memoryview(content)[3:]]
    atomic.write(str(path), chunks, size=len(content), force=force)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize(
    ("mask", "expected"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664), (0, 0o666)]
)
def test_a_new_file_gets_the_mode_that_the_umask_allows(tmp_path, umask, mask, expected):
    umask(mask)
    put(tmp_path / "new", b"content")
    assert (mode(tmp_path / "new"), (tmp_path / "new").read_bytes()) == (expected, b"content")


@pytest.mark.parametrize("kept", [0o640, 0o600, 0o666, 0o755])
def test_a_replaced_file_keeps_its_mode(tmp_path, umask, kept):
    (tmp_path / "old").write_bytes(b"a longer old content")
    (tmp_path / "old").chmod(kept)
    put(tmp_path / "old", b"content")
    assert (mode(tmp_path / "old"), (tmp_path / "old").read_bytes()) == (kept, b"content")


def test_a_reader_of_the_old_file_keeps_what_it_opened(path):
    old = formats.read(path)
    formats.write(path, small(images=np.full((2, 1, 2, 2), 9, np.uint8)), force=True)
    assert old.images.tolist() == small().images.tolist()
    assert (formats.read(path).images == 9).all()


@pytest.mark.parametrize("exists", [True, False])
def test_a_symbolic_link_is_followed(tmp_path, exists):
    (tmp_path / "elsewhere").mkdir()
    target, link = tmp_path / "elsewhere" / "target", tmp_path / "link"
    if exists:
        target.write_bytes(b"old")
    link.symlink_to(target)
    put(link, b"content")
    assert link.is_symlink()
    assert target.read_bytes() == b"content"
    assert [p.name for p in target.parent.iterdir()] == ["target"]


@pytest.fixture
def no_rename(monkeypatch):
    """A writer that renamed over a device would leave the machine without it."""

    def refuse(*paths):
        raise AssertionError(f"renamed {paths}")

    for name in ("replace", "rename", "link"):
        monkeypatch.setattr(os, name, refuse)


def test_a_device_is_written_to_and_not_replaced(no_rename):
    formats.write("/dev/null", small())
    assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)


def test_a_full_device_is_a_storage_error(no_rename):
    with pytest.raises(StorageError, match=os.strerror(errno.ENOSPC)):
        put("/dev/full", b"x" * 100_000)


def test_a_named_pipe_is_streamed_to(tmp_path, no_rename):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    got = []
    reader = threading.Thread(target=lambda: got.append(pipe.read_bytes()), daemon=True)
    reader.start()
    put(pipe, b"content" * 20_000)
    reader.join(30)
    assert got == [b"content" * 20_000]
    assert pipe.is_fifo()


def test_standard_output_gets_the_bytes_of_a_safetensors_file(tmp_path, monkeypatch):
    sink = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(sink))
    formats.write("-", small())
    sys.stdout.flush()
    formats.write(str(tmp_path / "x.safetensors"), small())
    assert sink.getvalue() == (tmp_path / "x.safetensors").read_bytes()


@pytest.fixture
def old(tmp_path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    return path


def assert_untouched(old: Path) -> None:
    assert [p.name for p in old.parent.iterdir()] == [old.name]
    assert old.read_bytes() == b"old"


def test_a_file_that_exists_is_not_replaced_without_force(old):
    def chunks():
        raise AssertionError("nothing should be asked for")
        yield b""

    with pytest.raises(OutputExistsError, match="file"):
        atomic.write(str(old), chunks(), size=7)
    assert_untouched(old)


def test_a_file_that_came_into_being_while_its_content_was_made_is_not_replaced(tmp_path):
    target = tmp_path / "file"

    def chunks():
        yield b"con"
        target.write_bytes(b"old")
        yield b"tent"

    with pytest.raises(OutputExistsError, match="file"):
        atomic.write(str(target), chunks(), size=7)
    assert_untouched(target)


def test_force_reaches_the_writer_of_bundles(path):
    with pytest.raises(OutputExistsError):
        formats.write(path, small(images=np.full((2, 1, 2, 2), 9, np.uint8)))
    assert (formats.read(path).images == small().images).all()
    formats.write(path, small(images=np.full((2, 1, 2, 2), 9, np.uint8)), force=True)
    assert (formats.read(path).images == 9).all()


def test_the_second_name_that_a_killed_writer_left_is_removed_by_the_next_run(old, dead_process):
    """A kill between the link and the removal of the temporary file: the rerun is refused."""
    os.link(old, old.with_name(f".file.{dead_process}-abcd.part"))
    with pytest.raises(OutputExistsError):
        atomic.check_output(str(old), force=False)
    assert_untouched(old)


@pytest.mark.parametrize("after", [0, 1, 5])
@pytest.mark.parametrize(
    "error", [ValueError, MemoryError, KeyboardInterrupt, GeneratorExit, UnsafeInputError]
)
def test_an_exception_while_the_content_is_made_leaves_the_old_file_alone(old, error, after):
    def chunks():
        yield from [b"new" * 10_000] * after
        raise error("halfway")

    with pytest.raises(error, match="halfway"):
        atomic.write(str(old), chunks(), size=150_000, force=True)
    assert_untouched(old)


@pytest.mark.parametrize("call", ["open", "fchmod", "lseek", "write", "fsync", "close", "replace"])
def test_a_system_call_that_fails_leaves_the_old_file_alone(old, monkeypatch, call):
    def fail(*args, **kwargs):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(StorageError, match=os.strerror(errno.EIO)):
        put(old, b"content")
    monkeypatch.undo()
    assert_untouched(old)


def test_a_folder_that_cannot_be_synced_leaves_the_new_file_and_says_so(old, monkeypatch):
    fsync = os.fsync

    def fail(descriptor):
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(StorageError, match="file"):
        put(old, b"content")
    monkeypatch.undo()
    assert (old.read_bytes(), [p.name for p in old.parent.iterdir()]) == (b"content", [old.name])


def test_more_than_the_disk_has_free_is_refused_before_it_is_written(old):
    def chunks():
        raise AssertionError("nothing should be asked for")
        yield b""

    with pytest.raises(StorageError, match="file"):
        atomic.write(str(old), chunks(), size=1 << 60, force=True)
    assert_untouched(old)


def test_the_content_is_on_the_disk_before_its_name_is(old, monkeypatch):
    calls = []
    fsync, rename = os.fsync, os.replace
    monkeypatch.setattr(
        os, "fsync", lambda fd: (calls.append(stat.S_IFMT(os.fstat(fd).st_mode)), fsync(fd))[1]
    )
    monkeypatch.setattr(os, "replace", lambda *paths: (calls.append("replace"), rename(*paths))[1])
    put(old, b"content")
    assert calls == [stat.S_IFREG, "replace", stat.S_IFDIR]


def test_a_missing_folder_is_a_storage_error(tmp_path, suffix):
    with pytest.raises(StorageError):
        formats.write(str(tmp_path / "nowhere" / f"x{suffix}"), small())
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def dead_process() -> int:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    return process.pid


@pytest.mark.parametrize("name", ["file.h5", "file[1].h5", "a*b.h5", "déjà vu.h5"])
def test_what_a_killed_writer_left_is_removed_by_the_next(tmp_path, dead_process, name):
    (tmp_path / f".{name}.{dead_process}.part").write_bytes(b"half")
    put(tmp_path / name, b"content")
    assert [p.name for p in tmp_path.iterdir()] == [name]


def test_what_a_killed_writer_of_our_own_number_left_is_no_obstacle(tmp_path):
    """In a container every run may have the same process id."""
    (tmp_path / f".file.{os.getpid()}.part").write_bytes(b"half")
    put(tmp_path / "file", b"content")
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_bytes() == b"content"


def test_two_writers_with_one_process_id_never_take_each_others_half(tmp_path):
    """Two containers that share a folder may both be process 1: the first writer loses its file."""

    def chunks():
        yield b"first "
        put(tmp_path / "file", b"second")
        yield b"half"

    with pytest.raises(StorageError, match="file"):
        atomic.write(str(tmp_path / "file"), chunks(), size=10, force=True)
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_bytes() == b"second"


def test_the_temporary_file_of_a_living_writer_is_left_alone(tmp_path):
    living = tmp_path / f".file.{os.getppid()}.part"
    living.write_bytes(b"half")
    put(tmp_path / "file", b"content")
    assert living.read_bytes() == b"half"
