"""Damaged files of every kind: refused by name, or the same content; never other numbers."""

from __future__ import annotations

import sys

import artefacts_to_damage
import pytest
from artefacts_to_damage import BUNDLES, NAMES
from fault_programs import figures_of
from mutations import try_mutants


@pytest.mark.parametrize("name", NAMES)
def test_a_damaged_file_is_refused_or_holds_the_same(tmp_path, figure, name):
    counts, _ = try_mutants(artefacts_to_damage.make(name, tmp_path), range(200))
    # A mutation that leaves the file readable is rare; results have lines that stay whole.
    assert counts["refused"] + counts["noted"] > 180
    figure(f"{name}: damaged", tried=200, **counts, silent=0)


@pytest.mark.faults
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", NAMES)
def test_thousands_of_damaged_files_are_refused_or_hold_the_same(tmp_path, figure, name):
    """In forks, where a crash, a reader that hangs and the memory of one file are seen."""
    number = 20_000 if name in BUNDLES else 10_000
    command = [sys.executable, "-m", "mutation_programs", name, str(number), str(tmp_path)]
    figure(f"{name}: damaged", **figures_of(command))
