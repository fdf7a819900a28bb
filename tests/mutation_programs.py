"""Damage files in processes of their own: `python -m mutation_programs NAME NUMBER FOLDER`.

NAME is one of `artefacts_to_damage.NAMES`. The figures are printed as JSON.
"""

from __future__ import annotations

import json
import resource
import signal
import sys
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import artefacts_to_damage
from injection import run_in_child
from mutations import MAX_SECONDS, Artefact, try_mutants

MAX_MEGABYTES = 512
# One fork for so many: what each takes more than this process is its own.
BLOCK = 500


def peak_kilobytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def with_limit(artefact: Artefact) -> Artefact:
    """The artefact with a reader that ends the process when it hangs, in a library too."""

    def read() -> Any:
        signal.alarm(2 * MAX_SECONDS)
        return artefact.read()

    return artefact._replace(read=read)


def try_block(artefact: Artefact, numbers: range, report: Path) -> None:
    # A fork has the memory of its parent from the beginning.
    before = peak_kilobytes()
    counts, longest = try_mutants(with_limit(artefact), numbers)
    megabytes = (peak_kilobytes() - before) / 1024
    assert megabytes < MAX_MEGABYTES, f"{megabytes} MB for one of the mutants {numbers}"
    report.write_text(json.dumps([counts, longest, megabytes]))


def try_all(name: str, num_mutants: int, folder: Path) -> dict[str, int]:
    artefact = artefacts_to_damage.make(name, folder)
    counts: Counter[str] = Counter()
    longest = 0.0
    most = 0.0
    report = folder / "report.json"
    for start in range(0, num_mutants, BLOCK):
        numbers = range(start, min(start + BLOCK, num_mutants))
        code = run_in_child(partial(try_block, artefact, numbers, report))
        assert code == 0, f"exit code {code} at one of the mutants {numbers}: see {artefact.path}"
        of_block, seconds, megabytes = json.loads(report.read_text())
        counts.update(of_block)
        longest = max(longest, seconds)
        most = max(most, megabytes)
    return {
        "tried": num_mutants,
        **dict(counts),
        "silent": 0,
        "tracebacks": 0,
        "ms at most": round(longest * 1000),
        "MB at most": round(most),
    }


def main() -> None:
    name, num_mutants, folder = sys.argv[1:]
    sys.stdout.write(json.dumps(try_all(name, int(num_mutants), Path(folder))))


if __name__ == "__main__":
    main()
