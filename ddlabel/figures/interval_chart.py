"""A chart of means with their intervals, as SVG that a page can hold in any width."""

from collections.abc import Sequence
from dataclasses import dataclass

from ddlabel.figures.markup import Markup, element, joined
from ddlabel.figures.ticks import linear_ticks, tick_text

# Pixels.
_ROW_HEIGHT = 26
_AXIS_HEIGHT = 22
_KEY_HEIGHT = 14
_DOT = 2.5
_MEAN = 4.5
# The share of the width that stays free on either side, for the numbers of the axis.
_MARGIN = 0.06


@dataclass(frozen=True, kw_only=True)
class Interval:
    """One line of the chart.

    Attributes:
        name: Its name.
        text: Its figures as text.
        mean: The mean.
        ends: The ends of the interval around the mean; None if there is none.
        values: Single values, which are shown as dots.
    """

    name: str
    text: str
    mean: float
    ends: tuple[float, float] | None
    values: Sequence[float] = ()


@dataclass(frozen=True, kw_only=True)
class _Scale:
    """The range of values that the width of the chart shows."""

    low: float
    high: float

    def place(self, value: float) -> str:
        """Return the place of a value as a share of the width."""
        share = (value - self.low) / (self.high - self.low)
        return f"{100 * (_MARGIN + (1 - 2 * _MARGIN) * share):.3f}%"


def interval_chart(intervals: Sequence[Interval], *, unit: str, with_zero: bool = False) -> Markup:
    """Return the chart: for each interval its name, its figures and a drawing, and the axis.

    Places are shares of the width, so that texts keep their size in every width. `with_zero` makes
    0 a part of the axis, with a line.
    """
    scale, ticks = _scale(intervals, with_zero=with_zero)
    rows = [_row(interval, scale, ticks, with_zero=with_zero) for interval in intervals]
    axis = element(
        "div",
        element("div", class_="chart-name"),
        _axis(scale, ticks, unit),
        class_="chart-row",
    )
    return element("div", _key(), *rows, axis, class_="chart")


def _key() -> Markup:
    """Return what the marks of the chart mean."""
    middle = _KEY_HEIGHT / 2
    marks = {
        "mean": element("circle", cx=11, cy=middle, r=_MEAN, class_="mean"),
        "95 % interval": element("line", x1=0, x2=22, y1=middle, y2=middle, class_="interval"),
        "single values, one per seed": element("circle", cx=11, cy=middle, r=_DOT, class_="dot"),
    }
    entries = []
    for text, mark in marks.items():
        sample = element("svg", mark, width=22, height=_KEY_HEIGHT, aria_hidden="true")
        entries.append(element("span", sample, element("span", text), class_="entry"))
    return element("div", *entries, class_="legend")


def _row(interval: Interval, scale: _Scale, ticks: Sequence[float], *, with_zero: bool) -> Markup:
    name = element(
        "div",
        element("span", interval.name, class_="name"),
        element("span", interval.text, class_="figure"),
        class_="chart-name",
    )
    return element("div", name, _drawing(interval, scale, ticks, with_zero), class_="chart-row")


def _drawing(interval: Interval, scale: _Scale, ticks: Sequence[float], with_zero: bool) -> Markup:
    """Return the drawing of one interval: its line, the single values, and the mean."""
    middle = _ROW_HEIGHT / 2
    shapes = [_line(scale, tick, tick, 0, _ROW_HEIGHT, "grid") for tick in ticks]
    if with_zero:
        shapes.append(_line(scale, 0, 0, 0, _ROW_HEIGHT, "zero"))
    if interval.ends is not None:
        shapes.append(_line(scale, *interval.ends, middle, middle, "interval"))
        for end in interval.ends:
            shapes.append(_line(scale, end, end, middle - 4, middle + 4, "interval"))
    for value in interval.values:
        shapes.append(element("circle", cx=scale.place(value), cy=middle, r=_DOT, class_="dot"))
    shapes.append(
        element("circle", cx=scale.place(interval.mean), cy=middle, r=_MEAN, class_="mean")
    )
    return _svg(_ROW_HEIGHT, f"{interval.name}: {interval.text}", *shapes)


def _line(scale: _Scale, first: float, last: float, top: float, bottom: float, kind: str) -> Markup:
    return element(
        "line", x1=scale.place(first), x2=scale.place(last), y1=top, y2=bottom, class_=kind
    )


def _axis(scale: _Scale, ticks: Sequence[float], unit: str) -> Markup:
    labels = []
    for tick in ticks:
        place = scale.place(tick)
        labels.append(
            element("text", tick_text(tick), x=place, y=14, text_anchor="middle", class_="tick")
        )
    drawing = _svg(_AXIS_HEIGHT, f"axis: {unit}", *labels)
    return element("div", drawing, element("div", unit, class_="unit"))


def _svg(height: float, label: str, *shapes: Markup) -> Markup:
    return element(
        "svg", joined(*shapes), width="100%", height=height, role="img", aria_label=label
    )


def _scale(intervals: Sequence[Interval], *, with_zero: bool) -> tuple[_Scale, list[float]]:
    """Return a range that holds all intervals and values, and round numbers in it."""
    values = [0.0] if with_zero else []
    for interval in intervals:
        values += [interval.mean, *(interval.ends or ()), *interval.values]
    low, high = min(values), max(values)
    if low == high:
        low, high = low - 1, high + 1
    return _Scale(low=low, high=high), linear_ticks(low, high)
