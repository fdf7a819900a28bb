"""`ddlabel train-expert` on the command line: what a rerun trains, and what a kill leaves."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from samples import TINY


def test_only_missing_experts_are_trained(cli, digits):
    words = ("real.safetensors", "both", *TINY, "--experts", 2, "--batch-size", 30)
    cli("train-expert", *words)
    kept = digits / "both/expert-0/expert.json"
    first_time = kept.stat().st_mtime_ns
    shutil.rmtree(digits / "both/expert-1")
    assert cli("train-expert", *words).out == b"both/expert-1\n"
    assert kept.stat().st_mtime_ns == first_time
    cli("train-expert", *words, code=6)


def checkpoints_in(folder: Path) -> int:
    return len(list(folder.glob("step-*")))


def contents_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_after_a_signal_the_run_goes_on_to_the_same_bytes(cli, digits):
    """The other signals and their exit codes are those of test_sweep."""
    words = ["train-expert", "real.safetensors", "ended", "--precision", "fp32", "--quiet"]
    words += ["--net", "convnet-d2:width=16,norm=batch", "--optimizer", "adam"]
    words += ["--epochs", "8", "--save-every", "0.5", "--batch-size", "7"]
    whole = [*words[:2], "whole", *words[3:]]
    cli(*whole)
    ended = digits / "ended"
    running = subprocess.Popen(
        [sys.executable, "-m", "ddlabel", *words],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
    )
    while checkpoints_in(ended) < 2 and running.poll() is None:
        time.sleep(0.005)
    running.send_signal(signal.SIGTERM)
    running.communicate()
    assert running.returncode == 143
    assert 2 <= checkpoints_in(ended) < 16
    cli(*words)
    assert contents_of(ended) == contents_of(digits / "whole")
