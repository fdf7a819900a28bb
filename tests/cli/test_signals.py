"""Signals sent to real commands: what is saved, what is said, and what the same command does."""

from __future__ import annotations

import fcntl
import json
import os
import re
import signal
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest

TRAIN = ["train-expert", "real.safetensors", "run", "--net", "convnet-d2:width=16,norm=batch"]
TRAIN += ["--epochs", "12", "--save-every", "2", "--batch-size", "7", "--optimizer", "adam"]
TRAIN += ["--precision", "fp32", "--compile", "off"]
LEARN = ["learn", "few.safetensors", "learned.safetensors", "--real", "real.safetensors"]
LEARN += ["--method", "bptt:steps=2,window=2", "--iterations", "60", "--save-every", "20"]
LEARN += ["--net", "convnet-d1:width=4"]
EVALUATE = ["evaluate", "few.safetensors", "--test", "test.safetensors", "--epochs", "150"]
EVALUATE += ["--net", "convnet-d1:width=4", "--precision", "fp32", "--compile", "off"]


@pytest.fixture
def start(digits):
    """Start a command in the folder of `digits`; it is killed after the test."""
    started = []

    def run(*words: str) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [sys.executable, "-m", "ddlabel", *words],
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        started.append(process)
        return process

    yield run
    for process in started:
        process.kill()
        process.communicate()


def wait_for(process: subprocess.Popen[bytes], path: Path) -> None:
    while not path.exists() or path.stat().st_size == 0:
        assert process.poll() is None
        time.sleep(0.001)


def wait_until_read(process: subprocess.Popen[bytes]) -> None:
    """Wait until the process has taken everything that was written to its standard input."""
    while True:
        unread = fcntl.ioctl(process.stdin, termios.FIONREAD, b"\0" * 4)
        if int.from_bytes(unread, "little") == 0:
            return
        assert process.poll() is None
        time.sleep(0.01)


def last_line(process: subprocess.Popen[bytes]) -> str:
    _, stderr = process.communicate(timeout=60)
    assert b"Traceback" not in stderr
    return stderr.decode().splitlines()[-1]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


class TestTrainExpert:
    @pytest.mark.parametrize(
        ("number", "code", "word"),
        [
            (signal.SIGINT, 130, "interrupted"),
            pytest.param(signal.SIGTERM, 143, "terminated", marks=pytest.mark.faults),
        ],
    )
    def test_it_goes_on_from_the_very_step_to_the_same_bytes(
        self, start, ddlabel, digits, number, code, word
    ):
        ddlabel(*[*TRAIN[:2], "whole", *TRAIN[3:]])
        between_checkpoints = 0
        for _ in range(3):
            before = len(list((digits / "run").glob("step-*"))) if Path("run").exists() else 0
            running = start(*TRAIN)
            while len(list((digits / "run").glob("step-*"))) <= before:
                assert running.poll() is None
                time.sleep(0.001)
            time.sleep(0.05)
            running.send_signal(number)
            line = last_line(running)
            assert running.returncode == code
            assert line.startswith(f"error: {word}: ")
            step = int(re.search(r"goes on from step (\d+)$", line)[1])
            between_checkpoints += not Path(f"run/step-{step:06}.safetensors").exists()
        assert between_checkpoints
        ddlabel(*TRAIN)
        assert contents(digits / "run") == contents(digits / "whole")

    def test_before_any_image_is_read_it_begins_again(self, start):
        running = start("train-expert", "-", *TRAIN[2:])
        # The length of a header of 1,000 bytes, which do not come.
        running.stdin.write((1000).to_bytes(8, "little"))
        running.stdin.flush()
        wait_until_read(running)
        running.send_signal(signal.SIGINT)
        assert "begins again" in last_line(running)


class TestLearn:
    def test_it_goes_on_from_the_very_iteration_to_the_same_bytes(self, start, ddlabel, digits):
        ddlabel(*[*LEARN[:2], "whole.safetensors", *LEARN[3:]])
        running = start(*LEARN)
        wait_for(running, digits / "learned.safetensors.resume")
        running.send_signal(signal.SIGTERM)
        line = last_line(running)
        assert running.returncode == 143
        assert int(re.search(r"goes on from iteration (\d+)$", line)[1]) >= 20
        ddlabel(*LEARN)
        learned = Path("learned.safetensors").read_bytes()
        assert learned == Path("whole.safetensors").read_bytes()

    def test_a_stream_begins_again(self, start):
        running = start(*LEARN[:2], "-", *LEARN[3:])
        for line in running.stderr:
            if b"iteration 20:" in line:
                break
        running.send_signal(signal.SIGINT)
        assert "begins again" in last_line(running)
        assert running.returncode == 130


class TestEvaluate:
    def test_finished_students_are_kept_and_named(self, start, cli):
        running = start(*EVALUATE, "--seeds", "50", "--out", "results.jsonl")
        wait_for(running, Path("results.jsonl"))
        running.send_signal(signal.SIGINT)
        assert "results.jsonl" in last_line(running)
        assert running.returncode == 130

    def test_without_a_results_file_it_begins_again(self, start):
        running = start(*EVALUATE, "--seeds", "50")
        for line in running.stderr:
            if line.startswith(b"student "):
                break
        running.send_signal(signal.SIGTERM)
        assert "begins again" in last_line(running)
        assert running.returncode == 143


class TestDebug:
    @pytest.mark.parametrize("value", ["1", "0"])
    def test_tracebacks_of_our_own_errors_are_shown_when_asked_for(self, cli, monkeypatch, value):
        monkeypatch.setenv("DDLABEL_DEBUG", value)
        done = cli("info", "missing.safetensors", "--json", code=3)
        *traceback, line = done.err.decode().splitlines()
        assert json.loads(line)["exit_code"] == 3
        assert ("Traceback (most recent call last):" in traceback) == (value == "1")
