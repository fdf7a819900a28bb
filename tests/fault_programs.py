"""Programs that the fault suite runs in processes of their own: `python -m fault_programs NAME …`.

They check what they do, and print their figures as JSON.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from format_samples import small
from injection import KILLS, every_kill, run_in_child
from record_samples import student

from ddlabel.core.errors import DDLabelError, OutputExistsError, StorageError
from ddlabel.data import atomic, formats
from ddlabel.data.results import Results

ENVIRONMENT = {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}
ENVIRONMENT |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


def command(name: str, *words: str | Path | int) -> list[str]:
    return [sys.executable, "-m", "fault_programs", name, *map(str, words)]


def run(name: str, *words: str | Path | int, before: tuple[str, ...] = ()) -> dict[str, int]:
    """Run a program and return its figures."""
    return figures_of([*before, *command(name, *words)])


def figures_of(words: list[str]) -> dict[str, int]:
    """Run a command line that writes its figures as JSON, and return them."""
    done = subprocess.run(
        words,
        env=os.environ | ENVIRONMENT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    return json.loads(done.stdout)


@contextmanager
def running(*commands: list[str], folder: Path | None = None, **streams: Any) -> Iterator[Any]:
    """Start programs, and kill at the end of the block those that still run."""
    with ExitStack() as stack:
        processes = []
        for words in commands:
            process = subprocess.Popen(
                words,
                cwd=folder,
                env=os.environ | ENVIRONMENT,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                **streams,
            )
            stack.enter_context(process)
            stack.callback(process.kill)
            processes.append(process)
        yield processes


def outcomes(*commands: list[str], folder: Path) -> list[tuple[int, bytes, bytes]]:
    """Run programs side by side; return the exit code, the output and the errors of each."""
    with running(*commands, folder=folder) as processes:
        texts = [process.communicate() for process in processes]
        return [(process.returncode, *text) for process, text in zip(processes, texts, strict=True)]


def at_once(*commands: list[str]) -> list[int]:
    """Start programs, wait until each is ready, let all go on at once; return their exit codes."""
    gate, opener = os.pipe()
    with running(*commands, stdin=gate) as processes:
        os.close(gate)
        for process in processes:
            assert process.stdout.readline() == b"ready\n", process.stderr.read().decode()
        os.close(opener)
        for process in processes:
            process.communicate()
        return [process.returncode for process in processes]


def wait_for_the_others() -> None:
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.read()


def append_shared(path: str, num_shared: int, own_seed: int) -> None:
    """Append records that every process has, and one that this process alone has."""
    results = Results(path)
    results.read("student")
    wait_for_the_others()
    for seed in range(num_shared):
        results.append_new(student(seed, cost={"pad": "x" * 3000}))
    results.append_new(student(own_seed))


def write_one(path: str, number: int) -> None:
    """Write one of several outputs that differ, under the same name."""
    bundle = small(classes=(f"class {number}", "dog"))
    atomic.check_output(path, force=False)
    wait_for_the_others()
    formats.write(path, bundle)


def kill_appending(folder: str) -> dict[str, int]:
    """Kill an appending process at every call; every other record stays, none comes twice."""
    counts = {"kills": 0}
    beginnings = {"none": b"", "one": b"\n", "cut": b"\n" + student(5).to_json()[:100].encode()}
    for act in KILLS.values():
        for beginning, ending in beginnings.items():
            path = Path(folder) / f"{act.__name__}-{beginning}.jsonl"
            old_seeds = [] if beginning == "none" else [0]
            before = student(0).to_json().encode() + ending if old_seeds else b""

            def append(path: Path = path) -> None:
                results = Results(path)
                results.read("student")
                results.append_new(student(1))

            path.write_bytes(before)
            for _ in every_kill(append, act):
                counts["kills"] += 1
                # Another process appends, and then the killed command is run again.
                Results(path).append_new(student(2))
                append()
                records = Results(path).read("student").values()
                seeds = [record.options["seed"] for record in records]
                assert sorted(seeds) == [*old_seeds, 1, 2], seeds
                path.write_bytes(before)
    return counts


def kill_writing(folder: str) -> dict[str, int]:
    """Kill a writing process at every call; the rerun gives the same bytes and leaves nothing."""
    counts = {"kills": 0, "old": 0, "new": 0}
    old = b"the old content"
    for act in KILLS.values():
        for name, force in (("a.safetensors", False), ("b.h5", False), ("c.safetensors", True)):
            place = Path(folder) / f"{act.__name__}-{name}"
            place.mkdir()
            path = place / name
            whole = Path(folder) / f"whole-{act.__name__}-{name}"

            def write_whole(whole: Path = whole) -> None:
                formats.write(str(whole), small())

            assert run_in_child(write_whole) == 0
            expected = whole.read_bytes()

            def write(path: Path = path, force: bool = force) -> None:
                atomic.check_output(str(path), force=force)
                formats.write(str(path), small(), force=force)

            if force:
                path.write_bytes(old)
            for _ in every_kill(write, act):
                counts["kills"] += 1
                content = path.read_bytes() if path.exists() else old
                assert content in (old, expected), len(content)
                assert path.exists() or not force
                counts["new" if content == expected else "old"] += 1
                assert run_in_child(write) == (6 if content == expected and not force else 0)
                assert [file.name for file in place.iterdir()] == [path.name]
                assert path.read_bytes() == expected
                path.unlink()
                if force:
                    path.write_bytes(old)
    return counts


def limit_appending(folder: str, step: int) -> dict[str, int]:
    """Append with every limit of the file's size; the old content stays, or the line is whole."""
    path = Path(folder) / "r.jsonl"
    Results(path).append(student(0))
    before = path.read_bytes()
    counts = {"limits": 0, "refused": 0}
    for limit in range(0, len(before) * 2 + step, step):
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
        counts["limits"] += 1
        try:
            Results(path).append_new(student(1))
        except StorageError:
            counts["refused"] += 1
            assert path.read_bytes() == before
        else:
            assert len(Results(path).read("student", sys.exit)) == 2
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
        path.write_bytes(before)
    return counts


