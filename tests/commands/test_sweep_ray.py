"""`sweep --ray`: addresses where nothing or something else answers, and the same cells as here."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from grids import EVALUATE, changed, write_grid
from samples import records

from ddlabel.commands.sweep import sweep
from ddlabel.core.errors import ResourceError, UsageError

OUT = Path("sweep.jsonl")
# Prints its port, and answers the first connection as a web server does.
NOT_RAY = """\
import socket
server = socket.create_server(("127.0.0.1", 0))
print(server.getsockname()[1], flush=True)
connection, _ = server.accept()
connection.recv(99)
connection.sendall(b"HTTP/1.0 400 no")
"""


def rounded(result):
    """A result as it is with another number of threads, which sums in another order."""
    return json.loads(json.dumps(result), parse_float=lambda text: round(float(text), 4))


def rounded_results(path):
    return {record["key"]: rounded(record["result"]) for record in records(path)}


def test_options_of_ray_are_refused_without_it(digits):
    with pytest.raises(UsageError, match="--cpus-per-cell"):
        sweep(EVALUATE, cpus_per_cell=2)


def test_a_missing_ray_is_a_usage_error(digits, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UsageError, match=r"ddlabel\[ray\]"):
        sweep(EVALUATE, ray=True)


@pytest.mark.parametrize("prefix", ["", "ray://"])
def test_an_address_where_nothing_answers_fails_within_seconds(digits, prefix):
    pytest.importorskip("ray")
    # Bound and not listening: nothing else takes the port, and nobody answers.
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"{prefix}127.0.0.1:{closed.getsockname()[1]}"
        started = time.monotonic()
        with pytest.raises(ResourceError, match=address):
            sweep(EVALUATE, ray=True, ray_address=address)
    assert time.monotonic() - started < 30


@pytest.mark.parametrize("address", ["127.0.0.1", "127.0.0.1:port", "127.0.0.1:99999"])
def test_an_address_that_is_none_fails(digits, address):
    pytest.importorskip("ray")
    with pytest.raises(ResourceError, match=address):
        sweep(EVALUATE, ray=True, ray_address=address)


def test_an_address_where_something_else_answers_fails(digits):
    pytest.importorskip("ray")
    server = subprocess.Popen([sys.executable, "-c", NOT_RAY], stdout=subprocess.PIPE, text=True)
    address = f"127.0.0.1:{server.stdout.readline().strip()}"
    with pytest.raises(ResourceError, match="not Ray"):
        sweep(EVALUATE, ray=True, ray_address=address)
    server.communicate()


@pytest.mark.slow
def test_ray_runs_the_same_cells_as_this_process(ddlabel, digits):
    pytest.importorskip("ray")
    grid = changed(EVALUATE, axes={"optimizer": ["sgd", "adamw:lr=-1"]})
    write_grid(grid)
    done = ddlabel("sweep", "grid.toml", "--ray", "-q", code=9)
    assert len(done.stderr.splitlines()) == 3
    ddlabel("sweep", "grid.toml", "--out", "here.jsonl", "-q", code=9)
    assert len(rounded_results(OUT)) == 2
    assert rounded_results(OUT) == rounded_results(Path("here.jsonl"))
    too_large = ddlabel("sweep", "grid.toml", "--ray", "--cpus-per-cell", 1000, code=8)
    assert b"1000 CPUs" in too_large.stderr


@pytest.mark.slow
def test_ray_interrupted_keeps_the_finished_cells(digits):
    pytest.importorskip("ray")
    write_grid(changed(EVALUATE, axes={"batch-size": list(range(1, 500))}))
    command = [sys.executable, "-m", "ddlabel", "sweep", "grid.toml", "--ray"]
    silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    for number, code in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
        size_before = OUT.stat().st_size if OUT.exists() else 0
        running = subprocess.Popen(command, **silent)
        while running.poll() is None:
            if OUT.exists() and OUT.stat().st_size > size_before:
                break
            time.sleep(0.01)
        running.send_signal(number)
        assert running.wait(60) == code
        assert OUT.stat().st_size > size_before
    assert records(OUT)
