"""Figures of the labels of a bundle: heat-map by class and histogram of entropies."""

import math
from collections.abc import Mapping
from itertools import pairwise
from typing import TYPE_CHECKING, Literal

import numpy as np

from ddlabel.core.errors import IncompatibleError
from ddlabel.data.bundle import FIELDS, Bundle, image_chunks
from ddlabel.data.label_means import class_means
from ddlabel.data.labels import Array
from ddlabel.figures.colours import GREY, SCALE, SERIES
from ddlabel.figures.registry import Drawing, Table, Value, draws
from ddlabel.figures.style import COLUMN, NORMAL, SMALL, new_axes
from ddlabel.figures.texts import class_names

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Field = Literal["soft", "dense"]
# More names than these would overlap beside a heat-map.
_MOST_NAMES = 30
_NUM_BINS = 25
_SMALLEST = 1e-38


def check_probabilities(bundle: Bundle, field: str) -> None:
    """Check that a bundle has labels of a kind, and that they are distributions.

    Raises:
        IncompatibleError: They are missing, or they are directions.
    """
    if bundle.labels(field).meta.space == "direction":
        raise IncompatibleError(
            f"the {field} labels are directions, which are no distributions: draw the labels "
            "before 'ddlabel refine'"
        )


def label_fields(bundle: Bundle) -> list[Field]:
    """Return the kinds of labels of a bundle that are distributions."""
    fields: list[Field] = []
    for field in FIELDS:
        labels = getattr(bundle, field)
        if labels is not None and labels.meta.space != "direction":
            fields.append(field)
    return fields


def similarity_table(bundle: Bundle, field: Field = "soft") -> Table:
    """Return the mean label of each class as a table.

    The columns are the class, the number of labels that have it as their largest entry, and the
    mean probability of every class, empty where there is no such label.
    """
    check_probabilities(bundle, field)
    found = class_means(bundle, field)
    rows = []
    for name, count, means in zip(bundle.classes, found.counts, found.means, strict=True):
        rows.append([name, int(count), *(means.tolist() if count else [None] * len(means))])
    return Table(columns=["class", "labels", *bundle.classes], rows=rows)


@draws("bundle", by_default=True)
def class_similarity(bundle: Bundle, *, field: Field = "soft") -> Drawing:
    """Mean label by the class of its largest entry, without the diagonal (Label-Worth, Fig. 10)."""
    table = similarity_table(bundle, field)
    values = np.array([row[2:] for row in table.rows], dtype=np.float64)
    np.fill_diagonal(values, np.nan)
    figure, axes = new_axes(COLUMN * 0.85)
    axes.set_facecolor("#DDDDDD")
    picture = axes.imshow(values, cmap=SCALE, vmin=0)
    axes.set_xlabel("class of the entry")
    axes.set_ylabel("class of the largest entry")
    name_ticks(axes, bundle)
    bar = figure.colorbar(picture, ax=axes, shrink=0.8)
    bar.set_label("mean probability")
    return Drawing(figure, table)


def name_ticks(axes: "Axes", bundle: Bundle) -> None:
    """Name the classes at both axes of a heat-map; number them if they are many."""
    axes.spines[["top", "right"]].set_visible(True)
    if bundle.num_classes > _MOST_NAMES:
        return
    names = class_names(bundle.classes)
    size = SMALL if bundle.num_classes <= 12 else 4.5
    axes.set_xticks(range(len(names)), names, rotation=90, size=size)
    axes.set_yticks(range(len(names)), names, size=size)


def entropies(bundle: Bundle) -> dict[Field, Array]:
    """Return the entropies of all soft and all dense labels, in nats.

    Raises:
        IncompatibleError: The bundle has no labels that are distributions.
    """
    values: dict[Field, Array] = {}
    for field in label_fields(bundle):
        parts = []
        for rows in image_chunks(bundle):
            probs = bundle.labels(field).probs(rows).astype(np.float64)
            terms = probs * np.log(np.maximum(probs, _SMALLEST))
            parts.append(-terms.sum(-1).ravel())
        values[field] = np.concatenate(parts)
    if not values:
        raise IncompatibleError(
            "the bundle has no soft and no dense labels with an entropy: make them with "
            "'ddlabel relabel'"
        )
    return values


def entropy_counts(values: Mapping[Field, Array], num_classes: int) -> Table:
    """Count entropies in bins of equal width from 0 to the logarithm of K."""
    edges = np.linspace(0, math.log(max(num_classes, 2)), _NUM_BINS + 1)
    counts = {}
    for field, of_field in values.items():
        # An entropy of log K may be a rounding error above it.
        counts[field] = np.histogram(of_field.clip(edges[0], edges[-1]), edges)[0]
    rows: list[list[Value]] = []
    for number, (low, high) in enumerate(pairwise(edges)):
        rows.append([float(low), float(high), *(int(of[number]) for of in counts.values())])
    return Table(columns=["from_nats", "to_nats", *counts], rows=rows)


@draws("bundle", by_default=True)
def entropy(bundle: Bundle) -> Drawing:
    """Histogram of the entropies of soft and dense labels (Label-Worth, section 4.2)."""
    values = entropies(bundle)
    table = entropy_counts(values, bundle.num_classes)
    columns = np.array([row[2:] for row in table.rows], dtype=np.float64)
    lows = np.array([row[0] for row in table.rows])
    highs = np.array([row[1] for row in table.rows])
    shares = columns / columns.sum(0)
    figure, axes = new_axes(1.9)
    for number, (field, of_field) in enumerate(values.items()):
        mean = of_field.mean()
        label = f"{field} labels, mean {mean:.2f} nats"
        axes.stairs(
            100 * shares[:, number],
            np.append(lows, highs[-1]),
            label=label,
            color=SERIES[number],
            fill=number == 0,
            alpha=0.6 if number == 0 else 1,
            linewidth=1.2,
        )
        axes.axvline(mean, color=SERIES[number], linestyle=":", linewidth=1)
    axes.axvline(highs[-1], color=GREY, linestyle="--", linewidth=0.8)
    axes.set_xlabel("entropy, nats (dashed: all classes alike)", size=NORMAL)
    axes.set_ylabel("labels, %")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, 1.25), ncols=2)
    return Drawing(figure, table)
