"""The contact sheet: images with the largest entries of their labels."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ddlabel.core.errors import UsageError
from ddlabel.data.bundle import Bundle
from ddlabel.data.labels import Array
from ddlabel.figures.colours import AGREES, DIFFERS
from ddlabel.figures.pixels import drawn_pixels
from ddlabel.figures.registry import Drawing, Table, Value, draws
from ddlabel.figures.style import COLUMN, KEY_HEIGHT, SMALL, colour_key, new_figure, without_ticks
from ddlabel.figures.texts import class_names

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Inches: a card, the image on it, and the bars beside the names.
_CARD_HEIGHT = 0.66
_SIDE = 0.46
_BARS_LEFT = 1.12
_BARS_WIDTH = 0.31
_CARDS_PER_ROW = 2
_MOST_IMAGES = 100
_MOST_BARS = 5


def spread_rows(bundle: Bundle, count: int) -> list[int]:
    """Choose images: one of each class in turn, of classes that are spread evenly if they are many.

    Raises:
        UsageError: `count` is not in 1 … 100.
    """
    if not 1 <= count <= _MOST_IMAGES:
        raise UsageError(f"contact-sheet: count is {count}: expected 1 to {_MOST_IMAGES}")
    hard = np.asarray(bundle.hard_labels)
    present = np.unique(hard)
    if len(present) > count:
        places = np.linspace(0, len(present) - 1, count).round().astype(int)
        present = present[places]
    rows_of_class = [np.flatnonzero(hard == number)[:count] for number in present]
    chosen: list[int] = []
    for turn in range(count):
        chosen += [int(rows[turn]) for rows in rows_of_class if turn < len(rows)]
    return chosen[:count]


def top_labels(bundle: Bundle, rows: Sequence[int], top: int) -> Table:
    """Return the largest entries of the soft labels of some images, or of the hard labels.

    A bundle without soft labels that are distributions has one entry for each image: its class.
    """
    table: list[list[Value]] = []
    soft = bundle.soft
    has_shares = soft is not None and soft.meta.space != "direction"
    for row in rows:
        hard = int(bundle.hard_labels[row])
        if soft is None or not has_shares:
            table.append([row, bundle.classes[hard], 1, bundle.classes[hard], 1.0, 1])
            continue
        probs = soft.probs(slice(row, row + 1))[0]
        for rank, number in enumerate(np.argsort(-probs, kind="stable")[:top], start=1):
            entry = [rank, bundle.classes[number], float(probs[number]), int(number == hard)]
            table.append([row, bundle.classes[hard], *entry])
    columns = ["image", "class", "rank", "label", "probability", "agrees"]
    return Table(columns=columns, rows=table)


@draws("bundle", by_default=True)
def contact_sheet(bundle: Bundle, *, count: int = 10, top: int = 3) -> Drawing:
    """Images with the largest entries of their labels as bars; orange is another class."""
    if not 1 <= top <= _MOST_BARS:
        raise UsageError(f"contact-sheet: top is {top}: expected 1 to {_MOST_BARS}")
    rows = spread_rows(bundle, count)
    table = top_labels(bundle, rows, top)
    num_lines = math.ceil(len(rows) / _CARDS_PER_ROW)
    height = num_lines * _CARD_HEIGHT + KEY_HEIGHT
    figure = new_figure(height)
    # Every card has its place: nothing is left to a layout engine.
    figure.set_layout_engine("none")
    shown = dict(zip(bundle.classes, class_names(bundle.classes, longest=12), strict=True))
    for place, row in enumerate(rows):
        line, column = divmod(place, _CARDS_PER_ROW)
        left = column * COLUMN / _CARDS_PER_ROW
        bottom = height - (line + 1) * _CARD_HEIGHT + 0.03
        card = _Card(figure=figure, left=left, bottom=bottom, height=height)
        name = shown[bundle.classes[int(bundle.hard_labels[row])]]
        card.text(0.02, _SIDE + 0.04, name)
        show_pixels(card.axes(0.02, _SIDE), bundle.images[row])
        entries = [entry for entry in table.rows if entry[0] == row]
        _draw_bars(card.axes(_BARS_LEFT, _BARS_WIDTH), entries, shown, top)
    colour_key(figure, height, "numbers: % of the label")
    return Drawing(figure, table)


@dataclass(frozen=True, kw_only=True)
class _Card:
    """A place of a figure: its left and bottom, and the height of the figure, in inches."""

    figure: "Figure"
    left: float
    bottom: float
    height: float

    def axes(self, left: float, width: float) -> "Axes":
        """Add axes as high as an image, `left` inches from the left side of the card."""
        x = (self.left + left) / COLUMN
        box = (x, self.bottom / self.height, width / COLUMN, _SIDE / self.height)
        return self.figure.add_axes(box)

    def text(self, left: float, bottom: float, text: str) -> None:
        """Add a bold text."""
        x = (self.left + left) / COLUMN
        y = (self.bottom + bottom) / self.height
        self.figure.text(x, y, text, weight="bold", size=SMALL)


def _draw_bars(
    axes: "Axes", entries: Sequence[Sequence[Value]], shown: dict[str, str], top: int
) -> None:
    """Draw the entries of a label as bars with names on the left and per cent on the right."""
    shares = [float(entry[4] or 0) for entry in entries]
    colours = [AGREES if entry[5] else DIFFERS for entry in entries]
    axes.barh(range(len(entries)), shares, color=colours, height=0.7)
    axes.set_yticks(range(len(entries)), [shown[str(entry[3])] for entry in entries], size=SMALL)
    axes.set_ylim(top - 0.5, -0.5)
    axes.set_xlim(0, 1)
    axes.set_xticks([])
    axes.tick_params(length=0, pad=2)
    axes.spines[["bottom", "left"]].set_visible(False)
    for place, share in enumerate(shares):
        axes.text(share + 0.04, place, f"{100 * share:.0f}", va="center", size=SMALL)


def show_pixels(axes: "Axes", image: Array) -> None:
    """Show an image [C, H, W] without ticks."""
    axes.imshow(drawn_pixels(image), cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    without_ticks(axes)
