"""Charts of lines over epochs, as SVG that a page can hold in any width."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ddlabel.figures.markup import Markup, element
from ddlabel.figures.ticks import linear_ticks, log_ticks, tick_text

# The colours of a page's style sheet: `line-0` to `line-7`.
NUM_COLOURS = 8
# Pixels, from the top: the plot, and below it the numbers of the axis.
_TOP = 8
_HEIGHT = 150
_AXIS_HEIGHT = 24
# The plot within the width, in per cent; the numbers of the axis are on its left.
_LEFT = 15.0
_WIDTH = 79.0
# Lines are drawn in units of their own, which are stretched to the plot.
_UNITS = 1000
# More points cannot be told apart on a page.
_MOST_POINTS = 400


@dataclass(frozen=True, kw_only=True)
class Line:
    """A line of a chart.

    Attributes:
        name: Its name.
        colour: The number of its colour.
        points: Its points (x, y). A y of None interrupts it.
    """

    name: str
    colour: int
    points: Sequence[tuple[float, float | None]]


@dataclass(frozen=True, kw_only=True)
class _Axis:
    """A range of values, with the numbers that are written at it."""

    low: float
    high: float
    ticks: Sequence[float]
    is_log: bool = False

    def share(self, value: float) -> float:
        """Return the place of a value between the bounds, from 0 to 1."""
        low, high = self._scaled(self.low), self._scaled(self.high)
        return (self._scaled(value) - low) / (high - low)

    def _scaled(self, value: float) -> float:
        return math.log10(value) if self.is_log else value


def line_chart(lines: Sequence[Line], *, title: str, is_log: bool = False) -> Markup:
    """Return a chart of lines over epochs, with a title.

    The numbers of the axes keep their size in every width. On a logarithmic axis values that are
    not positive interrupt a line.
    """
    drawn = [_drawn(line, is_log=is_log) for line in lines]
    pieces = [piece for of_line in drawn for piece in of_line]
    points = [point for piece in pieces for point in piece]
    if not points:
        return element("figure", element("figcaption", f"{title}: no finite numbers"))
    x_axis = _axis([x for x, _ in points], is_log=False)
    y_axis = _axis([y for _, y in points], is_log=is_log)
    shapes = [*_x_numbers(x_axis), *_y_numbers(y_axis)]
    curves: list[Markup] = []
    for line, of_line in zip(lines, drawn, strict=True):
        curves += [_curve(piece, x_axis, y_axis, line.colour) for piece in of_line]
    shapes.append(
        element(
            "svg",
            *curves,
            x=f"{_LEFT}%",
            y=_TOP,
            width=f"{_WIDTH}%",
            height=_HEIGHT,
            viewBox=f"0 0 {_UNITS} {_UNITS}",
            preserveAspectRatio="none",
        )
    )
    height = _TOP + _HEIGHT + _AXIS_HEIGHT
    label = f"{title} by epoch: {', '.join(line.name for line in lines)}"
    drawing = element("svg", *shapes, width="100%", height=height, role="img", aria_label=label)
    unit = element("div", "epoch", class_="unit")
    return element("figure", element("figcaption", title), drawing, unit)


def legend(lines: Sequence[Line]) -> Markup:
    """Return the names of lines with their colours."""
    entries = []
    for line in lines:
        stroke = element("line", x1=0, x2=22, y1=7, y2=7, class_=f"line-{line.colour}")
        sample = element("svg", stroke, width=22, height=14, aria_hidden="true")
        entries.append(element("span", sample, element("span", line.name), class_="entry"))
    return element("div", *entries, class_="legend")


def _drawn(line: Line, *, is_log: bool) -> list[list[tuple[float, float]]]:
    """Return the pieces of a line that can be drawn, with few enough points."""
    step = math.ceil(len(line.points) / _MOST_POINTS)
    last = line.points[-1:] if (len(line.points) - 1) % step else []
    pieces: list[list[tuple[float, float]]] = [[]]
    for x, y in [*line.points[::step], *last]:
        if y is None or not math.isfinite(y) or (is_log and y <= 0):
            pieces.append([])
        else:
            pieces[-1].append((x, y))
    return [piece for piece in pieces if piece]


def _axis(values: Sequence[float], *, is_log: bool) -> _Axis:
    low, high = min(values), max(values)
    if low == high:
        low, high = (low / 2, 2 * high) if is_log else (low - 0.5, high + 0.5)
    ticks = log_ticks(low, high) if is_log else linear_ticks(low, high)
    return _Axis(low=low, high=high, ticks=ticks, is_log=is_log)


def _x_numbers(axis: _Axis) -> list[Markup]:
    bottom = _TOP + _HEIGHT
    shapes = []
    for tick in axis.ticks:
        place = f"{_LEFT + _WIDTH * axis.share(tick):.3f}%"
        shapes.append(element("line", x1=place, x2=place, y1=_TOP, y2=bottom, class_="grid"))
        shapes.append(
            element(
                "text",
                tick_text(tick),
                x=place,
                y=bottom + 16,
                text_anchor="middle",
                class_="tick x",
            )
        )
    return shapes


def _y_numbers(axis: _Axis) -> list[Markup]:
    shapes = []
    for tick in axis.ticks:
        place = _TOP + _HEIGHT * (1 - axis.share(tick))
        left, right = f"{_LEFT}%", f"{_LEFT + _WIDTH}%"
        shapes.append(element("line", x1=left, x2=right, y1=place, y2=place, class_="grid"))
        shapes.append(
            element(
                "text",
                tick_text(tick),
                x=f"{_LEFT - 1.5}%",
                y=place + 4,
                text_anchor="end",
                class_="tick y",
            )
        )
    return shapes


def _curve(
    piece: Sequence[tuple[float, float]], x_axis: _Axis, y_axis: _Axis, colour: int
) -> Markup:
    """Return a piece of a line. A single point is a line without length, which has a round end."""
    places = []
    for x, y in [*piece, piece[-1]]:
        across = _UNITS * x_axis.share(x)
        down = _UNITS * (1 - y_axis.share(y))
        places.append(f"{across:.0f},{down:.0f}")
    return element(
        "polyline",
        points=" ".join(places),
        vector_effect="non-scaling-stroke",
        class_=f"line-{colour}",
    )
