"""Cells and evaluations made of records by hand: summaries, tables and lines."""

from __future__ import annotations

import io
import json

import pytest
from rich.console import Console

from ddlabel.commands.evaluate.cell import Cell
from ddlabel.commands.evaluate.evaluation import Evaluation
from ddlabel.commands.evaluate.tables import table_axes, varying_axes
from ddlabel.core.config import EvaluateOptions
from ddlabel.core.errors import UsageError
from ddlabel.data.record import Record


def student(accuracy: float, **figures) -> Record:
    return Record(
        kind="student",
        key="0" * 64,
        version="0",
        inputs={},
        options={"seed": 0},
        result={"accuracy": accuracy, "loss": 0.5} | figures,
        cost={},
    )


def cell(*accuracies: float, against: Cell | None = None, **options) -> Cell:
    return Cell(
        options=EvaluateOptions(labels="soft", **options),
        records=[student(accuracy) for accuracy in accuracies],
        against=against,
    )


def grid() -> Evaluation:
    cells = [
        cell(0.1, 0.2, loss="ce", optimizer="adam"),
        cell(0.3, 0.4, loss="ce", optimizer="sgd:lr=0.1"),
        cell(0.5, 0.6, loss="kl", optimizer="adam"),
        cell(0.7, 0.8, loss="kl", optimizer="sgd:lr=0.1"),
    ]
    return Evaluation(cells=cells, axes=["loss", "optimizer"])


class TestCell:
    def test_accuracy_is_summarised_in_per_cent(self):
        accuracy = cell(0.4, 0.5).accuracy
        assert accuracy.mean == pytest.approx(45)
        # t(0.975, 1) = 12.706, and the standard error of 40 and 50 is 5.
        assert accuracy.interval == pytest.approx(12.706 * 5, rel=1e-4)

    def test_figures_that_a_student_lacks_are_left_out(self):
        students = [
            student(0.5, calibration_error=0.1, top5=0.9),
            student(0.5, calibration_error=None, top5=0.9),
        ]
        assert Cell(options=EvaluateOptions(), records=students).figures == ["accuracy", "top5"]

    def test_students_that_diverged_are_counted(self):
        class_incremental = student(0.5)
        del class_incremental.result["loss"]
        students = [student(0.5, loss=None), student(0.5), class_incremental]
        assert Cell(options=EvaluateOptions(), records=students).num_diverged == 1

    def test_comparison_is_paired_by_seed(self):
        comparison = cell(0.4, 0.6, against=cell(0.3, 0.5)).comparison
        assert comparison.difference.mean == pytest.approx(10)
        assert comparison.p_value is None
        assert cell(0.4).comparison is None

    def test_scores_are_of_fractions(self):
        own = cell(0.4, 0.6)
        with_control = Cell(
            options=own.options, records=own.records, controls={"random": cell(0.3, 0.3)}
        )
        assert with_control.scores["IOR"].mean == pytest.approx(0.2)
        assert own.scores == {}


class TestEvaluation:
    def test_accuracy_is_that_of_the_only_cell(self):
        assert Evaluation(cells=[cell(0.4, 0.5)]).accuracy.mean == pytest.approx(45)

    def test_accuracy_of_several_cells_is_refused(self):
        with pytest.raises(UsageError, match="cells"):
            _ = grid().accuracy

    def test_records_are_those_of_the_cells_in_their_order(self):
        records = grid().records
        assert [record.result["accuracy"] for record in records][:3] == [0.1, 0.2, 0.3]
        assert len(records) == 8

    def test_json_is_the_value(self):
        assert json.loads(grid().to_json()) == grid().value()

    def test_text_is_the_table_without_colours(self):
        evaluation = grid()
        file = io.StringIO()
        Console(file=file, width=120, color_system=None).print(evaluation.table())
        assert str(evaluation) == file.getvalue().rstrip("\n")
        assert "\x1b" not in str(evaluation)

    def test_repr_is_short(self):
        assert repr(grid()) == "<Evaluation: 4 cells, 8 students>"


class TestTable:
    def test_places_rows_and_columns_have_their_means(self):
        rows = [line.split() for line in str(grid()).splitlines()]
        shown = {words[1]: words for words in rows if len(words) > 2 and words[0] == "│"}
        assert "15.00" in shown["ce"]
        assert "35.00" in shown["ce"]
        assert "25.00" in shown["ce"]  # mean of 15 and 35
        assert "35.00" in shown["mean"]  # mean of 15 and 55
        assert "45.00" in shown["mean"]  # mean of all

    def test_axes_that_are_not_shown_are_averaged_and_named(self):
        cells = grid().cells
        text = str(Evaluation(cells=cells, axes=["loss", "mix"]))
        assert "averaged over optimizer" in " ".join(text.split())
        assert "25.00" in text

    def test_lines_say_where_a_cell_is(self):
        lines = grid().lines()
        assert lines[0].startswith("loss=ce optimizer=adam: 15.00 %")
        assert len(lines) == 4

    def test_a_selection_on_test_images_is_in_table_and_line(self):
        evaluation = Evaluation(cells=[cell(0.4, 0.5, select="best-on-test")])
        assert "CHOSEN ON TEST IMAGES" in " ".join(str(evaluation).split())
        assert "best on test" in evaluation.lines()[0]

    def test_a_student_that_diverged_is_in_table_and_line(self):
        options = EvaluateOptions(labels="soft")
        diverged = Cell(options=options, records=[student(0.1, loss=None), student(0.2)])
        evaluation = Evaluation(cells=[diverged])
        assert "1 diverged" in evaluation.lines()[0]
        assert "diverged" in str(evaluation)


class TestAxes:
    @staticmethod
    def configs(**options) -> list[EvaluateOptions]:
        return EvaluateOptions.load("evaluate", None, options)

    def test_those_with_the_most_values_come_first(self):
        configs = self.configs(loss=["ce", "kl"], optimizer=["adam", "lion", "sgd:lr=1"])
        assert table_axes(configs) == ["optimizer", "loss"]
        assert varying_axes(configs) == ["loss", "optimizer"]

    def test_a_single_cell_has_none(self):
        assert table_axes(self.configs(loss=["ce"])) == []

    def test_the_option_names_rows_and_columns(self):
        assert table_axes(self.configs(table="net, loss")) == ["net", "loss"]

    @pytest.mark.parametrize("table", ["loss", "loss,loss", "loss,optimiser", "loss,net,mix"])
    def test_anything_but_two_axes_is_refused(self, table):
        with pytest.raises(UsageError, match="--table"):
            table_axes(self.configs(table=table))
