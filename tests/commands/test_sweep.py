"""`sweep`: cells of any command, what a rerun runs, and shards."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from grids import EVALUATE, RELABEL, changed
from listener import Listener
from samples import FIXTURES, records

from ddlabel.commands.sweep import sweep
from ddlabel.core.errors import InvalidInputError, OutputExistsError, SweepError, UsageError
from ddlabel.data import formats
from ddlabel.data.expert_run import ExpertRun

OUT = Path("sweep.jsonl")


def places():
    return [(r["options"]["optimizer"], r["options"]["batch_size"]) for r in records(OUT)]


class TestCells:
    def test_give_what_the_command_gives(self, cli, digits):
        result = sweep(EVALUATE)
        assert places() == [("sgd", 10), ("sgd", 20), ("adamw", 10), ("adamw", 20)]
        words = [f"--{name}={value}" for name, value in EVALUATE["options"].items()][1:]
        words += ["--optimizer=adamw", "--batch-size=10", "--json"]
        by_hand = json.loads(cli("evaluate", "few.safetensors", *words).out)
        assert result.records[2].result == by_hand

    def test_are_returned_with_the_counts(self, digits):
        result = sweep(EVALUATE)
        assert result.value() == {"out": "sweep.jsonl", "cells": 4, "ran": 4, "failed": 0}
        assert [record.key for record in result.records] == [r["key"] for r in records(OUT)]
        assert result.failures == {}

    def test_make_the_files_that_the_command_makes(self, cli, digits):
        sweep(RELABEL)
        experts = ["--expert", "expert@1", "--expert", "expert@2"]
        cli("relabel", "few.safetensors", "hand.safetensors", *experts)
        assert Path("soft-1.safetensors").read_bytes() == Path("hand.safetensors").read_bytes()
        assert formats.read_header("soft-2.5.safetensors").soft.temperature == 2.5

    @pytest.mark.parametrize(
        ("command", "options", "axes"),
        [
            ("import", {"sources": ["a.npz"], "out": "{split}.h5"}, {"split": ["train", "test"]}),
            ("select", {"bundle": "real.safetensors", "out": "{ipc}.h5"}, {"ipc": [1, 2]}),
            (
                "train-expert",
                {
                    "real": "few.safetensors",
                    "net": "convnet-d1:width=4",
                    "epochs": 1,
                    "precision": "fp32",
                    "out": "run-{zca}",
                },
                {"zca": [False, True]},
            ),
            (
                "edit",
                {"bundle": "real.safetensors", "out": "no-{without_class}.h5"},
                {"without_class": [3, 4]},
            ),
        ],
        ids=["import", "select", "train-expert", "edit"],
    )
    def test_are_of_any_command_that_makes_files(self, digits, command, options, axes):
        Path("a.npz").write_bytes((FIXTURES / "digits.npz").read_bytes())
        sweep({"command": command, "options": options, "axes": axes})
        outs = [Path(record["options"]["out"]) for record in records(OUT)]
        assert len(outs) == 2
        assert all(out.exists() for out in outs)

    def test_are_of_commands_without_files_too(self, digits):
        sweep({"command": "info", "axes": {"path": ["few.safetensors", "real.safetensors"]}})
        shapes = [record["result"]["shapes"]["images"][0] for record in records(OUT)]
        assert shapes == [20, 120]
        out = "lists.jsonl"
        result = sweep({"command": "list", "axes": {"kind": ["codecs", "protocols"]}}, out=out)
        assert "float16" in [entry["name"] for entry in result.records[0].result]
        assert "gift" in result.records[1].result


class TestReruns:
    def test_run_nothing_when_all_is_finished(self, digits):
        sweep(EVALUATE)
        content = OUT.read_bytes()
        result = sweep(EVALUATE)
        assert result.value() == {"out": "sweep.jsonl", "cells": 4, "ran": 0, "failed": 0}
        assert len(result.records) == 4
        assert OUT.read_bytes() == content

    def test_run_the_cells_that_were_added_or_cut_off(self, digits):
        sweep(EVALUATE)
        OUT.write_bytes(OUT.read_bytes()[:-20])
        listener = Listener()
        result = sweep(changed(EVALUATE, axes={"batch-size": [10, 20, 5]}), reporter=listener)
        assert result.num_run == 3
        assert any("sweep.jsonl" in note and "cut off" in note for note in listener.notes)
        added = [("sgd", 5), ("adamw", 20), ("adamw", 5)]
        assert places() == [("sgd", 10), ("sgd", 20), ("adamw", 10), *added]

    def test_know_a_bundle_by_its_content(self, cli, digits):
        sweep(EVALUATE)
        Path("few.safetensors").rename("moved.safetensors")
        moved = changed(EVALUATE, options={"bundle": "moved.safetensors"})
        assert sweep(moved).num_run == 0
        cli("select", "real.safetensors", "moved.safetensors", "--ipc", 1, "--force")
        assert sweep(moved).num_run == 4

    def test_see_that_an_expert_has_changed(self, digits):
        sweep(RELABEL)
        run = ExpertRun(Path("expert"))
        run.save_metrics([record | {"sha256": "0" * 64} for record in run.metrics()])
        for path in Path().glob("soft-*"):
            path.unlink()
        with pytest.raises(SweepError) as failed:
            sweep(RELABEL)
        errors = failed.value.result.failures
        assert list(errors) == ["temperature=1", "temperature=2.5"]
        assert all("sha256" in error for error in errors.values())

    def test_make_a_deleted_output_again(self, digits):
        sweep(RELABEL)
        made = Path("soft-1.safetensors").read_bytes()
        Path("soft-1.safetensors").unlink()
        assert sweep(RELABEL).num_run == 1
        assert Path("soft-1.safetensors").read_bytes() == made

    def test_replace_an_output_of_another_command_only_with_force(self, digits):
        other = changed(RELABEL, options={"expert": "expert@2"})
        sweep(other)
        OUT.unlink()
        made = Path("soft-1.safetensors").stat().st_mtime_ns
        with pytest.raises(SweepError) as failed:
            sweep(RELABEL)
        errors = failed.value.result.failures.values()
        assert len(errors) == 2
        assert all("force = true" in error and "--force" not in error for error in errors)
        assert Path("soft-1.safetensors").stat().st_mtime_ns == made
        assert sweep(changed(RELABEL, options={"force": True})).num_run == 2
        assert sweep(RELABEL).num_run == 0

    def test_run_no_cell_that_another_process_has_finished_meanwhile(self, digits):
        sweep(EVALUATE)
        lines = OUT.read_bytes().splitlines(keepends=True)
        OUT.unlink()

        class Neighbour(Listener):
            def note(self, text: str) -> None:
                super().note(text)
                if "cell 1 of 4" in text:
                    # The first one is being run by both, the second one by the other alone.
                    OUT.write_bytes(b"".join(lines[:2]))

        result = sweep(EVALUATE, reporter=Neighbour())
        assert result.num_run == 3
        assert len(result.records) == 4
        assert [record["key"] for record in records(OUT)] == [
            record.key for record in result.records
        ]

    def test_try_the_failed_cells_again(self, digits):
        grid = changed(EVALUATE, axes={"optimizer": ["sgd", "adamw:lr=-1"]})
        listener = Listener()
        with pytest.raises(SweepError) as failed:
            sweep(grid, reporter=listener)
        assert [(r["options"]["optimizer"]) for r in records(OUT)] == ["sgd", "sgd"]
        assert failed.value.result.value()["failed"] == 2
        assert [warning.split(" failed:")[0] for warning in listener.warnings] == [
            "cell 3 of 4: optimizer=adamw:lr=-1 batch_size=10",
            "cell 4 of 4: optimizer=adamw:lr=-1 batch_size=20",
        ]
        with pytest.raises(SweepError) as failed_again:
            sweep(grid)
        assert failed_again.value.result.num_run == 2


class TestShards:
    def test_are_disjoint_and_complete(self, digits):
        num_run = [sweep(EVALUATE, shard=f"{number}/3").num_run for number in (1, 2, 3)]
        assert num_run == [2, 1, 1]
        assert len({record["key"] for record in records(OUT)}) == 4
        assert sweep(EVALUATE).num_run == 0

    @pytest.mark.parametrize("shard", ["0/2", "3/2", "1", "a/b", "1/0", "-1/2", "1/2/3"])
    def test_out_of_range_are_refused(self, shard):
        with pytest.raises(UsageError, match="--shard"):
            sweep(EVALUATE, shard=shard)


class TestRefusals:
    def test_of_a_cell_come_before_any_cell_is_run(self, digits):
        with pytest.raises(UsageError, match="--batch-size"):
            sweep(changed(EVALUATE, axes={"batch-size": [10, -20]}))
        assert not OUT.exists()

    def test_of_results_files(self, digits):
        with pytest.raises(UsageError, match=r"\.jsonl"):
            sweep(EVALUATE, out="sweep.csv")
        Path("folder.jsonl").mkdir()
        with pytest.raises(OutputExistsError, match="folder"):
            sweep(EVALUATE, out="folder.jsonl")
        OUT.write_text('{"result": {"accuracy": 0.5}}\n')
        with pytest.raises(InvalidInputError, match="line 1"):
            sweep(EVALUATE)

    def test_of_the_results_of_students(self, digits):
        sweep(changed(EVALUATE, options={"out": "own.jsonl"}, axes={"batch-size": [10]}))
        with pytest.raises(InvalidInputError, match=r"own\.jsonl"):
            sweep(EVALUATE, out="own.jsonl")
