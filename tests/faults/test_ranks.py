"""Two ranks under torchrun, one of which is killed: the job ends, and the same command goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from fault_programs import ENVIRONMENT
from samples import make_bundle

from ddlabel.data import formats

TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]
# Runs the command and tells the process id of its rank.
WITH_PROCESS_ID = """
import os, runpy, sys
from pathlib import Path
Path(f'pid-{os.environ["RANK"]}').write_text(str(os.getpid()))
sys.argv[0] = "ddlabel"
runpy.run_module("ddlabel", run_name="__main__")
"""
TRAIN = "train-expert few.safetensors {out} --net convnet-d1:width=4,norm=batch --precision fp32 "
TRAIN += "--compile off --batch-size 6 --epochs 200 --save-every 5 --optimizer sgd:lr=0.05"
DENSIFY = "densify many.safetensors {out} --expert expert --epoch last --views grid:n=5,r=0.5"
LONGEST_SECONDS = 60


def start(words: str, folder: Path) -> subprocess.Popen[bytes]:
    (folder / "tell.py").write_text(WITH_PROCESS_ID)
    for old in folder.glob("pid-*"):
        old.unlink()
    return subprocess.Popen(
        [*TORCHRUN, "tell.py", *words.split()],
        cwd=folder,
        env=os.environ | ENVIRONMENT | {"CUDA_VISIBLE_DEVICES": ""},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


def finish(words: str, folder: Path) -> None:
    with start(words, folder) as job:
        _, said = job.communicate(timeout=600)
    assert job.returncode == 0, said.decode()


def wait_until(condition: Callable[[], bool], job: subprocess.Popen[bytes]) -> None:
    while not condition():
        assert job.poll() is None, job.stderr.read().decode()
        time.sleep(0.01)


def kill_rank(rank: int, job: subprocess.Popen[bytes], folder: Path) -> float:
    """Kill a rank of a job, and return how many seconds later the job has ended."""
    os.kill(int((folder / f"pid-{rank}").read_text()), signal.SIGKILL)
    started = time.monotonic()
    _, said = job.communicate(timeout=600)
    seconds = time.monotonic() - started
    assert job.returncode == 1, said.decode()
    assert b"ddlabel/train" not in said, said.decode()  # no traceback of ours
    return seconds


def contents(path: Path) -> dict[str, bytes]:
    files = path.iterdir() if path.is_dir() else [path]
    return {file.name.replace(path.name, "out"): file.read_bytes() for file in files}


@pytest.fixture
def folder(tmp_path) -> Path:
    formats.write(str(tmp_path / "few.safetensors"), make_bundle(images=12))
    return tmp_path


@pytest.mark.faults
@pytest.mark.timeout(3600)
class TestKilledRank:
    def test_train_expert_ends_within_a_minute_and_resumes_to_the_same_bytes(self, folder, figure):
        finish(TRAIN.format(out="whole"), folder)
        whole = contents(folder / "whole")
        seconds = []
        for number, (rank, num_saved) in enumerate([(0, 3), (1, 3), (0, 20), (1, 20)]):
            out = folder / f"killed-{number}"
            with start(TRAIN.format(out=out.name), folder) as job:
                wait_until(lambda out=out, n=num_saved: len([*out.glob("step-*")]) >= n, job)
                seconds.append(kill_rank(rank, job, folder))
            assert (out / "resume.pt").exists()
            finish(TRAIN.format(out=out.name), folder)
            assert contents(out) == whole
        assert max(seconds) < LONGEST_SECONDS
        figure("train-expert by two ranks", kills=len(seconds), longest_seconds=round(max(seconds)))

    def test_densify_ends_within_a_minute_and_begins_again_to_the_same_bytes(self, folder, figure):
        formats.write(str(folder / "many.safetensors"), make_bundle(images=20_000))
        finish(TRAIN.replace("200", "5").format(out="expert"), folder)
        finish(DENSIFY.format(out="whole.safetensors"), folder)
        whole = (folder / "whole.safetensors").read_bytes()
        seconds = []
        for rank in (0, 1):
            out = folder / f"killed-{rank}.safetensors"
            with start(DENSIFY.format(out=out.name), folder) as job:
                wait_until(lambda: len([*folder.glob("pid-*")]) == 2, job)
                time.sleep(8)  # torch is imported, and the ranks have met
                assert not out.exists()
                seconds.append(kill_rank(rank, job, folder))
            finish(DENSIFY.format(out=out.name), folder)
            assert out.read_bytes() == whole
            assert list(folder.glob(".*.part")) == []
        assert max(seconds) < LONGEST_SECONDS
        figure("densify by two ranks", kills=len(seconds), longest_seconds=round(max(seconds)))
