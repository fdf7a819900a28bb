"""Mean labels by class (Label-Worth, appendix C.1)."""

from typing import NamedTuple

import numpy as np

from ddlabel.data.bundle import Bundle, image_chunks
from ddlabel.data.labels import Array


class ClassMeans(NamedTuple):
    """The mean [K, K] of the labels of each class, and the number [K] of these labels.

    The mean of no label is NaN.
    """

    means: Array
    counts: Array


def class_means(bundle: Bundle, field: str) -> ClassMeans:
    """Average the `soft` or `dense` labels by the class of their largest entry.

    Of a label that lost probability, what is left of it divided by its sum counts. A label that
    lost all of it names no class.

    Raises:
        IncompatibleError: The labels are missing, or are directions.
    """
    num_classes = bundle.num_classes
    sums = np.zeros((num_classes, num_classes))
    counts = np.zeros(num_classes, np.int64)
    for rows in image_chunks(bundle):
        probs = bundle.labels(field).probs(rows).reshape(-1, num_classes).astype(np.float64)
        mass = probs.sum(1)
        probs = probs[mass > 0] / mass[mass > 0, None]
        winners = probs.argmax(1)
        np.add.at(sums, winners, probs)
        counts += np.bincount(winners, minlength=num_classes)
    means = np.full_like(sums, np.nan)
    np.divide(sums, counts[:, None], out=means, where=counts[:, None] > 0)
    return ClassMeans(means, counts)
