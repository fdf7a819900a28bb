"""Run command lines on hostile files, each in a fork: `python -m hostile_programs FOLDER WHICH`.

WHICH is `light` or `heavy`: the files of every run, or those of the full suite.

Every fork may take 1 GiB more than this process. The figures are printed as JSON.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import sys
import time
from pathlib import Path

# Imported before the forks, so that each of them starts at once.
import h5py  # noqa: F401
import pyarrow.parquet  # noqa: F401
import safetensors.torch  # noqa: F401
import torchvision  # noqa: F401
from hostile_cases import CASES, HEAVY, Case

from ddlabel.cli.app import main as run_command_line
from ddlabel.commands.command import MODULES, load_command

GIB = 1 << 30
MAX_SECONDS = 20


def run_case(folder: Path, case: Case) -> None:
    """In a fork: make the file, and run the command line on it under a limit of memory."""
    words = [str(word) for word in case.make(folder)]
    os.chdir(folder)
    with (folder / "printed").open("wb") as printed:
        os.dup2(printed.fileno(), 1)
        os.dup2(printed.fileno(), 2)
    # Memory of its own: files that are mapped, which the system can write back, do not count.
    pages = int(Path("/proc/self/statm").read_text().split()[5])
    limit = pages * resource.getpagesize() + GIB
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begin = time.perf_counter()
    sys.argv = ["ddlabel", *words]
    try:
        run_command_line()
    finally:
        seconds = time.perf_counter() - begin
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak
        (folder / "figures").write_text(json.dumps([seconds, grown / 1024]))


def run_in_fork(folder: Path, case: Case) -> tuple[int, str, float, float]:
    """Return the exit code, what was printed, the seconds, and the megabytes that were taken."""
    process = os.fork()
    if process == 0:
        code = 99
        try:
            run_case(folder, case)
        except SystemExit as left:
            code = int(left.code or 0)
        except BaseException:
            sys.excepthook(*sys.exc_info())
            sys.stderr.flush()
        os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    printed = (folder / "printed").read_text()
    # A process that was killed has written none.
    figures = folder / "figures"
    seconds, megabytes = json.loads(figures.read_text()) if figures.exists() else (0, 0)
    return code, printed, seconds, megabytes


def try_all(folder: Path, names: list[str]) -> tuple[dict[str, int], list[str]]:
    """Run cases; return their figures, and a sentence for each that ended in another way."""
    counts = {"tried": 0, "exit 4": 0, "exit 3": 0, "markers": 0}
    longest = 0.0
    most = 0.0
    wrong = []
    for name in names:
        case = CASES[name]
        place = folder / "case"
        (place / "work").mkdir(parents=True)
        code, printed, seconds, megabytes = run_in_fork(place / "work", case)
        lines = printed.splitlines()
        is_one_error = [line for line in lines if line.startswith("error: ")] == lines[-1:]
        if code != case.exit_code or not is_one_error or seconds > MAX_SECONDS:
            wrong.append(f"{name}: exit {code} after {seconds:.1f} s: {printed[-1500:]}")
        if any(place.rglob("marker*")):
            counts["markers"] += 1
            wrong.append(f"{name}: the marker is there")
        counts["tried"] += 1
        counts[f"exit {code}"] = counts.get(f"exit {code}", 0) + 1
        longest = max(longest, seconds)
        most = max(most, megabytes)
        shutil.rmtree(place)
    return counts | {"MB at most": round(most), "s at most": round(longest)}, wrong


def main() -> None:
    folder, which = sys.argv[1:]
    names = [name for name in CASES if (name in HEAVY) == (which == "heavy")]
    for command in MODULES:
        load_command(command)
    figures, wrong = try_all(Path(folder), names)
    if wrong:
        sys.exit("\n".join(wrong))
    sys.stdout.write(json.dumps(figures))


if __name__ == "__main__":
    main()
