"""`edit`: labels changed on purpose, and images of a class taken out, over a bundle."""

from functools import partial, reduce

import numpy as np

from ddlabel.core.config import EditOptions
from ddlabel.core.errors import IncompatibleError, UsageError
from ddlabel.data.bundle import Bundle
from ddlabel.methods.labels.blocks import map_labels
from ddlabel.methods.labels.edits import edits


def edit(bundle: Bundle, options: EditOptions) -> Bundle:
    """The bundle without the images of a class, and its labels after one edit after another.

    UsageError if there is nothing to do or it does not fit the classes, IncompatibleError for directions.
    """
    changes = [edits.resolve(spec) for spec in options.op]
    if options.without_class is not None:
        bundle = _without(bundle, options.without_class)
    elif not changes:
        raise UsageError(
            "nothing to do: name an edit with --op ('ddlabel list edits') or a class with --without-class"
        )
    if not changes:
        return bundle
    if bundle.labels(options.field).meta.space == "direction":
        raise IncompatibleError(
            "directions have no probabilities to edit: edit the labels before 'ddlabel refine'"
        )
    edited = partial(reduce, lambda target, change: change(target), changes)
    return map_labels(bundle, options.field, edited, how="edited")


def _without(bundle: Bundle, name: str) -> Bundle:
    """The bundle without the images of one class, given by name or number; the labels keep it (Label-Worth, Fig. 7)."""
    number = (
        bundle.classes.index(name)
        if name in bundle.classes
        else int(name)
        if name.isdecimal()
        else -1
    )
    left = np.flatnonzero(bundle.hard_labels != number)
    if not 0 < len(left) < len(bundle):
        of = f"{len(bundle) - len(left)} of {len(bundle)} images are of it"
        raise UsageError(
            f"--without-class is {name!r}: {of}; expected the name or number of a class with some"
        )
    return bundle.take(left)
