"""`ddlabel sweep`: what it prints, its exit codes, and what is left after a signal."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from grids import EVALUATE, RELABEL, changed, write_grid
from samples import records

OUT = Path("sweep.jsonl")


def test_the_path_of_the_results_is_printed(cli, digits):
    assert cli("sweep", write_grid(RELABEL)).out == b"sweep.jsonl\n"
    again = cli("sweep", "grid.toml", "--json")
    expected = {"out": "sweep.jsonl", "cells": 2, "ran": 0, "failed": 0}
    assert json.loads(again.out) == expected


def test_failed_cells_are_reported_with_quiet_too_and_give_exit_code_9(cli, digits):
    write_grid(changed(EVALUATE, axes={"optimizer": ["sgd", "adamw:lr=-1"]}))
    done = cli("sweep", "grid.toml", "--quiet", "--json", code=9)
    assert json.loads(done.out) == {"out": "sweep.jsonl", "cells": 4, "ran": 4, "failed": 2}
    first, second, error = done.err.decode().splitlines()
    assert first.startswith("cell 3 of 4: optimizer=adamw:lr=-1 batch_size=10 failed: ")
    assert second.startswith("cell 4 of 4: optimizer=adamw:lr=-1 batch_size=20 failed: ")
    assert json.loads(error)["exit_code"] == 9


def test_a_grid_that_cannot_be_used_gives_one_line(cli, digits):
    for grid, code in ((changed(EVALUATE, options={"epoch": 2}), 2), (None, 3)):
        Path("grid.toml").write_text("[axes")
        if grid is not None:
            write_grid(grid)
        done = cli("sweep", "grid.toml", code=code)
        (line,) = done.err.decode().splitlines()
        assert line.startswith("error: ")
        assert not OUT.exists()


def test_plan_is_a_table_for_people_and_a_line_of_data(cli, digits):
    done = cli("sweep", write_grid(RELABEL), "--plan")
    assert done.out.startswith(b"2 cells to run, ")
    assert done.out.count(b"\n") == 1
    assert b"temperature=2.5" in done.err
    plan = json.loads(cli("sweep", "grid.toml", "--plan", "--json").out)
    assert plan["seconds"] == pytest.approx(sum(cell["seconds"] for cell in plan["cells"]))
    assert not OUT.exists()
    assert cli("sweep", "grid.toml", "--plan", "--quiet").err == b""


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGKILL, -signal.SIGKILL), (signal.SIGINT, 130), (signal.SIGTERM, 143)],
)
def test_after_a_signal_the_missing_cells_alone_are_run(cli, digits, number, code):
    axes = {"optimizer": ["sgd", "adamw", "adam"], "batch-size": [10]}
    write_grid(changed(EVALUATE, options={"epochs": 60}, axes=axes))
    running = subprocess.Popen(
        [sys.executable, "-m", "ddlabel", "sweep", "grid.toml"],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while running.poll() is None and not (OUT.exists() and b"\n" in OUT.read_bytes()):
        time.sleep(0.002)
    # A signal while the line is being written would take it back.
    time.sleep(0.2)
    running.send_signal(number)
    assert running.wait() == code
    before = OUT.read_bytes()
    num_finished = before.count(b"\n")
    assert 1 <= num_finished < 3
    again = json.loads(cli("sweep", "grid.toml", "--json").out)
    assert again["ran"] == 3 - num_finished
    assert OUT.read_bytes().startswith(before)
    optimizers = [record["options"]["optimizer"] for record in records(OUT)]
    assert optimizers == ["sgd", "adamw", "adam"]
