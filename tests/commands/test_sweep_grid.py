"""Grids of sweeps: how they are read, their cells, and what is refused before any is run."""

from __future__ import annotations

from pathlib import Path

import pytest
from grids import EVALUATE, RELABEL, changed, without, write_grid
from samples import make_bundle, records

from ddlabel.commands.sweep.grid import Grid
from ddlabel.core.errors import InvalidInputError, UsageError
from ddlabel.data import formats
from ddlabel.data.expert_run import ExpertRun


def cells_of(grid):
    return Grid.of(grid).cells()


def keys_of(grid):
    return [cell.key for cell in cells_of(grid)]


class TestCells:
    def test_are_the_product_of_the_axes_and_the_last_axis_changes_fastest(self):
        cells = cells_of(EVALUATE)
        assert [cell.place for cell in cells] == [
            "optimizer=sgd batch_size=10",
            "optimizer=sgd batch_size=20",
            "optimizer=adamw batch_size=10",
            "optimizer=adamw batch_size=20",
        ]
        assert cells[2].given["batch_size"] == 10
        assert cells[2].given["net"] == "convnet-d1:width=4"
        assert len({cell.key for cell in cells}) == 4

    def test_are_the_same_from_a_file_and_from_a_dict(self, cli):
        from_file = cells_of(write_grid(EVALUATE))
        assert from_file == cells_of(EVALUATE)
        assert from_file == cells_of(Path("grid.toml"))

    def test_dashes_and_underscores_in_names_are_the_same(self):
        axes = {"optimizer": ["sgd", "adamw"], "batch_size": [10, 20]}
        assert cells_of({**EVALUATE, "axes": axes}) == cells_of(EVALUATE)

    def test_of_one_key_are_one_cell(self):
        assert len(cells_of(changed(EVALUATE, axes={"optimizer": ["sgd", "sgd"]}))) == 2

    def test_a_grid_without_axes_has_one_cell(self):
        grid = {"command": "info", "options": {"path": "few.safetensors"}}
        (cell,) = cells_of(grid)
        assert cell.place == ""

    def test_paths_of_python_are_text(self):
        grid = changed(RELABEL, options={"bundle": Path("few.safetensors")})
        assert cells_of(grid) == cells_of(RELABEL)

    def test_a_list_is_one_value_of_an_axis_of_lists(self):
        grid = without(RELABEL, "options", "expert")
        axes = {"temperature": [1], "expert": [["a@1", "a@2"], "b"]}
        out = {"out": "{temperature}-{expert}.h5"}
        cells = cells_of({**changed(grid, options=out), "axes": axes})
        assert [cell.out for cell in cells] == [Path("1-a@1+a@2.h5"), Path("1-b.h5")]


class TestOutputs:
    def test_placeholders_are_filled_in_and_slashes_replaced(self):
        grid = changed(
            RELABEL, options={"bundle": "data/few.h5", "out": "{bundle}-{temperature}.h5"}
        )
        assert [cell.out for cell in cells_of(grid)] == [
            Path("data-few.h5-1.h5"),
            Path("data-few.h5-2.5.h5"),
        ]

    def test_the_folder_of_an_expert_is_an_output_and_a_results_file_is_not(self):
        options = {"real": "real.h5", "out": "run-{epochs}"}
        grid = {"command": "train-expert", "options": options, "axes": {"epochs": [1, 2]}}
        assert [cell.out for cell in cells_of(grid)] == [Path("run-1"), Path("run-2")]
        shared = changed(EVALUATE, options={"out": "results.jsonl"})
        assert {cell.out for cell in cells_of(shared)} == {None}


