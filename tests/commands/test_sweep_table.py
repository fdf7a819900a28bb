"""The table with which a sweep ends."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from grids import EVALUATE, RELABEL, write_grid
from record_samples import cell

from ddlabel.commands.sweep import sweep
from ddlabel.commands.sweep.table import table_of_cells
from ddlabel.data.record import Record


def finished(result: Any, **options: Any) -> Record:
    return replace(cell(), options={"command": "train-expert"} | options, result=result)


def test_cells_of_evaluate_are_crossed_by_the_two_options_that_differ(digits):
    table = sweep(EVALUATE).table()
    assert list(table.heads) == ["optimizer \\ batch-size", "10", "20"]
    assert [row[0] for row in table.rows] == ["sgd", "adamw"]


def test_the_means_are_those_of_the_results(digits):
    result = sweep(EVALUATE)
    table = result.table()
    means = [record.result["cells"][0]["percent"]["mean"] for record in result.records]
    # The interval behind the mean is `± 1.2`, or its ends where 0 or 100 % cuts it.
    shown = [text.split(" ")[0] for row in table.rows for text in row[1:]]
    assert shown == [f"{mean:.2f}" for mean in means]


def test_cells_of_other_commands_have_a_row_each_with_their_figures():
    checkpoints = [{"epoch": 1.0, "loss": 2.0}, {"epoch": 2.0, "loss": 1.25, "digest": "x"}]
    records = [
        finished({"out": "run-1", "checkpoints": checkpoints}, epochs=2, net="a", out="run-1"),
        finished([1, 2], epochs=2, net=["b", "c"], out="run-2"),
    ]
    table = table_of_cells(records)
    assert list(table.heads) == ["net", "out", "epoch", "loss", "seconds"]
    assert [list(row) for row in table.rows] == [
        ["a", "run-1", "2", "1.25", "2"],
        ["b c", "run-2", "–", "–", "2"],
    ]


def test_without_cells_there_is_none():
    assert table_of_cells([]) is None


@pytest.mark.parametrize(
    ("grid", "expected"), [(EVALUATE, "optimizer \\ batch-size"), (RELABEL, "2 cells of relabel")]
)
def test_the_command_line_shows_it(cli, digits, grid, expected):
    done = cli("sweep", write_grid(grid), "--out", "s.jsonl")
    assert expected in done.err.decode()
    assert done.out == b"s.jsonl\n"
