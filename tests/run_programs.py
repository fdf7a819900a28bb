"""The fork server of the fault suite: `python -m run_programs FOLDER`.

It imports everything once, and then runs the programs that it is asked for, each in many forks.
They check what they do, and return figures.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from fault_commands import (
    EXISTS,
    GOES_ON,
    LOG,
    SHARED,
    begin_again,
    check_rerun,
    content,
    prepare,
    run,
    temporary_files,
    whole_content,
)
from injection import CALLS, Act, Faults, code_of, kill, kill_after, run_in_child, start_child
from scarcity import SCARCE

from ddlabel.data.expert_run import ExpertRun
from ddlabel.data.run_files import RESUME

Figures = dict[str, int]
EVERY_CALL = tuple(CALLS)
_CODES = {signal.SIGINT: 130, signal.SIGTERM: 143}
_SECONDS_TO_LEAVE = 5


def with_fault(name: str, nth: int, act: Act, only: tuple[str, ...] = EVERY_CALL) -> int:
    """Run a command in which `act` strikes at the n-th of the calls of these names."""
    return run(name, Faults(nth, act, only))


def every_fault(
    name: str, act: Act, *, first: int = 1, step: int, only: tuple[str, ...] = EVERY_CALL
) -> Iterator[int]:
    """Run from the beginning with a fault at the first call, …, and yield the exit codes."""
    nth = first
    while True:
        begin_again()
        code = run_in_child(partial(with_fault, name, nth, act, only))
        if code == 0:
            return
        yield code
        nth += step


def kills(name: str, step: int) -> Figures:
    """Kill a command before every `step`-th call and in the middle of a write; run it again.

    After a call is before the next one.
    """
    whole = whole_content(name)
    counts = {"kills": 0, "finished": 0}
    for act, only in ((kill, EVERY_CALL), (kill_after, ("write",))):
        for code in every_fault(name, act, step=step, only=only):
            assert code == -signal.SIGKILL, (code, LOG.read_text())
            counts["kills"] += 1
            counts["finished"] += check_rerun(name, whole)
    return counts


def kill_reruns(name: str) -> Figures:
    """Kill a command at the n-th call, and every rerun at its n-th call too, until one finishes."""
    whole = whole_content(name)
    counts = {"kills": 0, "finished": 0}
    for nth in (20, 40, 70, 100, 140):
        begin_again()
        # A rerun that is killed before its first checkpoint makes no progress.
        for _ in range(5):
            if run_in_child(partial(with_fault, name, nth, kill)) in (0, EXISTS):
                break
            counts["kills"] += 1
        counts["finished"] += check_rerun(name, whole)
    return counts


def kill_at_moments(name: str, num_kills: int) -> Figures:
    """Kill a command at random moments; run it again."""
    started = time.perf_counter()
    whole = whole_content(name)
    seconds = time.perf_counter() - started
    generator = random.Random(0)
    counts = {"kills": 0, "finished": 0}
    while counts["kills"] < num_kills:
        begin_again()
        process = start_child(partial(run, name))
        time.sleep(generator.uniform(0, seconds))
        os.kill(process, signal.SIGKILL)
        # It may have ended before.
        counts["kills"] += code_of(process) == -signal.SIGKILL
        counts["finished"] += check_rerun(name, whole)
    return counts


def _interrupt(number: int, count: int) -> Act:
    """An act: the process gets a signal, and at the next call another one, if `count` is 2."""

    rest = count

    def act(faults: Faults, name: str, original: Callable, *args, **options) -> object:
        nonlocal rest
        rest -= 1
        if rest:
            faults.nth += 1
        os.kill(os.getpid(), number)
        return original(*args, **options)

    return act


def signals(name: str, step: int) -> Figures:
    """Interrupt a command at every `step`-th call: what it says is true, and nothing is left over.

    The rerun gives the same bytes. SIGINT and SIGTERM take turns, and each comes twice at every
    other call.
    """
    whole = whole_content(name)
    counts = {"signals": 0, "goes_on": 0, "begins_again": 0, "finished": 0, "twice": 0}
    for place, (number, code) in enumerate(_CODES.items()):
        for times in (1, 2):
            act = _interrupt(number, times)
            first = 1 + (2 * place + times - 1) * step // 4
            for left in every_fault(name, act, first=first, step=step):
                said = LOG.read_bytes()
                assert left == code, (left, said)
                counts["signals"] += 1
                if times == 2:
                    counts["twice"] += 1
                    check_rerun(name, whole)
                else:
                    counts[_check_said(name, said, whole)] += 1
    return counts


def _check_said(name: str, said: bytes, whole: dict[str, bytes]) -> str:
    """Check what an interrupted command said against what the rerun does. Return what it was."""
    line = said.splitlines()[-1]
    assert line.startswith((b"error: interrupted: ", b"error: terminated: ")), said
    assert b"Traceback" not in said, said
    assert temporary_files() == []
    before = content()
    code = check_rerun(name, whole)
    goes_on = GOES_ON in LOG.read_bytes()
    if b"goes on from" in line:
        assert goes_on, (said, LOG.read_bytes())
        return "goes_on"
    if b"begins again" in line:
        assert not goes_on
        assert code == 0, (said, LOG.read_bytes())
        return "begins_again"
    if name not in SHARED:
        assert b" is finished" in line
        assert before == whole
    return "finished"


def at_once(name: str, num_processes: int) -> Figures:
    """Start a command several times at once: one makes the output, or each record is made once."""
    whole = whole_content(name)
    begin_again()
    gate, opener = os.pipe()

    def wait_and_run() -> int:
        os.close(opener)
        os.read(gate, 1)
        return run(name)

    processes = [start_child(wait_and_run) for _ in range(num_processes)]
    os.close(gate)
    os.close(opener)
    codes = [code_of(process) for process in processes]
    assert set(codes) <= {0, EXISTS}, codes
    assert content() == whole
    if name not in SHARED:
        assert codes.count(0) == 1, codes
    return {"done": codes.count(0), "exit_6": codes.count(EXISTS)}


def take_over() -> Figures:
    """One process trains a run; others are refused until it is killed, and then one goes on."""
    name = "train-expert"
    whole = whole_content(name)
    begin_again()
    # It stops, alive, in the middle of the training; its own fork outlives it.
    process = start_child(partial(with_fault, name, 150, _stop))
    folder = Path("out/expert")
    os.waitpid(process, os.WUNTRACED)
    assert (folder / RESUME).exists()
    refused = [run_in_child(partial(run, name)) for _ in range(3)]
    assert refused == [EXISTS] * 3, refused
    assert not ExpertRun(folder).complete
    os.kill(process, signal.SIGKILL)
    code_of(process)
    finished = check_rerun(name, whole)
    assert not finished
    return {"refused": len(refused)}


def _stop(faults: Faults, name: str, original: Callable, *args, **options) -> None:
    """The process forks a worker, which lives on for some seconds, and stops."""
    if os.fork() == 0:
        os.closerange(0, 3)
        time.sleep(10)
        os._exit(0)
    os.kill(os.getpid(), signal.SIGSTOP)


PROGRAMS = (kills, kill_reruns, kill_at_moments, signals, at_once, take_over, *SCARCE)


def serve() -> None:
    """Answer each line of standard input, a program and its arguments, with a line of JSON."""
    programs = {program.__name__: program for program in PROGRAMS}
    for line in sys.stdin:
        name, *arguments = json.loads(line)
        try:
            answer = {"figures": programs[name](*arguments)}
        except Exception:
            answer = {"error": traceback.format_exc()}
        sys.stdout.write(f"{json.dumps(answer)}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    prepare(sys.argv[1])
    serve()