def limit_writing(folder: str, step: int) -> dict[str, int]:
    """Write with every limit of the file's size; there is the old file, or the new one."""
    counts = {"limits": 0, "refused": 0}
    for suffix in (".safetensors", ".h5"):
        path = Path(folder) / f"out{suffix}"
        formats.write(str(path), small())
        expected = path.read_bytes()
        for limit in range(0, len(expected) + step, step):
            path.write_bytes(b"old")
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
            counts["limits"] += 1
            content = expected
            try:
                formats.write(str(path), small(), force=True)
            except StorageError:
                counts["refused"] += 1
                content = b"old"
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
            assert path.read_bytes() == content
            assert [file.name for file in Path(folder).glob(".*")] == []
        path.unlink()
    return counts


def fill_disk(folder: str, step: int) -> dict[str, int]:
    """Append and write on a disk that is full at every k-th byte."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "none", folder], check=True)
    counts = {"appends": 0, "appends_refused": 0, "writes": 0, "writes_refused": 0}
    ballast = Path(folder) / "ballast"
    page = os.sysconf("SC_PAGESIZE")
    big = student(1, cost={"pad": "x" * 3 * page})
    for num_free in range(5):
        for length in range(0, page, step):
            path = Path(folder) / "r.jsonl"
            Results(path).append(student(0, cost={"pad": "x" * length}))
            before = path.read_bytes()
            leave_free(ballast, num_free * page)
            counts["appends"] += 1
            try:
                Results(path).append_new(big)
            except StorageError:
                counts["appends_refused"] += 1
                assert path.read_bytes() == before
                ballast.unlink()
                Results(path).append_new(big)
            assert len(Results(path).read("student", sys.exit)) == 2
            path.unlink()
            ballast.unlink(missing_ok=True)
    path = Path(folder) / "out"
    for num_free in range(6):
        path.write_bytes(b"old")
        leave_free(ballast, num_free * page)
        counts["writes"] += 1
        content = b"n" * 3 * page
        try:
            # The size is understated: free space can vanish after it was looked at.
            atomic.write(str(path), [content[:100], content[100:]], size=0, force=True)
        except StorageError:
            counts["writes_refused"] += 1
            content = b"old"
        assert path.read_bytes() == content
        assert {file.name for file in Path(folder).iterdir()} <= {path.name, "ballast"}
        ballast.unlink()
    return counts


def leave_free(ballast: Path, num_bytes: int) -> None:
    """Fill the disk up to a number of bytes."""
    free = shutil.disk_usage(ballast.parent).free
    ballast.write_bytes(b"\1" * max(0, free - num_bytes))
    assert shutil.disk_usage(ballast.parent).free == num_bytes


def main() -> None:
    name, *words = sys.argv[1:]
    values = [int(word) if word.isdecimal() else word for word in words]
    try:
        figures = globals()[name](*values)
    except OutputExistsError as error:
        sys.exit(error.exit_code)
    except DDLabelError as error:
        sys.exit(f"{type(error).__name__}: {error}")
    if figures is not None:
        sys.stdout.write(json.dumps(figures))


if __name__ == "__main__":
    main()
