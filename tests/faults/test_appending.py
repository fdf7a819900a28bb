"""Records of results files survive failing calls, kills, full disks and other processes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import fault_programs
import pytest
from injection import ERRORS, every_call
from record_samples import student

from ddlabel.core.errors import StorageError
from ddlabel.data.results import Results

LINE = f"{student(0).to_json()}\n".encode()
BEGINNINGS = {"a missing file": None, "a record": LINE, "a record cut off": LINE + LINE[:100]}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "r.jsonl"


def seeds_of(path) -> list[int]:
    return [record.options["seed"] for record in Results(path).read("student").values()]


@pytest.mark.parametrize("beginning", BEGINNINGS)
@pytest.mark.parametrize("act", ERRORS)
def test_a_call_that_fails_leaves_the_file_as_it_was(path, figure, beginning, act):
    """For every call of a rerun that reads the file and appends a record to it."""
    before = BEGINNINGS[beginning]
    old_seeds = [] if before is None else [0]

    def prepare() -> None:
        path.unlink(missing_ok=True)
        if before is not None:
            path.write_bytes(before)

    def append() -> None:
        results = Results(path)
        results.read("student")
        results.append_new(student(1))

    prepare()
    failed = []
    refused = 0
    for name, error in every_call(append, ERRORS[act]):
        failed.append(name)
        if error is not None:
            refused += 1
            assert isinstance(error, StorageError), name
            # A call that fails after its work may leave the record, whole.
            assert seeds_of(path) in (old_seeds, [*old_seeds, 1]), name
        append()
        assert seeds_of(path) == [*old_seeds, 1], name
        prepare()
    assert {"open", "flock", "write", "fsync"} <= set(failed)
    assert refused > 3
    figure(f"append to {beginning}, a call does {act}", tried=len(failed), exit_7=refused)


@pytest.mark.parametrize("num_bytes", [1, 2, 3, 7, 100])
def test_short_writes_give_the_same_file(path, monkeypatch, num_bytes):
    write = os.write
    monkeypatch.setattr(os, "write", lambda file, data: write(file, data[:num_bytes]))
    Results(path).append_new(student(0))
    assert path.read_bytes() == LINE


def test_a_line_cut_off_at_any_byte_costs_no_other_record(path, monkeypatch, figure):
    """A process is killed in the middle of its write, and another goes on."""
    monkeypatch.setattr(os, "fsync", os.fstat)  # thousands of syncs take long
    line = f"{student(1).to_json()}\n".encode()
    for before, old_seeds in ((b"", []), (LINE, [0])):
        for num_bytes in range(len(line)):
            path.write_bytes(before + line[:num_bytes])
            Results(path).append(student(2))
            # A line that lacks nothing but its newline is whole.
            killed = [1] if num_bytes == len(line) - 1 else []
            assert seeds_of(path) == [*old_seeds, *killed, 2]
            path.write_bytes(before + line[:num_bytes])
            assert Results(path).append_new(student(2))
            assert seeds_of(path) == [*old_seeds, *killed, 2]
    figure("append after a line cut off at each byte", tried=4 * len(line), records_lost=0)


def test_a_kill_at_any_call_costs_no_record(tmp_path, figure):
    figure("append, killed at each call", **fault_programs.run("kill_appending", tmp_path))


def test_a_limit_of_the_files_size_leaves_the_file_as_it_was(tmp_path, figure):
    figures = fault_programs.run("limit_appending", tmp_path, 7)
    assert 0 < figures["refused"] < figures["limits"]
    figure("append under RLIMIT_FSIZE", **figures)


def test_a_disk_that_is_full_at_any_byte_leaves_files_as_they_were(tmp_path, figure):
    mount = ("unshare", "--map-root-user", "--mount")
    try:
        subprocess.run([*mount, "mount", "-t", "tmpfs", "none", tmp_path], check=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this machine lets no user mount a tmpfs (unshare --map-root-user --mount)")
    figures = fault_programs.run("fill_disk", tmp_path, 300, before=mount)
    for word in ("appends", "writes"):
        assert 0 < figures[f"{word}_refused"] < figures[word]
    figure("append and write on a full disk", **figures)


@pytest.mark.parametrize("num_processes", [2, pytest.param(16, marks=pytest.mark.faults)])
def test_processes_that_append_the_same_records_write_each_once(path, figure, num_processes):
    num_shared = 20
    own_seeds = range(100, 100 + num_processes)
    commands = [
        fault_programs.command("append_shared", path, num_shared, seed) for seed in own_seeds
    ]
    assert fault_programs.at_once(*commands) == [0] * num_processes
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    seeds = sorted(line["options"]["seed"] for line in lines)
    assert seeds == [*range(num_shared), *own_seeds]
    assert len(Results(path).read("student", pytest.fail)) == len(lines)
    offered = num_processes * (num_shared + 1)
    figure(f"{num_processes} processes append", offered=offered, written=len(lines))


@pytest.mark.faults
def test_four_equal_evaluations_write_every_student_once(made, tmp_path, figure):
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    words = "-m ddlabel evaluate few.safetensors --test test.safetensors --net convnet-d1:width=4"
    words += " --epochs 5 --precision fp32 --seeds 4 --out r.jsonl"
    command = [sys.executable, *words.split()]
    outcomes = fault_programs.outcomes(*[command] * 4, folder=tmp_path)
    assert [code for code, _, _ in outcomes] == [0] * 4, outcomes
    outputs = {output for _, output, _ in outcomes}
    num_twice = sum(said.count(b"another process has added it") for _, _, said in outcomes)
    assert sorted(seeds_of(tmp_path / "r.jsonl")) == [*range(4)]
    assert len((tmp_path / "r.jsonl").read_text().splitlines()) == 4
    assert len(outputs) == 1
    figure("4 equal evaluations", students=16, written=4, trained_in_vain=num_twice)
