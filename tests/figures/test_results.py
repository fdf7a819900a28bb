"""Tables behind the figures of results, against numbers worked by hand."""

from __future__ import annotations

import numpy as np
import pytest
from figure_tables import column

from ddlabel.core.errors import IncompatibleError, InvalidInputError
from ddlabel.figures.comparisons import accuracy_table, table_over, whiskers
from ddlabel.figures.diagnostics import (
    confusion,
    confusion_table,
    curve_table,
    reliability,
    reliability_table,
)
from ddlabel.figures.scaling import fit_law, pareto_table, scaling_table
from ddlabel.figures.students import Student, series_of
from ddlabel.figures.style import drawn, short_number


def student(accuracy: float = 0.5, *, bundle: str = "a", **values) -> Student:
    """A student; numbers are those of its bundle, texts its settings, and `result` its figures."""
    result = values.pop("result", {})
    numbers = {name: value for name, value in values.items() if not isinstance(value, str)}
    settings = {name: value for name, value in values.items() if isinstance(value, str)}
    return Student(
        accuracy=accuracy, bundle=bundle, settings=settings, numbers=numbers, result=result
    )


class TestSeries:
    def test_names_have_only_what_tells_the_groups_apart(self):
        students = [
            student(labels="hard", loss="kl", bundle="few", net="a"),
            student(labels="hard", loss="kl", bundle="few", net="a"),
            student(labels="soft", loss="kl", bundle="soft", net="a"),
        ]
        groups = series_of(students)
        assert [(group.name, len(group.students)) for group in groups] == [("hard", 2), ("soft", 1)]

    def test_a_name_that_later_ones_make_superfluous_is_left_out(self):
        places = [("x", 5.48936), ("x", 5.48936), ("y", 6.0), ("z", 5.48936)]
        groups = series_of([student(bundle=bundle, epoch=epoch) for bundle, epoch in places])
        assert [group.name for group in groups] == ["x", "y", "z"]

    def test_epochs_are_rounded_where_the_names_stay_different(self):
        def names(*epochs):
            return [group.name for group in series_of([student(epoch=each) for each in epochs])]

        assert names(5.48936, 6.0) == ["epoch=5.49", "epoch=6"]
        assert names(5.481, 5.482) == ["epoch=5.481", "epoch=5.482"]

    def test_equal_settings_of_two_bundles_are_told_apart_by_the_bundle(self):
        groups = series_of([student(labels="soft", bundle=name) for name in ("x", "y")])
        assert [group.name for group in groups] == ["x", "y"]

    def test_a_setting_that_follows_from_the_axis_makes_no_group(self):
        students = [
            student(labels=labels, batch_size=size, ipc=ipc, bundle=f"{labels}{ipc}")
            for labels in ("hard", "soft")
            for ipc, size in ((1.0, "10"), (5.0, "50"))
        ]
        assert [group.name for group in series_of(students, axes=["ipc"])] == ["hard", "soft"]
        assert series_of(students)[0].name == "hard, ipc=1"

    def test_labels_make_groups_although_every_point_of_an_axis_has_one_kind(self):
        students = [
            student(labels="hard", bytes=10.0, bundle="x"),
            student(labels="soft", bytes=12.0, epoch=3.0, bundle="y"),
        ]
        assert [group.name for group in series_of(students, axes=["bytes"])] == ["hard", "soft"]

    def test_other_settings_have_their_names(self):
        groups = series_of([student(optimizer=name, ipc=1.0) for name in ("sgd", "adam")])
        assert [group.name for group in groups] == ["optimizer=sgd", "optimizer=adam"]
        assert series_of([student()])[0].name == "all students"


def test_accuracies_are_mean_deviation_and_interval_in_per_cent():
    table = accuracy_table([student(accuracy) for accuracy in (0.5, 0.52, 0.54)])
    (row,) = table.rows
    # The 97.5 % quantile of Student's t with 2 degrees of freedom is 4.3027.
    expected = [3, 52.0, 2.0, 4.302652729911275 * 2 / np.sqrt(3)]
    assert row[0] == "all students"
    assert row[1:] == pytest.approx(expected)


class TestOverNumbers:
    def test_students_are_averaged_at_every_place(self):
        students = [
            student(0.6, gamma=0.1, labels="soft", bundle="x"),
            student(0.4, gamma=0.0, labels="soft", bundle="y"),
            student(0.5, gamma=0.0, labels="soft", bundle="y"),
        ]
        table = table_over(students, ["gamma"], "gamma")
        assert column(table, "gamma") == [0.0, 0.1]
        assert column(table, "accuracy_percent") == pytest.approx([45, 60])

    def test_two_bundles_at_one_place_are_refused(self):
        students = [student(gamma=0.1, bundle=name) for name in ("x", "y")]
        with pytest.raises(IncompatibleError, match="x and y both have gamma"):
            table_over(students, ["gamma"], "gamma")

    def test_without_the_numbers_it_says_what_to_do(self):
        with pytest.raises(IncompatibleError, match="no record has gamma"):
            table_over([student(ipc=1.0)], ["gamma"], "gamma")


