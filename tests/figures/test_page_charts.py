"""The charts of the report's page: places of points and fields, worked by hand."""

from __future__ import annotations

import re

import numpy as np
import pytest

from ddlabel.figures.class_charts import matrix_chart, reliability_chart
from ddlabel.figures.line_chart import Line, line_chart
from ddlabel.figures.ticks import linear_ticks, log_ticks


def polylines(chart: str) -> list[list[tuple[int, int]]]:
    """The points of the lines, in units of 1000 for the width and the height of the plot."""
    lines = []
    for points in re.findall(r'points="([^"]*)"', chart):
        lines.append([tuple(map(int, point.split(","))) for point in points.split(" ")])
    return lines


def line(*values: float | None) -> Line:
    return Line(name="a", colour=0, points=list(enumerate(values, start=1)))


def test_points_are_at_their_shares_of_the_ranges():
    assert polylines(line_chart([line(0, 10, 5)], title="t")) == [
        [(0, 1000), (500, 0), (1000, 500), (1000, 500)]
    ]


def test_a_logarithmic_axis_has_equal_factors_at_equal_distances():
    (points,) = polylines(line_chart([line(1, 10, 100)], title="t", is_log=True))
    assert points[:3] == [(0, 1000), (500, 500), (1000, 0)]


def test_an_epoch_without_a_number_interrupts_the_line():
    pieces = polylines(line_chart([line(0, None, 10, 5, float("nan"))], title="t"))
    assert [len(piece) - 1 for piece in pieces] == [1, 2]
    assert len(polylines(line_chart([line(1, 0, 10)], title="t", is_log=True))) == 2


def test_a_long_line_keeps_its_ends():
    (points,) = polylines(line_chart([line(*range(2001))], title="t"))
    assert len(points) < 410
    assert (points[0], points[-1]) == ((0, 1000), (1000, 0))


def test_a_curve_without_numbers_says_so():
    assert "no finite numbers" in line_chart([line(None, float("inf"))], title="t")


def test_fields_have_per_cent_of_their_true_class():
    chart = matrix_chart(np.array([[3, 1], [0, 0]]), title="t")
    titles = re.findall(r"<title>(.*?)</title>", chart)
    assert titles == [
        "true 0, predicted 0: 75.0 %",
        "true 0, predicted 1: 25.0 %",
        "true 1, predicted 0: 0.0 %",
        "true 1, predicted 1: 0.0 %",
    ]


def test_the_calibration_error_is_the_mean_distance_weighted_by_images():
    # (10 · |0.5 − 0.3| + 30 · |0.8 − 0.9|) / 40 = 0.125
    bins = np.array([[10, 5, 3], [30, 24, 27], [0, 0, 0]], dtype=np.float64)
    chart = reliability_chart(bins, title="t")
    assert "calibration error 12.5 %" in chart
    assert chart.count('class="bar"') == 2


@pytest.mark.parametrize(
    ("bounds", "expected"),
    [((0.5, 2.5), [0.5, 1, 2]), ((1, 1e4), [1, 10, 100, 1000, 1e4]), ((1.1, 1.4), [1.1, 1.2, 1.3])],
)
def test_logarithmic_ticks_are_round(bounds, expected):
    assert log_ticks(*bounds)[: len(expected)] == pytest.approx(expected)


def test_linear_ticks_are_round():
    assert linear_ticks(-0.3, 1.1) == pytest.approx([0, 0.5, 1])
