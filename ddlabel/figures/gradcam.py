"""Where students look: GradCAM on test images (LADD, Fig. 4)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ddlabel.core.errors import UsageError
from ddlabel.data.bundle import Bundle
from ddlabel.data.labels import Array
from ddlabel.figures.colours import AGREES, DIFFERS
from ddlabel.figures.contact_sheet import show_pixels, spread_rows
from ddlabel.figures.registry import Drawing, Table, Value, draws
from ddlabel.figures.students import check_few
from ddlabel.figures.style import COLUMN, SMALL, new_figure
from ddlabel.figures.texts import class_names, short_text

_MOST_STUDENTS = 5
_MOST_IMAGES = 12
# "cividis" and "viridis" hide what lies below; this one is told apart by colour-blind readers too.
_COLOURS = "inferno"


@dataclass(frozen=True, kw_only=True)
class Looks:
    """What a student makes of some images: its maps [n, H, W] in 0 … 1 and its classes [n]."""

    student: str
    maps: Array
    predicted: Array


@dataclass(frozen=True, kw_only=True)
class Attention:
    """Test images, and the students that look at them.

    Attributes:
        bundle: The images.
        look: Returns what each student makes of the images of some rows.
    """

    bundle: Bundle
    look: Callable[[Array], Sequence[Looks]]


def attention_table(attention: Attention, rows: Sequence[int]) -> tuple[Table, Sequence[Looks]]:
    """Return predictions and where the attention lies: its centre as fractions of the sides."""
    looks = attention.look(np.array(rows))
    check_few(looks, _MOST_STUDENTS, "gradcam")
    bundle = attention.bundle
    table: list[list[Value]] = []
    for look in looks:
        for place, row in enumerate(rows):
            hard = int(bundle.hard_labels[row])
            predicted = int(look.predicted[place])
            names: list[Value] = [
                bundle.classes[hard],
                bundle.classes[predicted],
                int(predicted == hard),
            ]
            table.append([look.student, row, *names, *_centre(look.maps[place])])
    columns = ["student", "image", "class", "predicted", "agrees", "centre_y", "centre_x"]
    return Table(columns=columns, rows=table), looks


def _centre(attention: Array) -> list[Value]:
    """Return the mean place y, x of a map [H, W] as fractions; None where it is 0 everywhere."""
    total = float(attention.sum())
    if total == 0:
        return [None, None]
    height, width = attention.shape
    y = (attention.sum(1) * (np.arange(height) + 0.5) / height).sum() / total
    x = (attention.sum(0) * (np.arange(width) + 0.5) / width).sum() / total
    return [float(y), float(x)]


@draws("attention", by_default=True)
def gradcam(attention: Attention, *, count: int = 6) -> Drawing:
    """Where students look: GradCAM of the class that each predicts (LADD, Fig. 4)."""
    if not 1 <= count <= _MOST_IMAGES:
        raise UsageError(f"gradcam: count is {count}: expected 1 to {_MOST_IMAGES}")
    bundle = attention.bundle
    rows = spread_rows(bundle, count)
    table, looks = attention_table(attention, rows)
    names = class_names(bundle.classes, longest=12)
    num_columns = 1 + len(looks)
    side = min(0.8, COLUMN / num_columns - 0.06)
    figure = new_figure(0.25 + len(rows) * (side + 0.15))
    panels = figure.subplots(len(rows), num_columns, squeeze=False)
    for line, row in enumerate(rows):
        hard = int(bundle.hard_labels[row])
        for column, axes in enumerate(panels[line]):
            show_pixels(axes, bundle.images[row])
            if column == 0:
                axes.set_title(names[hard], size=SMALL, pad=2)
                continue
            look = looks[column - 1]
            axes.imshow(look.maps[line], cmap=_COLOURS, vmin=0, vmax=1, alpha=0.6)
            predicted = int(look.predicted[line])
            colour = AGREES if predicted == hard else DIFFERS
            axes.set_title(names[predicted], size=SMALL, pad=2, color=colour)
    heads = ["image", *(short_text(look.student, 16) for look in looks)]
    for axes, head in zip(panels[-1], heads, strict=True):
        axes.set_xlabel(head, weight="bold")
    return Drawing(figure, table)
