"""Programs of the fault suite in which a command finds too little disk or memory."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from fault_commands import (
    LOG,
    OUT,
    begin_again,
    check_rerun,
    content,
    run,
    temporary_files,
    whole_content,
)
from injection import run_in_child

Figures = dict[str, int]
STORAGE = 7
CELLS_FAILED = 9
RESOURCE = 8
OLD = b"the old content"
# The commands that replace one file with --force.
FORCED = {
    "relabel": "soft.safetensors",
    "densify": "dense.h5",
    "learn": "learned.safetensors",
    "select": "one.safetensors",
    "refine": "refined.safetensors",
    "compress": "small.safetensors",
    "import": "images.safetensors",
}
_MEGABYTE = 1 << 20
# With none left at all Python can wait forever for a thread that it has started.
_MEGABYTES_LEFT = (1, 2, 3, 4, 6, 8, 12, 16, 64)
_LONGEST_SECONDS = 120


@contextmanager
def limited(kind: int, limit: int) -> Iterator[None]:
    """Set a limit of this process for the `with` block."""
    resource.setrlimit(kind, (limit, resource.RLIM_INFINITY))
    try:
        yield
    finally:
        resource.setrlimit(kind, (resource.RLIM_INFINITY,) * 2)


def files_of(name: str, whole: dict[str, bytes]) -> list[bytes]:
    """The files that a command makes."""
    return [file for path, file in whole.items() if path.startswith(f"{OUT}/")]


def limits(name: str, step: int) -> Figures:
    """Run a command under every `step`-th limit of the size of a file (RLIMIT_FSIZE).

    It leaves 7, with nothing half-written, and the rerun gives the bytes of an unlimited run. A
    file that is to be replaced keeps its content.
    """
    whole = whole_content(name)
    words = ["--force"] if name in FORCED else []
    counts = {"limits": 0, "refused": 0}
    for limit in range(0, max(map(len, files_of(name, whole))) + step, step):
        begin_again()
        if words:
            (OUT / FORCED[name]).write_bytes(OLD)
        within = limited(resource.RLIMIT_FSIZE, limit)
        code = run_in_child(partial(run, name, within, *words))
        counts["limits"] += 1
        counts["refused"] += _check_storage(name, code, whole)
        if words:
            (OUT / FORCED[name]).unlink()
        check_rerun(name, whole)
    return counts


def _check_storage(name: str, code: int, whole: dict[str, bytes]) -> int:
    """Check what a command left that found no space. Return 1 if it said so, and 0 if it ended."""
    # A sweep goes on with its other cells, and says that some have failed.
    refused = CELLS_FAILED if name == "sweep" and code == CELLS_FAILED else STORAGE
    assert code in (0, refused), (code, LOG.read_text())
    assert temporary_files() == []
    files = content()
    for path, file in files.items():
        is_old = file == OLD and path == f"{OUT}/{FORCED.get(name)}"
        # Files that grow line by line and the state to resume from are those of an earlier step.
        grows = path.endswith((".jsonl", ".resume", "resume.pt"))
        assert is_old or grows or file == whole[path], path
    if code == 0:
        assert files == whole
    return int(code != 0)


def full_disk(name: str) -> Figures:
    """Run a command on a disk with 0, 1, 2, … free pages, until it fits; then with more space.

    This process may mount: it runs in `unshare --map-root-user --mount`.
    """
    whole = whole_content(name)
    begin_again()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1M", "none", OUT], check=True)
    counts = {"sizes": 0, "refused": 0}
    try:
        for num_free in range(200):
            begin_again()
            page = os.sysconf("SC_PAGESIZE")
            ballast = OUT / "ballast"
            free = shutil.disk_usage(OUT).free
            ballast.write_bytes(b"\1" * (free - num_free * page))
            code = run_in_child(partial(run, name))
            counts["sizes"] += 1
            ballast.unlink()
            counts["refused"] += _check_storage(name, code, whole)
            check_rerun(name, whole)
            if code == 0:
                return counts
        raise AssertionError("it never fits")
    finally:
        subprocess.run(["umount", OUT], check=True)


def little_memory(name: str) -> Figures:
    """Run a command with little more address space than it has at the beginning (RLIMIT_AS)."""
    whole = whole_content(name)
    counts = {"limits": 0, "exit_8": 0}
    for megabytes in _MEGABYTES_LEFT:
        begin_again()
        code = run_in_child(partial(_run_in_memory, name, megabytes))
        said = LOG.read_text()
        assert code in (0, RESOURCE), (megabytes, code, said)
        assert code == 0 or said.splitlines()[-1].startswith("error: "), said
        assert "Traceback" not in said
        assert temporary_files() == []
        counts["limits"] += 1
        counts["exit_8"] += code == RESOURCE
        check_rerun(name, whole)
    return counts


def _run_in_memory(name: str, megabytes: int) -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    size = pages * os.sysconf("SC_PAGESIZE") + megabytes * _MEGABYTE
    signal.alarm(_LONGEST_SECONDS)
    return run(name, limited(resource.RLIMIT_AS, size))


SCARCE = (limits, full_disk, little_memory)
