"""Several ranks against one process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from samples import TINY, make_bundle, records

from ddlabel.cli import app, command
from ddlabel.data import formats
from ddlabel.methods.labels.target import Target
from ddlabel.training import distributed as ranks

TORCHRUN = [
    sys.executable,
    "-m",
    "torch.distributed.run",
    "--nproc-per-node",
    "2",
    "--standalone",
]
SMALL_NET = "--net convnet-d1:width=4 --precision fp32 --batch-size 7"
# Runs the command with the first words, and on rank 1 with the second words too.
DIFFERENT_WORDS = """
import os, runpy, sys
words, words_of_rank_1 = sys.argv[1].split(), sys.argv[2].split()
sys.argv = ["ddlabel", *words, *(words_of_rank_1 if os.environ["RANK"] == "1" else [])]
runpy.run_module("ddlabel", run_name="__main__")
"""
# Runs the command and tells the process id of its rank.
WITH_PROCESS_ID = """
import os, runpy, sys
with open(f'pid-{os.environ["RANK"]}', "w") as file:
    file.write(str(os.getpid()))
sys.argv[0] = "ddlabel"
runpy.run_module("ddlabel", run_name="__main__")
"""


@pytest.fixture
def torchrun(tmp_path):
    """Run the command by two ranks in a folder of its own; rank 1 gets the words `other` too."""

    def run(words: str, *, other: str = "", succeeds: bool = True):
        (tmp_path / "different.py").write_text(DIFFERENT_WORDS)
        done = subprocess.run(
            [*TORCHRUN, "different.py", words, other],
            **process_settings(tmp_path),
            capture_output=True,
            timeout=100,
            check=False,
        )
        assert (done.returncode == 0) == succeeds, done.stderr.decode()
        return done

    return run


def process_settings(folder: Path) -> dict:
    """The folder and the environment of a process that imports this package and sees no GPU."""
    root = str(Path(app.__file__).parents[2])
    added = {"OMP_NUM_THREADS": "1", "PYTHONPATH": root, "CUDA_VISIBLE_DEVICES": ""}
    return {"cwd": folder, "env": os.environ | added}


def file_names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def metric(folder: Path, name: str) -> list[float]:
    return [record[name] for record in records(folder / "metrics.jsonl")]


class FakeGroup:
    """Stands in for `torch.distributed` as one rank of a group sees it."""

    def __init__(self, rank: int, world_size: int) -> None:
        self.rank = rank
        self.world_size = world_size
        self.sent: list[tuple[int, float]] = []
        self.received_from: list[int] = []

    def is_initialized(self) -> bool:
        return True

    def get_rank(self) -> int:
        return self.rank

    def get_world_size(self) -> int:
        return self.world_size

    def send(self, tensor: torch.Tensor, to: int) -> None:
        self.sent.append((to, tensor.item()))

    def recv(self, tensor: torch.Tensor, source: int) -> None:
        tensor.fill_(100 + source)
        self.received_from.append(source)

    def all_reduce(self, tensor: torch.Tensor) -> None:
        tensor += sum(range(2, self.world_size + 1))  # rank r has the value r + 1, this is rank 0


@pytest.fixture
def as_rank(monkeypatch):
    """Make this process one rank of a group."""

    def become(rank: int, world_size: int) -> FakeGroup:
        group = FakeGroup(rank, world_size)
        monkeypatch.setattr(ranks, "dist", group)
        return group

    return become


class TestRanks:
    def test_a_process_by_itself_is_rank_0_of_1(self):
        assert ranks.rank_and_world_size() == (0, 1)
        assert list(range(5)[ranks.rows_of_rank(5)]) == list(range(5))
        assert ranks.average(2.5) == 2.5

    def test_a_value_is_averaged_over_the_ranks(self, as_rank):
        as_rank(0, 4)
        assert ranks.average(1.0) == (1 + 2 + 3 + 4) / 4

    @pytest.mark.parametrize("world_size", [2, 3])
    @pytest.mark.parametrize("batch_size", [6, 7, 8, 100])
    def test_the_rows_of_the_ranks_are_the_batch(self, as_rank, world_size, batch_size):
        rows = []
        for rank in range(world_size):
            as_rank(rank, world_size)
            rows_of_rank = range(batch_size)[ranks.rows_of_rank(batch_size)]
            assert len(rows_of_rank) >= 2
            rows += rows_of_rank
        assert sorted(rows) == list(range(batch_size))

    def test_a_batch_that_is_too_small_to_share_goes_to_every_rank(self, as_rank):
        for rank in range(3):
            as_rank(rank, 3)
            assert ranks.rows_of_rank(5) == slice(None)

    @pytest.mark.parametrize("count", [1, 2, 3, 5, 6, 7, 8, 100])
    @pytest.mark.parametrize("world_size", [1, 2, 3])
    def test_the_mean_gradient_of_the_ranks_is_that_of_the_whole_batch(
        self, as_rank, count, world_size
    ):
        generator = torch.Generator().manual_seed(count)
        images = torch.randn(count, 4, generator=generator)
        weights = torch.randn(4, 3, generator=generator)
        hard = torch.arange(count) % 3

        def batch(step):
            return images, Target.of_classes(hard, 3)

        def cross_entropy(logits, target, step):
            return F.cross_entropy(logits, target.hard)

        gradients = []
        for rank in range(world_size):
            as_rank(rank, world_size)
            batch_of_rank, loss = ranks.shard_batch(batch, cross_entropy)
            rank_images, target = batch_of_rank(0)
            rank_weights = weights.clone().requires_grad_()
            loss(rank_images @ rank_weights, target, 0).backward()
            gradients.append(rank_weights.grad)
        whole_weights = weights.clone().requires_grad_()
        F.cross_entropy(images @ whole_weights, hard).backward()
        torch.testing.assert_close(torch.stack(gradients).mean(0), whole_weights.grad)


class TestChunks:
    @pytest.mark.parametrize("num_chunks", [0, 1, 2, 3, 7])
    @pytest.mark.parametrize("rank", [0, 1, 2])
    def test_the_ranks_take_turns(self, as_rank, num_chunks, rank):
        as_rank(rank, 3)
        chunks = [slice(row, row + 1) for row in range(num_chunks)]
        taken = [rows.start for rows in ranks.chunks_for_rank(chunks, np.zeros(num_chunks))]
        assert taken == list(range(num_chunks))[rank::3]

    def test_a_rank_sends_what_it_filled_to_rank_0(self, as_rank):
        group = as_rank(1, 3)
        values = np.zeros(7)
        for rows in ranks.chunks_for_rank([slice(row, row + 1) for row in range(7)], values):
            values[rows] = 10 + rows.start
        assert group.sent == [(0, 11.0), (0, 14.0)]
        assert group.received_from == []

    def test_rank_0_gets_the_chunks_of_the_others_into_their_rows(self, as_rank):
        group = as_rank(0, 3)
        values = np.zeros(7)
        for rows in ranks.chunks_for_rank([slice(row, row + 1) for row in range(7)], values):
            values[rows] = 10 + rows.start
        assert values.tolist() == [10, 101, 102, 13, 101, 102, 16]
        assert group.sent == []


class TestRefusals:
    @pytest.fixture(autouse=True)
    def two_ranks(self, monkeypatch):
        monkeypatch.setattr(command, "NUM_RANKS", 2)

    def test_commands_that_run_in_one_process(self, cli):
        assert b"refine" in cli("refine", "a.safetensors", "b.safetensors", code=2).err

    @pytest.mark.parametrize(
        "words", ["relabel - b.safetensors --expert e", "train-expert - folder"]
    )
    def test_standard_input(self, cli, words):
        cli(*words.split(), code=2)

    def test_a_choice_on_real_images(self, cli):
        words = "relabel a.safetensors b.safetensors --expert e --real r.safetensors"
        assert b"--real" in cli(*words.split(), code=2).err


def test_two_ranks_learn_what_one_process_does(torchrun, cli, digits):
    """120 images in batches of 7: the last batch has one image."""
    words = f"{SMALL_NET} --epochs 2 --save-every 0.25 --optimizer sgd:lr=0.1"
    done = torchrun(f"train-expert real.safetensors two {words} --test test.safetensors")
    cli("train-expert", "real.safetensors", "one", *words.split(), "--test", "test.safetensors")
    two, one = digits / "two", digits / "one"
    assert done.stdout == b"two\n"
    assert done.stderr.count(b"epoch 1:") == 1  # rank 0 alone reports
    assert len(metric(two, "loss")) == 8
    np.testing.assert_allclose(metric(two, "loss"), metric(one, "loss"), rtol=1e-5)
    assert file_names(two) == file_names(one)
    assert metric(two, "test_accuracy") == pytest.approx(metric(one, "test_accuracy"), abs=0.02)


@pytest.mark.slow
@pytest.mark.parametrize("words", ["relabel", "densify --views fkd:count=3 --refine"])
def test_two_ranks_give_the_bytes_of_one_process(torchrun, cli, digits, words):
    # Five chunks: one rank has a chunk in the last round.
    classes = formats.read(str(digits / "real.safetensors")).classes
    many = replace(make_bundle(images=2100, classes=10), classes=classes)
    formats.write(str(digits / "many.safetensors"), many)
    name, *options = words.split()
    experts = ["--expert", "expert", "--epoch", "last", *options]
    cli(name, "many.safetensors", "one.safetensors", *experts)
    done = torchrun(" ".join([name, "many.safetensors", "two.safetensors", *experts]))
    assert done.stdout == b"two.safetensors\n"
    assert (digits / "one.safetensors").read_bytes() == (digits / "two.safetensors").read_bytes()


@pytest.mark.slow
def test_ranks_with_other_inputs_are_refused_in_one_line(torchrun, digits):
    started = time.monotonic()
    done = torchrun(
        f"train-expert real.safetensors two {' '.join(TINY)}",
        other="--seed 7 --batch-size 9",
        succeeds=False,
    )
    assert time.monotonic() - started < 60
    (message,) = [line for line in done.stderr.splitlines() if b"error: " in line]
    assert b"batch_size" in message
    assert b"seed" in message
    assert done.stderr.count(b"exitcode  : 5") == 2
    assert not (digits / "two").exists()


@pytest.mark.slow
def test_an_error_of_one_rank_is_reported_with_its_number(torchrun, digits):
    done = torchrun(
        f"train-expert real.safetensors two {' '.join(TINY)}",
        other="--net nothing",
        succeeds=False,
    )
    assert b"error: rank 1:" in done.stderr
    assert b"exitcode  : 2" in done.stderr


@pytest.mark.slow
def test_a_killed_rank_ends_the_job_and_the_same_command_resumes_it(torchrun, cli, digits):
    words = f"train-expert real.safetensors two {SMALL_NET} --epochs 40 --save-every 0.5"
    cli(*words.replace(" two ", " one ").split())
    (digits / "tell.py").write_text(WITH_PROCESS_ID)
    job = subprocess.Popen(
        [*TORCHRUN, "tell.py", *words.split()],
        **process_settings(digits),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    while not (digits / "two" / "step-00000009.safetensors").exists():
        assert job.poll() is None
        time.sleep(0.01)
    os.kill(int((digits / "pid-1").read_text()), signal.SIGKILL)
    _, stderr = job.communicate(timeout=60)
    assert job.returncode == 1
    assert b"error: " in stderr
    assert b"ddlabel/train" not in stderr  # no traceback of ours
    num_kept = len(metric(digits / "two", "loss"))
    assert 0 < num_kept < 80
    torchrun(words)
    expected = metric(digits / "one", "loss")
    np.testing.assert_allclose(metric(digits / "two", "loss"), expected, rtol=1e-3)
