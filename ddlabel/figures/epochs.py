"""How the label of an image changes while an expert learns (Label-Worth, Fig. 3; LADD, Fig. 5b)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ddlabel.core.errors import UsageError
from ddlabel.core.text import epoch_text
from ddlabel.data.bundle import Bundle
from ddlabel.data.labels import Array
from ddlabel.figures.colours import GREY, SERIES
from ddlabel.figures.contact_sheet import show_pixels
from ddlabel.figures.registry import Drawing, Table, Value, draws
from ddlabel.figures.style import SMALL, new_figure
from ddlabel.figures.texts import class_names
from ddlabel.figures.views import check_row


@dataclass(frozen=True, kw_only=True)
class LabelsByEpoch:
    """The labels that an expert gives at each of its epochs.

    Attributes:
        bundle: The images.
        epochs: The epochs [E].
        label: Returns the labels [E, K] of an image of the bundle as distributions.
    """

    bundle: Bundle
    epochs: Sequence[float]
    label: Callable[[int], Array]


def label_table(labels: LabelsByEpoch, image: int) -> Table:
    """Return the probability of every class at every epoch."""
    check_row(labels.bundle, image, "label-epochs")
    rows: list[list[Value]] = []
    for epoch, probs in zip(labels.epochs, labels.label(image), strict=True):
        rows.append([float(epoch), *map(float, probs)])
    return Table(columns=["epoch", *labels.bundle.classes], rows=rows)


@draws("epochs", by_default=True)
def label_epochs(labels: LabelsByEpoch, *, image: int = 0, top: int = 5) -> Drawing:
    """One image's label over the epochs of an expert (Label-Worth, Fig. 3; LADD, Fig. 5b)."""
    if not 1 <= top <= len(SERIES):
        raise UsageError(f"label-epochs: top is {top}: expected 1 to {len(SERIES)}")
    table = label_table(labels, image)
    probs = np.array([row[1:] for row in table.rows], dtype=np.float64)
    largest = np.argsort(-probs.max(0), kind="stable")[:top]
    names = class_names(labels.bundle.classes)
    hard = int(labels.bundle.hard_labels[image])
    figure = new_figure(1.9)
    picture, axes = figure.subplots(1, 2, width_ratios=(1, 3))
    show_pixels(picture, labels.bundle.images[image])
    picture.set_title(names[hard], weight="bold")
    for place, number in enumerate(largest):
        style = "o-" if number == hard else "s--"
        axes.plot(labels.epochs, probs[:, number], style, color=SERIES[place], label=names[number])
    if len(largest) < len(names):
        rest = 1 - probs[:, largest].sum(1)
        axes.plot(labels.epochs, rest, ":", color=GREY, label="all others")
    axes.set_xlabel("epoch of the expert")
    axes.set_ylabel("probability")
    axes.set_ylim(-0.03, 1.03)
    if len(labels.epochs) <= 8:
        ticks = [epoch_text(epoch) for epoch in labels.epochs]
        axes.set_xticks(list(labels.epochs), ticks, size=SMALL)
    figure.legend(loc="outside upper center", ncols=3)
    return Drawing(figure, table)
