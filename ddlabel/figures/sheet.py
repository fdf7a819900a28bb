"""The demo's contact sheet, drawn with Pillow: it needs no extra."""

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ddlabel.data import atomic
from ddlabel.data.bundle import Bundle
from ddlabel.data.labels import Array
from ddlabel.figures.colours import AGREES, DIFFERS
from ddlabel.figures.pixels import box_in_pixels, drawn_pixels
from ddlabel.figures.texts import class_names

# Sizes in pixels.
_SIDE = 128
_GAP = 18
_LINE = 24
_NAMES = 96
_BARS = 120
_NUMBER = 60
_VIEW = 34
_FRAME = 2
_TEXT = 15
_COLUMNS = 2
_TOP = 3
_LEGEND = "bars and views: blue for the class of the image, orange for another class"


@dataclass(frozen=True, kw_only=True)
class _Card:
    """What is drawn of one image: its pixels, its soft label [K], and its views."""

    pixels: Array
    hard: int
    soft: Array
    views: Sequence[Array]
    agrees: Sequence[bool]


class _Bar(NamedTuple):
    """The share of a class in a label."""

    name: str
    share: float
    colour: str


def sheet_png(bundle: Bundle) -> bytes:
    """Draw the images of a bundle with their largest soft labels and their views, as a PNG file.

    The bundle has soft labels, and dense labels on one square grid of views. Bars are blue for the
    class of the image and orange for other classes. So are the frames of views, by the largest
    entry of their label.
    """
    cards = [_card(bundle, number) for number in range(len(bundle))]
    names = class_names(bundle.classes)
    grid_side = math.isqrt(len(cards[0].views)) * _VIEW
    width = _SIDE + _NAMES + _BARS + _NUMBER + grid_side + 4 * _GAP
    height = grid_side + _LINE + _GAP
    num_rows = math.ceil(len(cards) / _COLUMNS)
    sheet = Image.new("RGB", (_COLUMNS * width, num_rows * height + 2 * _LINE), "white")
    for number, card in enumerate(cards):
        row, column = divmod(number, _COLUMNS)
        _draw_card(sheet, card, names, (column * width + _GAP, row * height + _GAP))
    _text(sheet, (_GAP, num_rows * height + _GAP), _LEGEND)
    content = io.BytesIO()
    sheet.save(content, "PNG")
    return content.getvalue()


def write_sheet(bundle: Bundle, path: str) -> None:
    """Write the picture of `sheet_png` to a new file."""
    content = sheet_png(bundle)
    atomic.write(path, [content], size=len(content))


def _card(bundle: Bundle, number: int) -> _Card:
    """Read one image of a bundle with its labels."""
    assert bundle.views is not None
    rows = slice(number, number + 1)
    hard = int(bundle.hard_labels[number])
    pixels = drawn_pixels(bundle.images[number])
    views = []
    for box in bundle.views.boxes:
        top, left, bottom, right = box_in_pixels(box, *pixels.shape[:2])
        views.append(pixels[top:bottom, left:right])
    winners = bundle.labels("dense").probs(rows)[0].argmax(1)
    return _Card(
        pixels=pixels,
        hard=hard,
        soft=bundle.labels("soft").probs(rows)[0],
        views=views,
        agrees=(winners == hard).tolist(),
    )


def _draw_card(
    sheet: Image.Image, card: _Card, names: Sequence[str], corner: tuple[int, int]
) -> None:
    """Draw the name, the image, the largest entries of the soft label as bars, and the views."""
    left, top = corner
    _text(sheet, (left, top), names[card.hard])
    below = top + _LINE
    _paste(sheet, card.pixels, (left, below), _SIDE)
    bars_left = left + _SIDE + _GAP
    for rank, number in enumerate(np.argsort(-card.soft, kind="stable")[:_TOP]):
        line_top = below + _LINE * rank
        colour = AGREES if number == card.hard else DIFFERS
        bar = _Bar(name=names[number], share=float(card.soft[number]), colour=colour)
        _draw_bar(sheet, bar, (bars_left, line_top))
    views_left = bars_left + _NAMES + _BARS + _NUMBER
    per_row = math.isqrt(len(card.views))
    for number, (view, agrees) in enumerate(zip(card.views, card.agrees, strict=True)):
        row, column = divmod(number, per_row)
        place = (views_left + column * _VIEW, below + row * _VIEW)
        colour = AGREES if agrees else DIFFERS
        sheet.paste(colour, (*place, place[0] + _VIEW - 2, place[1] + _VIEW - 2))
        inner = (place[0] + _FRAME, place[1] + _FRAME)
        _paste(sheet, view, inner, _VIEW - 2 - 2 * _FRAME)


def _draw_bar(sheet: Image.Image, bar: _Bar, corner: tuple[int, int]) -> None:
    """Draw the name of a class, and its share of a label as a bar and as a number."""
    left, top = corner
    _text(sheet, (left, top), bar.name)
    bar_left = left + _NAMES
    bar_right = bar_left + max(1, round(bar.share * _BARS))
    sheet.paste(bar.colour, (bar_left, top + 3, bar_right, top + _TEXT + 1))
    _text(sheet, (bar_right + 4, top), f"{100 * bar.share:.0f} %")


def _paste(sheet: Image.Image, pixels: Array, corner: tuple[int, int], side: int) -> None:
    """Draw pixels enlarged to a square, without smoothing."""
    picture = Image.fromarray(pixels).convert("RGB")
    sheet.paste(picture.resize((side, side), Image.Resampling.NEAREST), corner)


def _text(sheet: Image.Image, corner: tuple[int, int], text: str) -> None:
    font = ImageFont.load_default(_TEXT)
    ImageDraw.Draw(sheet).text(corner, text, fill="black", font=font)
