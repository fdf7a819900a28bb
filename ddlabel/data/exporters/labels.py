"""Labels as other programs hold them."""

import csv
import io
from collections.abc import Iterator, Sequence

import numpy as np

from ddlabel.core.errors import IncompatibleError
from ddlabel.data.bundle import Bundle, image_chunks
from ddlabel.data.labels import Array, Labels
from ddlabel.data.schema import Space

# A spreadsheet takes a cell that begins so for a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
# The least probability whose logarithm is taken: the least normal number of float32.
_SMALLEST = np.finfo(np.float32).tiny


def as_logits(labels: Labels, rows: slice | Array = slice(None)) -> Array:
    """Return logits [n, K] or [n, V, K] in float32 whose softmax at temperature 1 is the label.

    A probability of 0 becomes the least number of float32, whose logarithm is −87.

    Raises:
        IncompatibleError: The labels are no distributions.
    """
    values = labels.decode(rows)
    if labels.meta.space == "logits":
        return np.asarray(values / np.float32(labels.meta.temperature))
    if labels.meta.space == "probs":
        return np.asarray(np.log(np.maximum(values, _SMALLEST)))
    raise IncompatibleError(
        f"the labels are {labels.meta.space}, which logits cannot hold: choose --format mtt (hard "
        "labels) or npz"
    )


def text_cell(text: str) -> str:
    """Return a text as a cell that no spreadsheet takes for a formula: with ' before it."""
    return f"'{text}" if text.startswith(_FORMULA) else text


def csv_lines(bundle: Bundle, files: Sequence[str] | None = None) -> Iterator[bytes]:
    """Yield a table of labels in blocks: image, class, and the soft label.

    With the names of the images' `files`, they and the class numbers are columns too. The columns
    of soft labels are the class names. Their numbers are probabilities, or the vectors of
    directions. `import-labels` reads the table.
    """
    has_soft = bundle.soft is not None
    columns = ["image", "class"] if files is None else ["image", "class", "hard_label", "file"]
    columns += map(text_cell, bundle.classes) if has_soft else []
    yield _csv([columns])
    for rows in image_chunks(bundle):
        block = []
        soft = soft_values(bundle, rows) if has_soft else None
        for number, hard in enumerate(bundle.hard_labels[rows].tolist()):
            image = rows.start + number
            cells = [str(image), text_cell(bundle.classes[hard])]
            if files is not None:
                cells += [str(hard), text_cell(files[image])]
            if soft is not None:
                cells += [f"{value:.9g}" for value in soft[number]]
            block.append(cells)
        yield _csv(block)


def soft_values(bundle: Bundle, rows: slice) -> Array:
    """Return soft labels [n, K] of some images as probabilities, or as they are if directions."""
    labels = bundle.labels("soft")
    is_direction = labels.meta.space == "direction"
    return labels.decode(rows) if is_direction else labels.probs(rows)


def space_of_values(bundle: Bundle) -> Space:
    """Return the space of the numbers of `soft_values`."""
    space = bundle.labels("soft").meta.space
    return "probs" if space == "logits" else space


def _csv(rows: Sequence[Sequence[str]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()
