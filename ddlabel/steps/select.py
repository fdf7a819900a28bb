"""`select`: a few images of each class."""

import numpy as np

from ddlabel import rng
from ddlabel.bundle import Bundle
from ddlabel.config import SelectOptions
from ddlabel.errors import UsageError


def select(bundle: Bundle, options: SelectOptions) -> Bundle:
    """`ipc` images of every class at random, sorted by class; `source_index` says where they stood.

    The draw of one class depends on the seed and the class alone, and a smaller IPC is a part of a larger one.

    Raises:
        UsageError: if a class has fewer images.
    """
    chosen = []
    for number, name in enumerate(bundle.classes):
        rows = np.flatnonzero(bundle.hard_labels == number)
        if len(rows) < options.ipc:
            raise UsageError(f"--ipc is {options.ipc} and class {name!r} has {len(rows)} images: ask for at most that")
        generator = np.random.default_rng(rng.stream(options.seed, "select", number))
        chosen.append(rows[generator.permutation(len(rows))[: options.ipc]])
    return bundle.take(np.concatenate(chosen))
