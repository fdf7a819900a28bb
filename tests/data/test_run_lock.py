"""The lock of a run's folder: one holder, released by death, and no temporary files of the dead."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys

import pytest

from ddlabel.core.errors import OutputExistsError, StorageError
from ddlabel.data.run_lock import clear_leftovers, locked_folder

HOLD = """
import sys
from pathlib import Path
from ddlabel.data.run_lock import locked_folder
with locked_folder(Path(sys.argv[1])):
    print("locked", flush=True)
    sys.stdin.read()
"""
OF_THE_RUN = [
    ".expert.json.1-0a1b2c3d.part",
    ".metrics.jsonl.999999-0a1b2c3d.part",
    ".resume.pt.2-0a1b2c3d.part",
    ".whitening.safetensors.3-0a1b2c3d.part",
    ".step-00000012.safetensors.4-0a1b2c3d.part",
]
OF_OTHERS = [".soft.safetensors.1-0a1b2c3d.part", "expert.json", ".DS_Store", "notes.part"]


def is_locked(folder) -> bool:
    try:
        with locked_folder(folder):
            return False
    except OutputExistsError:
        return True


def test_a_folder_is_locked_once_and_free_after_the_block(tmp_path):
    with locked_folder(tmp_path):
        with pytest.raises(OutputExistsError, match=tmp_path.name):
            locked_folder(tmp_path).__enter__()
        assert is_locked(tmp_path)
    assert not is_locked(tmp_path)


def test_an_error_in_the_block_releases_the_lock(tmp_path):
    with pytest.raises(KeyboardInterrupt), locked_folder(tmp_path):
        raise KeyboardInterrupt
    assert not is_locked(tmp_path)


def test_the_lock_of_a_killed_process_is_taken_over_at_once(tmp_path):
    words = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout.readline() == b"locked\n"
        assert is_locked(tmp_path)
        holder.kill()
        holder.wait()
        assert not is_locked(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_forked_worker_does_not_keep_the_lock(tmp_path):
    end, hold = os.pipe()
    started, start = os.pipe()
    with locked_folder(tmp_path):
        worker = os.fork()
        if worker == 0:
            os.close(hold)
            os.write(start, b"1")
            os.read(end, 1)
            os._exit(0)
        assert os.read(started, 1) == b"1"
        assert is_locked(tmp_path)
    assert not is_locked(tmp_path)
    for descriptor in (hold, end, start, started):
        os.close(descriptor)
    os.waitpid(worker, 0)


def test_temporary_files_of_the_run_are_removed_and_nothing_else(tmp_path):
    for name in (*OF_THE_RUN, *OF_OTHERS):
        (tmp_path / name).touch()
    with locked_folder(tmp_path):
        assert sorted(path.name for path in tmp_path.iterdir()) == sorted(OF_OTHERS)


def test_leftovers_are_cleared_unless_a_process_is_at_work(tmp_path):
    part = tmp_path / OF_THE_RUN[0]
    with locked_folder(tmp_path):
        part.touch()
        clear_leftovers(tmp_path)
        assert part.exists()
    clear_leftovers(tmp_path)
    assert not part.exists()


def test_a_file_system_without_locks_is_used_without(tmp_path, monkeypatch):
    def refuse(*_) -> None:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))

    monkeypatch.setattr(fcntl, "flock", refuse)
    (tmp_path / OF_THE_RUN[0]).touch()
    with locked_folder(tmp_path), locked_folder(tmp_path):
        # Without a lock the writer may be alive.
        assert (tmp_path / OF_THE_RUN[0]).exists()


def test_a_folder_that_cannot_be_opened_is_named(tmp_path):
    with pytest.raises(StorageError, match="nowhere"), locked_folder(tmp_path / "nowhere"):
        pass