class TestScaling:
    @staticmethod
    def of_law(factor: float, ipc, scale: float = 29.9, exponent: float = 0.077):
        budgets = np.array(ipc, float)
        return budgets, (factor * budgets / scale) ** exponent - 0.8

    def test_the_papers_law_is_found_again(self):
        ipc = (1, 10, 50, 100, 200)
        law = fit_law({"hard": self.of_law(1, ipc), "soft": self.of_law(6.04, ipc)})
        assert law.factors["hard"] == 1
        assert law.factors["soft"] == pytest.approx(6.04, rel=1e-3)
        assert law.exponent == pytest.approx(0.077, rel=1e-2)
        np.testing.assert_allclose(law.accuracy("soft", ipc), self.of_law(6.04, ipc)[1], atol=1e-6)

    def test_with_few_budgets_exponent_and_offset_are_the_papers(self):
        law = fit_law({"hard": self.of_law(1, (1, 10)), "soft": self.of_law(3, (1, 10))})
        assert (law.exponent, law.offset) == (0.077, 0.8)
        assert law.scale == pytest.approx(29.9, rel=1e-4)
        assert law.factors["soft"] == pytest.approx(3, rel=1e-4)

    def test_one_budget_is_refused(self):
        with pytest.raises(IncompatibleError, match="one number of images per class"):
            scaling_table([student(ipc=1.0), student(ipc=1.0)])

    def test_the_table_has_data_and_fit(self):
        students = []
        for ipc, accuracy in zip(*self.of_law(1, (1, 10)), strict=True):
            students.append(student(float(accuracy), ipc=float(ipc), bundle=f"b{ipc}"))
        table, _ = scaling_table(students)
        assert column(table, "ipc") == [1, 10]
        assert column(table, "fitted_percent") == pytest.approx(column(table, "accuracy_percent"))


def test_the_front_has_the_points_that_no_other_beats():
    points = [(100, 0.3), (200, 0.5), (200, 0.4), (300, 0.5), (400, 0.6)]
    students = [
        student(accuracy, bytes=float(size), ipc=1.0, bundle=f"{size}", loss=f"{accuracy}")
        for size, accuracy in points
    ]
    table = pareto_table(students)
    places = zip(column(table, "bytes"), column(table, "accuracy_percent"), strict=True)
    front = dict(zip(places, column(table, "on_front"), strict=True))
    assert {place for place, is_on in front.items() if is_on} == {(100, 30), (200, 50), (400, 60)}


def accuracy(value: float) -> dict[str, list[float]]:
    """The accuracy of a curve that was tested at epoch 2."""
    return {"checked_epochs": [2], "test_accuracy": [value]}


class TestDiagnostics:
    def test_curves_are_means_over_students_and_empty_where_one_diverged(self):
        results = [
            {"curve": {"loss": [2.0, 1.0], "gradient_norm": [4, 2]} | accuracy(0.5)},
            {"curve": {"loss": [4.0, None], "gradient_norm": [2, 0]} | accuracy(0.75)},
        ]
        table = curve_table([student(result=result) for result in results])
        assert [row[1:] for row in table.rows] == [[1, 3.0, 3.0, None], [2, None, 1.0, 0.625]]

    def test_confusion_is_summed(self):
        results = [{"confusion": [[3, 1], [0, 4]]}, {"confusion": [[2, 2], [1, 3]]}]
        table = confusion_table([student(result=result) for result in results])
        assert column(table, "images") == [5, 3, 1, 7]
        assert list(zip(column(table, "true"), column(table, "predicted"), strict=True)) == [
            (0, 0),
            (0, 1),
            (1, 0),
            (1, 1),
        ]

    def test_reliability_has_shares_of_the_sums(self):
        bins = [{"reliability": [[0, 0, 0], [4, 1, 3]]}, {"reliability": [[0, 0, 0], [4, 3, 3.4]]}]
        table = reliability_table([student(result=result) for result in bins])
        first, second = table.rows
        assert first[1:] == [0, 0.5, 0, None, None]
        assert second[1:] == pytest.approx([0.5, 1, 8, 0.5, 0.8])

    @pytest.mark.parametrize(
        ("table_of", "name"),
        [
            (curve_table, "curve"),
            (confusion_table, "confusion"),
            (reliability_table, "reliability"),
        ],
    )
    def test_what_was_not_recorded_is_asked_for(self, table_of, name):
        with pytest.raises(IncompatibleError, match=f"--{name}"):
            table_of([student()])
        for strange in ("text", [["a"]], {"loss": "x"}, 7, [[[1]]]):
            with pytest.raises(InvalidInputError, match=f"the {name} in a record of a has another"):
                table_of([student(result={name: strange})])


@pytest.mark.parametrize(
    ("value", "text"), [(0.5, "0.5"), (200, "200"), (5000, "5k"), (3e7, "30M"), (2e9, "2G")]
)
def test_numbers_are_short(value, text):
    assert short_number(value) == text


def test_whiskers_end_at_0_and_100_per_cent_as_tables_do():
    # 17.5 − 27.53 is below 0; a group without an interval has no whiskers.
    lengths = whiskers(np.array([17.5, 98.0, 50.0]), np.array([27.53, 5.0, np.nan]))
    assert (
        pytest.approx(np.array([[17.5, 27.53], [5.0, 2.0], [np.nan, np.nan]]), nan_ok=True)
        == lengths.T
    )


def test_a_figure_of_many_groups_shows_the_first_and_says_so():
    counts = {"confusion": [[1, 2], [3, 4]], "reliability": [[2, 1, 1.5]]}
    ten = [student(bundle=f"b{number}", result=counts) for number in range(10)]
    for draw in (confusion, reliability):
        drawing = drawn(lambda draw=draw: draw(ten))
        assert drawing.notes == ["the first 8 groups are drawn; 2 more are in the table alone"]
        assert len({row[0] for row in drawing.table.rows}) == 10
        eight = drawn(lambda draw=draw: draw(ten[:8]))
        assert eight.notes == []
