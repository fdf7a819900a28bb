"""`compare`: rows, pairs and intervals of the students in results files."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from listener import Listener
from result_files import students, write_results
from scipy import stats

import ddlabel
from ddlabel.commands.compare.observations import display_names, known_values
from ddlabel.core.errors import InvalidInputError, UsageError
from ddlabel.data.record import Record

SOFT = [43.1, 44.0, 42.2, 43.7, 41.9]
DENSE = [56.0, 55.1, 57.2, 56.6, 54.8]


def of(*groups: list[Record]) -> list[Record]:
    """The records of all groups."""
    return [record for group in groups for record in group]


def soft_and_dense() -> list[Record]:
    dense = students(DENSE, bundle="dense.safetensors", labels="dense", global_labels="soft")
    return of(students(SOFT), dense)


def names_of(comparisons) -> list[str]:
    return [row.name for row in comparisons.rows]


class TestRows:
    def test_means_and_intervals_are_scipys(self):
        comparisons = ddlabel.compare(of(students(SOFT)))
        (row,) = comparisons.rows
        low, high = stats.t.interval(0.95, 4, loc=sum(SOFT) / 5, scale=stats.sem(SOFT))
        assert row.accuracy.mean == pytest.approx((low + high) / 2)
        assert row.accuracy.interval == pytest.approx((high - low) / 2)

    def test_by_default_all_that_differs_makes_a_row(self):
        comparisons = ddlabel.compare(soft_and_dense())
        assert comparisons.names == ["bundle", "labels"]
        assert names_of(comparisons) == ["bundle=soft labels=soft", "bundle=dense labels=dense"]

    def test_without_a_difference_the_bundle_is_named(self):
        assert names_of(ddlabel.compare(of(students(SOFT)))) == ["bundle=soft"]

    def test_an_option_without_effect_is_no_difference(self):
        # holdout counts with --select val only.
        two = of(students(SOFT), students(DENSE, loss="kl", holdout=0.3))
        assert ddlabel.compare(two).names == ["loss"]

    def test_numbers_are_sorted_by_size(self):
        groups = [students(SOFT, epochs=epochs) for epochs in (1000, 30, 200)]
        assert names_of(ddlabel.compare(of(*groups))) == ["epochs=30", "epochs=200", "epochs=1000"]

    def test_students_of_one_seed_are_averaged_and_the_rest_named(self):
        adam = students([10, 30], optimizer="adam")
        sgd = students([20, 60, 90], optimizer="sgd")
        comparisons = ddlabel.compare(of(adam, sgd), by="bundle")
        (row,) = comparisons.rows
        assert row.accuracies == {0: pytest.approx(15), 1: pytest.approx(45)}
        assert row.num_dropped == 1
        assert "averaged over optimizer" in comparisons.notes()
        assert any("1 students are left out" in note for note in comparisons.notes())

    def test_averages_need_a_common_seed(self):
        two = of(students(SOFT), students(DENSE, first_seed=9, loss="kl"))
        with pytest.raises(UsageError, match="add to --by some of loss"):
            ddlabel.compare(two, by="bundle")

    def test_what_is_hidden_between_rows_is_noted(self):
        comparisons = ddlabel.compare(soft_and_dense(), by="labels")
        assert "the rows also differ in bundle" in comparisons.notes()

    def test_images_per_class_are_a_name(self):
        ten = students(DENSE, bundle="ten.safetensors", origins={"images": 100})
        comparisons = ddlabel.compare(of(ten, students(SOFT)), by="ipc")
        assert names_of(comparisons) == ["ipc=2", "ipc=10"]

    def test_a_student_that_diverged_has_a_mark(self):
        comparisons = ddlabel.compare(of(students(SOFT, result={"loss": None})))
        assert "*: some students diverged" in comparisons.notes()
        assert " *" in str(comparisons)

    @pytest.mark.parametrize(("number", "expected"), [(1, "no interval"), (2, "12.7"), (3, None)])
    def test_few_students_are_advised_to_be_more(self, number, expected):
        notes = ddlabel.compare(of(students(SOFT[:number]))).notes()
        assert [expected in note for note in notes] == ([True] if expected else [])

    def test_a_choice_on_test_images_is_in_the_title(self):
        comparisons = ddlabel.compare(of(students(SOFT, select="best-on-test")))
        assert "CHOSEN ON TEST IMAGES" in comparisons.title


class TestPairs:
    def test_they_are_scipys_paired_t_tests(self):
        (pair,) = ddlabel.compare(soft_and_dense(), paired=True).pairs
        expected = stats.ttest_rel(DENSE, SOFT)
        low, high = expected.confidence_interval()
        assert pair.comparison.p_value == pytest.approx(expected.pvalue)
        assert pair.comparison.difference.mean == pytest.approx((low + high) / 2)
        assert pair.comparison.difference.interval == pytest.approx((high - low) / 2)

    def test_pairs_are_of_the_same_seed_whatever_the_order(self):
        soft, dense = students(SOFT), students(DENSE, loss="kl")
        comparisons = ddlabel.compare(of(soft, dense[::-1]), paired=True)
        assert comparisons.pairs[0].comparison.difference.mean == pytest.approx(12.96)

    def test_students_without_a_partner_are_left_out(self):
        two = of(students([50, 60]), students([70, 90], first_seed=1, loss="kl"))
        comparisons = ddlabel.compare(two, paired=True)
        (pair,) = comparisons.pairs
        assert pair.comparison.difference.n == 1
        assert pair.comparison.difference.mean == pytest.approx(10)
        assert "without a partner" in " ".join(comparisons.tables()[1].notes)

    def test_rows_without_a_common_seed_have_no_difference(self):
        two = of(students(SOFT), students(DENSE, first_seed=9, loss="kl"))
        comparisons = ddlabel.compare(two, paired=True)
        assert comparisons.pairs[0].comparison is None
        assert comparisons.lines()[-1].endswith("no seed in common")

    def test_every_two_rows_are_paired(self):
        groups = [students(SOFT, loss=loss) for loss in ("ce", "kl", "mse", "gift")]
        assert len(ddlabel.compare(of(*groups), paired=True).pairs) == 6

    def test_a_baseline_is_the_row_that_is_the_same_otherwise(self):
        groups = []
        for number, optimizer in enumerate(("sgd", "adam")):
            groups.append(students([10, 20], optimizer=optimizer))
            better = [11 + number, 21 + number]
            groups.append(students(better, optimizer=optimizer, loss="kl:temperature=20"))
        pairs = ddlabel.compare(of(*groups), baseline="loss=soft-ce").pairs
        assert [pair.comparison.difference.mean for pair in pairs] == pytest.approx([1, 2])
        assert all(pair.second.place["loss"] == "soft-ce" for pair in pairs)
        one = ddlabel.compare(of(*groups), baseline=["loss=soft-ce", "optimizer=sgd"]).pairs
        assert len(one) == 3

    def test_the_only_row_with_the_value_is_the_baseline_of_all(self):
        comparisons = ddlabel.compare(soft_and_dense(), baseline="bundle=soft.safetensors")
        (pair,) = comparisons.pairs
        assert pair.first.place["bundle"] == "dense"

    @pytest.mark.parametrize(
        ("options", "named"),
        [
            ({"by": "bundel"}, "bundle"),
            ({"by": "loss,loss"}, "different"),
            ({"table": "loss"}, "--table"),
            ({"baseline": "soft"}, "NAME=VALUE"),
            ({"baseline": "loss=kl"}, "--by"),
            ({"baseline": "bundle=sofd"}, "did you mean 'soft'"),
            ({"baseline": ["bundle=soft", "bundle=dense"]}, "two values"),
            ({"baseline": "test=test", "by": "test,labels"}, "no other row"),
            ({"paired": True, "by": "test"}, "there is one row, test=test"),
        ],
    )
    def test_what_is_not_there_is_refused(self, options, named):
        with pytest.raises(UsageError, match=named):
            ddlabel.compare(soft_and_dense(), **options)


class TestNames:
    def test_a_record_without_a_name_shows_its_digest(self):
        (record,) = students([50])
        record = replace(record, origins={})
        digest = record.inputs["bundle"]
        assert display_names([record])[digest] == digest[:8]

    def test_one_content_with_two_names_has_both(self):
        first, second = students([50, 60])
        other = first.origins["bundle"] | {"name": "copy.h5"}
        second = replace(second, origins={"bundle": other})
        assert display_names([first, second])[first.inputs["bundle"]] == "copy = soft"

    def test_two_contents_with_one_name_have_the_digest_too(self):
        (first,), (second,) = students([50]), students([60], bundle="other.h5")
        second = replace(second, origins=first.origins)
        shown = {display_names([first, second])[each.inputs["bundle"]] for each in (first, second)}
        expected = {f"soft ({each.inputs['bundle'][:8]})" for each in (first, second)}
        assert shown == expected

    def test_the_name_is_no_part_of_the_key(self, digits):
        quick = {"net": "convnet-d1:width=4", "epochs": 1, "seeds": 1, "precision": "fp32"}
        Path("other.safetensors").write_bytes(Path("few.safetensors").read_bytes())
        keys = set()
        for name in ("few", "other"):
            path = f"{name}.safetensors"
            (record,) = ddlabel.evaluate(path, test="test.safetensors", **quick).records
            assert record.origins["bundle"]["name"] == path
            keys.add(record.key)
        assert len(keys) == 1
        assert record.origins["bundle"]["made_by"][-1].startswith("ddlabel select")

    def test_every_axis_of_a_grid_is_known(self):
        assert {"bundle", "ipc", "labels", "loss", "net", "mix"} <= set(known_values())


class TestFiles:
    def test_a_broken_line_is_named_and_skipped_and_the_file_left_as_it_is(self, tmp_path):
        path = write_results(tmp_path / "r.jsonl", students(SOFT))
        lines = path.read_bytes().splitlines(keepends=True)
        lines[1] = lines[1].replace(b'"accuracy":0.44', b'"accuracy":0.94')
        content = b"".join(lines) + b'{"cost":{"cut o'
        path.write_bytes(content)
        path.chmod(0o444)
        reporter = Listener()
        (row,) = ddlabel.compare(path, reporter=reporter).rows
        assert row.accuracy.n == 4
        assert [note.partition(":")[0] for note in reporter.notes] == [
            f"{path}, line 2",
            f"{path}, line 6",
        ]
        assert path.read_bytes() == content

    def test_several_files_are_read_together_and_students_counted_once(self, tmp_path):
        first = write_results(tmp_path / "a.jsonl", students(SOFT))
        both = write_results(tmp_path / "b.jsonl", students(SOFT), students(DENSE, loss="kl"))
        comparisons = ddlabel.compare([first, str(both)])
        assert [row.accuracy.n for row in comparisons.rows] == [5, 5]

    @pytest.mark.parametrize("text", ["", "hello\n", '{"a": 1}\n', "[" * 100_000])
    def test_a_file_without_records_is_refused(self, tmp_path, text):
        path = tmp_path / "r.jsonl"
        path.write_text(text)
        with pytest.raises(InvalidInputError, match=r"r\.jsonl"):
            ddlabel.compare(path)

    def test_a_folder_a_missing_file_and_another_object_are_refused(self, tmp_path):
        with pytest.raises(InvalidInputError, match="results file"):
            ddlabel.compare(tmp_path)
        with pytest.raises(InvalidInputError, match="no such file"):
            ddlabel.compare(tmp_path / "none.jsonl")
        with pytest.raises(UsageError, match="dict"):
            ddlabel.compare([{}])

    def test_what_evaluate_returns_is_taken_as_it_is(self, digits):
        quick = {"net": "convnet-d1:width=4", "epochs": 1, "seeds": 2, "precision": "fp32"}
        evaluation = ddlabel.evaluate("few.safetensors", test="test.safetensors", **quick)
        (row,) = ddlabel.compare(evaluation).rows
        assert row.accuracy == evaluation.accuracy

    def test_values_of_strange_types_do_no_harm(self):
        strange = students(SOFT, result={"top5": "many", "calibration_error": True})
        for record in strange:
            record.options["loss"] = {"a": [1, None]}
            record.options["net"] = ["x"]
        comparisons = ddlabel.compare(of(strange), by="loss,net")
        assert names_of(comparisons) == ['loss={"a":[1,null]} net=["x"]']
        assert list(comparisons.rows[0].figures) == ["accuracy"]


class TestSweep:
    def cell(self, value: dict, **options) -> Record:
        (student,) = students([50])
        command = {"command": "evaluate"} | options
        return replace(student, kind="cell", options=command, result=value)

    def test_the_students_of_its_cells_are_read(self, digits):
        grid = {
            "command": "evaluate",
            "options": {
                "bundle": "few.safetensors",
                "test": "test.safetensors",
                "net": "convnet-d1:width=4",
                "epochs": 1,
                "seeds": 2,
                "precision": "fp32",
                "out": "students.jsonl",
            },
            "axes": {"optimizer": ["sgd", "adam"]},
        }
        ddlabel.sweep(grid, out="sweep.jsonl")
        from_cells = ddlabel.compare("sweep.jsonl")
        from_students = ddlabel.compare("students.jsonl")
        assert from_cells.names == ["optimizer"]
        assert names_of(from_cells) == names_of(from_students)
        assert [row.accuracies for row in from_cells.rows] == [
            row.accuracies for row in from_students.rows
        ]
        together = ddlabel.compare(["students.jsonl", "sweep.jsonl"])
        assert [row.accuracy.n for row in together.rows] == [2, 2]
        assert "top5" in together.rows[0].figures

    @pytest.mark.parametrize(
        "value",
        [None, [], {"cells": 3}, {"cells": [{"students": 1}]}, {"cells": [{"students": {}}]}],
    )
    def test_a_cell_without_students_is_named(self, value):
        reporter = Listener()
        with pytest.raises(InvalidInputError, match="no students"):
            ddlabel.compare(of([self.cell(value)]), reporter=reporter)
        assert reporter.notes == ["1 cells of evaluate have no students and are left out"]


class TestOutput:
    def test_json_has_rows_and_pairs(self, cli):
        write_results("r.jsonl", students(SOFT), students(DENSE, loss="kl"))
        value = json.loads(cli("compare", "r.jsonl", "--paired", "--json").out)
        assert value["by"] == ["loss"]
        assert value["rows"][1]["accuracy"]["values"] == pytest.approx(DENSE)
        assert value["pairs"][0]["difference"]["mean"] == pytest.approx(12.96 - 0)

    def test_lines_and_tables(self, cli):
        write_results("r.jsonl", students(SOFT), students(DENSE, loss="kl"))
        done = cli("compare", "r.jsonl", "--paired")
        lines = done.out.decode().splitlines()
        assert lines[0].startswith("loss=soft-ce: 42.98 % ± ")
        assert lines[2].startswith("loss=kl − loss=soft-ce: +12.96 ± ")
        assert "paired differences" in " ".join(done.err.decode().split())

    def test_a_crossed_table(self):
        groups = [
            students([10], loss="ce", optimizer="sgd"),
            students([20], loss="ce", optimizer="lion"),
            students([30], loss="kl", optimizer="sgd"),
        ]
        lines = ddlabel.compare(of(*groups), table="loss,optimizer").text("md")
        assert "| ce | 10.00 | 20.00 |" in lines
        assert "| kl | 30.00 | – |" in lines

    @pytest.mark.parametrize("form", ["md", "latex", "csv"])
    def test_hostile_names_stay_text(self, form):
        hostile = "=cmd|'/c'!A0,\n\\input{x}&$%#_^~<script>`.h5"
        comparisons = ddlabel.compare(of(students([50], bundle=hostile)))
        text = "\n".join(comparisons.text(form))
        lines = [line for line in text.splitlines() if "cmd" in line]
        assert len(lines) == 1
        assert "\x00" not in text
        if form == "csv":
            assert lines[0].startswith("\"'=cmd")
        if form == "md":
            assert r"\|'/c'" in lines[0]
            assert r"\<script\>" in lines[0]
        if form == "latex":
            assert r"\textbackslash{}input\{x\}\&\$\%\#\_\textasciicircum{}" in lines[0]