class TestKeys:
    def test_depend_on_the_content_of_a_bundle_and_not_on_its_name(self, cli):
        for name, seed in (("a.h5", 0), ("b.safetensors", 0), ("c.h5", 1)):
            formats.write(name, make_bundle(seed=seed))
        a, b, c = (
            keys_of(changed(EVALUATE, options={"bundle": name}))
            for name in ("a.h5", "b.safetensors", "c.h5")
        )
        assert a == b
        assert not set(a) & set(c)

    def test_depend_on_the_checkpoints_of_an_expert(self, digits):
        before = cells_of(RELABEL)
        run = ExpertRun(Path("expert"))
        run.save_metrics([record | {"sha256": "0" * 64} for record in run.metrics()])
        after = cells_of(RELABEL)
        assert before[0].inputs["expert"] != after[0].inputs["expert"]
        assert before[0].inputs["bundle"] == after[0].inputs["bundle"]
        assert before[0].key != after[0].key

    def test_do_not_depend_on_how_the_work_is_done(self):
        for execution in ({"device": "cpu"}, {"compile": "off"}, {"stack": 2}):
            assert keys_of(changed(EVALUATE, options=execution)) == keys_of(EVALUATE)
        assert keys_of(changed(RELABEL, options={"force": True})) == keys_of(RELABEL)

    def test_depend_on_how_the_work_is_done_where_that_is_an_axis(self):
        assert len(set(keys_of(changed(EVALUATE, axes={"compile": ["on", "off"]})))) == 8


class TestRefusals:
    @pytest.mark.parametrize(
        ("grid", "named"),
        [
            (changed(EVALUATE, command="evalute"), "evaluate"),
            (changed(EVALUATE, command="sweep"), "sweep"),
            (changed(EVALUATE, command="demo"), "demo"),
            ({"comand": "evaluate"}, "comand"),
            ({**EVALUATE, "axis": {}}, "axis"),
            ({**EVALUATE, "options": 3}, "options"),
            (changed(EVALUATE, options={"epoch": 2}), "epochs"),
            (changed(EVALUATE, options={"epochs": 0}), "--epochs"),
            (changed(EVALUATE, options={"epochs": 2.5}), "epochs"),
            (changed(EVALUATE, options={"epochs": True}), "epochs"),
            (changed(EVALUATE, options={"epochs": [1, 2]}), "epochs"),
            (changed(EVALUATE, options={"optimizer": "sgd"}), "optimizer"),
            (changed(EVALUATE, axes={"batch-size": 10}), "batch_size"),
            (changed(EVALUATE, axes={"batch-size": []}), "batch_size"),
            (changed(EVALUATE, axes={"batch-size": [10, -20]}), "--batch-size"),
            (changed(EVALUATE, options={"bundle": "-"}), "standard input"),
            (changed(EVALUATE, options={"bundle": make_bundle()}), "bundle"),
            (changed(EVALUATE, options={"out": "{epoch}.jsonl"}), "epoch"),
            (changed(EVALUATE, options={"out": "{.jsonl"}), "out"),
            (changed(RELABEL, options={"out": "soft-{bundle}.h5"}), "soft-few"),
            (without(RELABEL, "options", "out"), "out"),
            (without(RELABEL, "options", "bundle"), "bundle"),
        ],
    )
    def test_of_grids_and_cells_that_cannot_be_run(self, grid, named):
        with pytest.raises(UsageError, match=named):
            cells_of(grid)

    def test_of_a_file_that_is_no_toml(self, tmp_path):
        (tmp_path / "grid.toml").write_text("[axes")
        for name in ("grid.toml", "missing.toml"):
            with pytest.raises(InvalidInputError, match=name):
                Grid.of(tmp_path / name)


def test_inputs_and_options_are_in_the_record(digits):
    from ddlabel.commands.sweep import sweep

    sweep(changed(RELABEL, axes={"temperature": [2.5]}))
    (record,) = records(Path("sweep.jsonl"))
    assert record["kind"] == "cell"
    assert record["options"]["command"] == "relabel"
    assert record["options"]["out"] == "soft-2.5.safetensors"
    assert record["inputs"]["bundle"] == formats.read_header("few.safetensors").digest
    assert record["result"]["out"] == "soft-2.5.safetensors"
    assert record["cost"]["seconds"] > 0
