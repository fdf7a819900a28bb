"""Charts of predictions on test images, as SVG: a confusion matrix and a reliability diagram."""

import numpy as np

from ddlabel.data.labels import Array
from ddlabel.figures.markup import Markup, element
from ddlabel.figures.ticks import tick_text

# A matrix of more classes has fields that are too small to see.
MOST_CLASSES = 50
# Per cent are written into the fields of a matrix of so many classes.
_MOST_NUMBERS = 12
# Units of the matrix: it is scaled to the width of the page.
_MATRIX = 400
_MARGIN = 34
_LIGHT, _DARK = (247, 251, 255), (8, 48, 107)
# Pixels of the reliability diagram.
_TOP = 8
_HEIGHT = 200
_AXIS_HEIGHT = 24
_LEFT, _WIDTH = 15.0, 79.0
_SHARES = (0, 0.2, 0.4, 0.6, 0.8, 1)


def percent_of_class(counts: Array) -> Array:
    """Return a confusion matrix [K, K] in per cent of the images of the true class."""
    return np.asarray(100 * counts / np.maximum(counts.sum(1, keepdims=True), 1))


def matrix_chart(counts: Array, *, title: str) -> Markup:
    """Return a confusion matrix [K, K] of at most `MOST_CLASSES` classes, in per cent."""
    percent = percent_of_class(counts)
    num_classes = len(percent)
    side = _MATRIX / num_classes
    shapes = []
    for (row, column), value in np.ndenumerate(percent):
        x, y = _MARGIN + column * side, row * side
        field = element("title", f"true {row}, predicted {column}: {value:.1f} %")
        shapes.append(
            element("rect", field, x=x, y=y, width=side, height=side, fill=_colour(float(value)))
        )
        if num_classes <= _MOST_NUMBERS and value >= 0.5:
            kind = "on-dark" if value > 50 else "on-light"
            shapes.append(_number(x + side / 2, y + side / 2 + 5, f"{value:.0f}", kind))
    # Every fifth class has its number where there are many.
    for number in range(0, num_classes, 1 if num_classes <= _MOST_NUMBERS else 5):
        middle = (number + 0.5) * side
        shapes.append(_number(_MARGIN - 12, middle + 5, str(number), "tick"))
        shapes.append(_number(_MARGIN + middle, _MATRIX + 18, str(number), "tick"))
    drawing = element(
        "svg",
        *shapes,
        viewBox=f"0 0 {_MATRIX + _MARGIN} {_MATRIX + 24}",
        role="img",
        aria_label=f"confusion matrix of {title}, per cent of the images of each true class",
    )
    unit = element("div", "across: predicted class; down: true class", class_="unit")
    return element("figure", element("figcaption", title), drawing, unit, class_="matrix")


def _number(x: float, y: float, text: str, kind: str) -> Markup:
    return element("text", text, x=x, y=y, text_anchor="middle", class_=kind)


def _colour(percent: float) -> str:
    """Return a colour from light to dark, which are far apart for every eye and in grey."""
    share = percent / 100
    parts = [
        round(light + (dark - light) * share) for light, dark in zip(_LIGHT, _DARK, strict=True)
    ]
    return "#{:02x}{:02x}{:02x}".format(*parts)


def reliability_chart(bins: Array, *, title: str) -> Markup:
    """Return a reliability diagram (Guo et al. 2017, Fig. 1) of bins of confidence.

    Args:
        bins: Rows of images, hits and sum of confidences: of the first bin, the second, ….
        title: The title.
    """
    images, hits, confidence = bins.T
    error = np.abs(hits - confidence).sum() / max(images.sum(), 1)
    shapes = [*_shares_of_axes()]
    for number, (count, right, confident) in enumerate(bins):
        if not count:
            continue
        share = right / count
        shapes.append(
            element(
                "rect",
                element("title", f"{count:.0f} images: accuracy {share:.2f}"),
                x=_across(number / len(bins)),
                y=_down(share),
                width=f"{_WIDTH / len(bins) - 0.4:.3f}%",
                height=_HEIGHT * share,
                class_="bar",
            )
        )
        shapes.append(
            element("circle", cx=_across(confident / count), cy=_down(share), r=3, class_="dot")
        )
    ends = {"x1": _across(0), "x2": _across(1)}
    shapes.append(element("line", y1=_down(0), y2=_down(1), class_="ideal", **ends))
    label = f"reliability of {title}: calibration error {100 * error:.1f} %"
    height = _TOP + _HEIGHT + _AXIS_HEIGHT
    drawing = element("svg", *shapes, width="100%", height=height, role="img", aria_label=label)
    caption = element("figcaption", f"{title}: calibration error {100 * error:.1f} %")
    return element("figure", caption, drawing, element("div", "confidence", class_="unit"))


def _shares_of_axes() -> list[Markup]:
    """Return the numbers of both axes, from 0 to 1."""
    shapes = []
    for share in _SHARES:
        x, y = _across(share), _down(share)
        shapes.append(
            element("line", x1=_across(0), x2=_across(1), y1=y, y2=y, class_="grid"),
        )
        texts = [
            (x, _TOP + _HEIGHT + 16, "middle", "tick x"),
            (f"{_LEFT - 1.5}%", y + 4, "end", "tick y"),
        ]
        for left, top, anchor, kind in texts:
            shapes.append(
                element("text", tick_text(share), x=left, y=top, text_anchor=anchor, class_=kind)
            )
    return shapes


def _across(share: float) -> str:
    return f"{_LEFT + _WIDTH * share:.3f}%"


def _down(share: float) -> float:
    return _TOP + _HEIGHT * (1 - share)
