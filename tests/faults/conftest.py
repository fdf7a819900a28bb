"""The fault suite: its figures are printed at the end of the run, see tests/conftest.py."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from fault_programs import ENVIRONMENT

MOUNTING = ("unshare", "--map-root-user", "--mount")


@pytest.fixture
def figure(record_property):
    """Report how often something was tried: `figure("append, the n-th call fails", tried=40)`."""

    def report(name: str, **counts: int) -> None:
        text = ", ".join(f"{count} {word.replace('_', ' ')}" for word, count in counts.items())
        record_property("figure", (name, text))

    return report


class ForkServer:
    """A process of `run_programs`, which runs programs in a folder of its own."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def run(self, name: str, *arguments: str | int) -> dict[str, int]:
        """Run a program, and return its figures."""
        self._process.stdin.write(f"{json.dumps([name, *arguments])}\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, f"{name}: the fork server has ended"
        answer = json.loads(line)
        if "error" in answer:
            pytest.fail(answer["error"])
        return answer["figures"]


@contextmanager
def fork_server(folder: Path, *before: str) -> Iterator[ForkServer]:
    """A fork server for the `with` block; `before` are words to start it with."""
    words = [*before, sys.executable, "-m", "run_programs", str(folder)]
    with subprocess.Popen(
        words,
        env=os.environ | ENVIRONMENT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield ForkServer(process)
        finally:
            process.kill()


@pytest.fixture(scope="session")
def server(tmp_path_factory) -> Iterator[ForkServer]:
    """A fork server for the tests of this process."""
    with fork_server(tmp_path_factory.mktemp("server")) as server:
        yield server


@pytest.fixture(scope="session")
def mounting_server(tmp_path_factory) -> Iterator[ForkServer]:
    """A fork server that may mount a tmpfs."""
    folder = tmp_path_factory.mktemp("mounting")
    try:
        subprocess.run([*MOUNTING, "mount", "-t", "tmpfs", "none", folder], check=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this machine lets no user mount a tmpfs (unshare --map-root-user --mount)")
    with fork_server(folder, *MOUNTING) as server:
        yield server
