"""Programs of the fault suite that train: `python -m run_programs NAME FOLDER …`.

Each runs in a process of its own that only forks: torch computes in the forks. They check what they
do, and print their figures as JSON.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from injection import Act, Faults, kill, kill_after, run_in_child
from samples import make_bundle

# Imported before the forks, so that each of them starts at once.
from ddlabel.commands import learn as _learn  # noqa: F401
from ddlabel.commands import select as _select  # noqa: F401
from ddlabel.commands.execute import run_command
from ddlabel.commands.sweep import sweep
from ddlabel.commands.train_expert import train_expert
from ddlabel.data import formats
from ddlabel.data.expert_run import ExpertRun
from ddlabel.data.run_files import RESUME

CALLS = ("open", "write", "fsync", "replace", "_rename_exclusively", "unlink", "mkdir")
EXISTS = 6
TRAIN = {
    "net": "convnet-d1:width=2,norm=batch",
    "epochs": 2,
    "batch_size": 6,
    "optimizer": "sgd:lr=0.05,momentum=0.9",
    "augment": "flip+crop",
    "zca": True,
    "compile": "off",
    "precision": "fp32",
    "device": "cpu",
}
LEARN = {
    "bundle": "few.safetensors",
    "real": "few.safetensors",
    "out": "out/learned.safetensors",
    "net": "convnet-d1:width=2",
    "method": "bptt:steps=1,window=1,real-batch=3",
    "iterations": 3,
    "save_every": 1,
    "device": "cpu",
}
GRID = {
    "command": "select",
    "options": {"bundle": "few.safetensors", "ipc": 1, "out": "out/{seed}.safetensors"},
    "axes": {"seed": [0, 1]},
}
RESULTS = Path("out/sweep.jsonl")


def train() -> None:
    train_expert("few.safetensors", "out", **TRAIN)


def learn_labels() -> None:
    run_command("learn", LEARN)


def sweep_cells() -> None:
    sweep(GRID, out=str(RESULTS))


def content(folder: Path) -> dict[str, bytes]:
    """The bytes of every file by name. The lines of a sweep's records have no times."""
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    if RESULTS.name in files:
        lines = [json.loads(line) for line in files[RESULTS.name].splitlines()]
        shorter = [line | {"cost": None, "sha256": None} for line in lines]
        files[RESULTS.name] = json.dumps(shorter).encode()
    return files


def begin_again(run: Callable[[], None]) -> None:
    """Remove the output; all but `train-expert` need its folder."""
    shutil.rmtree("out", ignore_errors=True)
    if run is not train:
        Path("out").mkdir()


def whole_output(run: Callable[[], None]) -> dict[str, bytes]:
    """The content of the output of a run that nothing interrupts."""
    begin_again(run)
    assert run_in_child(run) == 0
    return content(Path("out"))


def check_rerun(run: Callable[[], None], whole: dict[str, bytes]) -> int:
    """Run until nothing is left to do; the files are those of an uninterrupted run.

    Returns 1 if the killed run had finished everything, and the rerun said so, else 0.
    """
    code = run_in_child(run)
    assert code in (0, EXISTS), code
    after = content(Path("out"))
    assert after.keys() == whole.keys(), sorted(after)
    assert after == whole, [name for name in after if after[name] != whole[name]]
    return int(code == EXISTS)


def with_fault(
    run: Callable[[], None], nth: int, act: Act, only: tuple[str, ...]
) -> Callable[[], None]:
    """A run in which `act` strikes at the n-th call of those in `only`."""

    def run_with_fault() -> None:
        with Faults(nth, act, only):
            run()

    return run_with_fault


def kill_at(run: Callable[[], None], act: Act, only: tuple[str, ...]) -> Iterator[None]:
    """Run from the beginning in forks that die at the first call, at the second, …."""
    nth = 1
    while True:
        begin_again(run)
        code = run_in_child(with_fault(run, nth, act, only))
        if code == 0:
            return
        assert code == -signal.SIGKILL, code
        yield
        nth += 1


def kills(name: str) -> dict[str, int]:
    """Kill a command before every call, and in the middle of every write; run it again."""
    run = RUNS[name]
    whole = whole_output(run)
    counts = {"kills": 0, "finished": 0}
    for act, only in ((kill, CALLS), (kill_after, ("write",))):
        for _ in kill_at(run, act, only):
            counts["kills"] += 1
            counts["finished"] += check_rerun(run, whole)
    return counts


def kill_reruns(name: str) -> dict[str, int]:
    """Kill a command at the n-th call, and every rerun at its n-th call too, until one finishes."""
    run = RUNS[name]
    whole = whole_output(run)
    counts = {"kills": 0, "finished": 0}
    for nth in (9, 14, 23, 31):
        begin_again(run)
        run_and_die = with_fault(run, nth, kill, CALLS)
        # A rerun that is killed before its first checkpoint makes no progress.
        for _ in range(5):
            if run_in_child(run_and_die) in (0, EXISTS):
                break
            counts["kills"] += 1
        counts["finished"] += check_rerun(run, whole)
    return counts


def kill_at_moments(name: str, num_kills: str) -> dict[str, int]:
    """Kill a command at random moments; run it again."""
    run = RUNS[name]
    started = time.perf_counter()
    whole = whole_output(run)
    seconds = time.perf_counter() - started
    generator = random.Random(0)
    counts = {"kills": 0, "finished": 0}
    while counts["kills"] < int(num_kills):
        begin_again(run)
        process = os.fork()
        if process == 0:
            run()
            os._exit(0)
        time.sleep(generator.uniform(0, seconds))
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
        counts["kills"] += 1
        counts["finished"] += check_rerun(run, whole)
    return counts


def two_writers() -> dict[str, int]:
    """One process trains a run; others are refused until it is killed, and then one goes on."""
    whole = whole_output(train)
    begin_again(train)
    process = os.fork()
    if process == 0:
        # It stops, alive, in the middle of the training; its own fork outlives it.
        with Faults(40, _stop, CALLS):
            train()
        os._exit(1)
    while not (Path("out") / RESUME).exists():
        time.sleep(0.01)
    os.waitpid(process, os.WUNTRACED)
    refused = [run_in_child(train) for _ in range(3)]
    assert refused == [EXISTS] * 3, refused
    assert not ExpertRun(Path("out")).complete
    os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)
    finished = check_rerun(train, whole)
    assert not finished
    return {"refused": len(refused)}


def _stop(faults: Faults, name: str, original: Callable, *args, **options) -> None:
    """The process forks a worker, which lives on for some seconds, and stops."""
    if os.fork() == 0:
        os.closerange(0, 3)
        time.sleep(10)
        os._exit(0)
    os.kill(os.getpid(), signal.SIGSTOP)


RUNS = {"train-expert": train, "learn": learn_labels, "sweep": sweep_cells}
PROGRAMS = {
    function.__name__: function for function in (kills, kill_reruns, kill_at_moments, two_writers)
}


def main() -> None:
    name, folder, *words = sys.argv[1:]
    os.chdir(folder)
    formats.write("few.safetensors", make_bundle(images=12))
    sys.stdout.write(json.dumps(PROGRAMS[name](*words)))


if __name__ == "__main__":
    main()
