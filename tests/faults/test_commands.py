"""Whole commands: killed, interrupted, started many times at once, short of disk and of memory.

The quick part takes a few places of the commands that take long; the full part (`pytest -m faults`)
every call, of every command.
"""

from __future__ import annotations

import pytest
from fault_commands import COMMANDS

LONG = ("train-expert", "learn", "evaluate", "sweep")
full = [pytest.mark.faults, pytest.mark.timeout(3600)]


def every(names, quick_value, full_value):
    """Commands with a value of the quick part, and all commands with one of the full part."""
    quick = [pytest.param(name, quick_value, id=f"{name}-few") for name in names]
    return quick + [
        pytest.param(name, full_value, id=f"{name}-all", marks=full) for name in COMMANDS
    ]


class TestKills:
    @pytest.mark.parametrize(("name", "step"), every(LONG, 60, 1))
    def test_a_command_killed_at_any_call_is_finished_by_the_next_run(
        self, server, figure, name, step
    ):
        counts = server.run("kills", name, step)
        assert counts["kills"] >= (2 if step > 1 else 50)
        which = "every call" if step == 1 else f"every {step}th call"
        figure(f"{name}: killed at {which}", **counts)

    @pytest.mark.parametrize(("name", "num_kills"), every(("train-expert",), 2, 50))
    def test_a_command_killed_at_random_moments_is_finished_by_the_next_run(
        self, server, figure, name, num_kills
    ):
        counts = server.run("kill_at_moments", name, num_kills)
        figure(f"{name}: killed at random moments", **counts)

    @pytest.mark.parametrize("name", [pytest.param(name, marks=full) for name in LONG])
    def test_a_command_whose_reruns_are_killed_too_is_finished(self, server, figure, name):
        counts = server.run("kill_reruns", name)
        assert counts["kills"] >= 8
        figure(f"{name}: reruns killed too", **counts)


class TestSignals:
    @pytest.mark.parametrize(("name", "step"), every(LONG, 200, 10))
    def test_an_interrupted_command_says_what_is_next_and_leaves_nothing(
        self, server, figure, name, step
    ):
        counts = server.run("signals", name, step)
        assert counts["twice"] > 0
        figure(f"{name}: SIGINT and SIGTERM at every {step}th call", **counts)


class TestAtOnce:
    @pytest.mark.parametrize(
        ("name", "num_processes"),
        [
            ("train-expert", 2),
            ("train-expert", 16),
            ("evaluate", 2),
            ("relabel", 2),
            *[pytest.param(name, 16, marks=full) for name in COMMANDS if name != "train-expert"],
        ],
    )
    def test_of_several_processes_one_makes_the_output(self, server, figure, name, num_processes):
        counts = server.run("at_once", name, num_processes)
        assert counts["done"] + counts["exit_6"] == num_processes
        figure(f"{num_processes} × {name} at once", **counts)

    def test_a_run_is_taken_over_when_its_process_is_dead(self, server, figure):
        figure("train-expert: another process trains the run", **server.run("take_over"))


class TestScarcity:
    @pytest.mark.parametrize(("name", "step"), every(("train-expert", "evaluate"), 3000, 97))
    def test_a_limit_of_the_size_of_files_leaves_nothing_half(self, server, figure, name, step):
        counts = server.run("limits", name, step)
        assert counts["refused"] > 0
        figure(f"{name}: RLIMIT_FSIZE at every {step}th byte", **counts)

    @pytest.mark.parametrize("name", [pytest.param(name, marks=full) for name in COMMANDS])
    def test_a_full_disk_leaves_nothing_half(self, mounting_server, figure, name):
        counts = mounting_server.run("full_disk", name)
        assert counts["refused"] > 0
        figure(f"{name}: a disk that is full after every page", **counts)

    # HDF5 itself crashes where its memory ends, so that densify, which writes it, is not here.
    @pytest.mark.parametrize(
        "name",
        [
            pytest.param(name, marks=full)
            for name in ("train-expert", "evaluate", "learn", "relabel")
        ],
    )
    def test_too_little_memory_is_said_in_one_line(self, server, figure, name):
        counts = server.run("little_memory", name)
        assert counts["exit_8"] > 0
        figure(f"{name}: RLIMIT_AS", **counts)
