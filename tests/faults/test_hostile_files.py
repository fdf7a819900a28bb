"""Files of strangers: refused before they take a gibibyte, run code or leave a file elsewhere."""

from __future__ import annotations

import sys

import pytest
from fault_programs import figures_of

# The cases are in `hostile_cases`, which imports torch: a program of its own runs them.


def run(tmp_path, which: str) -> dict[str, int]:
    return figures_of([sys.executable, "-m", "hostile_programs", str(tmp_path), which])


def test_hostile_files_are_refused_before_they_take_a_gibibyte(tmp_path, figure):
    counts = run(tmp_path, "light")
    assert counts["exit 4"] > 10
    assert counts["markers"] == 0
    figure("hostile files", **counts)


@pytest.mark.faults
def test_other_hostile_files_are_refused_before_they_take_a_gibibyte(tmp_path, figure):
    counts = run(tmp_path, "heavy")
    assert counts["exit 4"] > 20
    assert counts["markers"] == 0
    figure("hostile files: the others", **counts)
