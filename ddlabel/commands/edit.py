"""`edit`: labels changed on purpose, and the images of a class taken out."""

import numpy as np

from ddlabel.commands.command import Made, command
from ddlabel.commands.inputs import BundleLike, open_bundle
from ddlabel.commands.label_report import report_change
from ddlabel.commands.reporter import Reporter
from ddlabel.core.config import EditOptions
from ddlabel.core.errors import IncompatibleError, UsageError
from ddlabel.data.bundle import Bundle
from ddlabel.methods.labels.blocks import map_labels
from ddlabel.methods.labels.edits import edits
from ddlabel.methods.labels.target import Target


@command("edit", EditOptions)
def edit(bundle: BundleLike, *, options: EditOptions, reporter: Reporter) -> Made:
    """Change labels on purpose, or take out the images of a class (Label-Worth, section 4).

    Shows what in the labels teaches.

    Raises:
        UsageError: There is nothing to do, or an edit does not fit the classes.
        IncompatibleError: The labels are directions, or missing.
    """
    opened = open_bundle(bundle)
    edited = edit_labels(opened.bundle, options)
    if options.op:
        report_change(opened.bundle, edited, options.field, reporter)
    reporter.note(f"{len(edited)} of {len(opened.bundle)} images")
    return Made(bundle=edited, source=opened.digest)


def edit_labels(bundle: Bundle, options: EditOptions) -> Bundle:
    """Take out the images of a class, then apply one edit after another to the labels.

    Raises:
        UsageError: There is nothing to do, or an edit does not fit the classes.
        IncompatibleError: The labels are directions, or missing.
    """
    changes = [edits.resolve(spec) for spec in options.op]
    if options.without_class is not None:
        bundle = _without_class(bundle, options.without_class)
    elif not changes:
        raise UsageError(
            "nothing to do: name an edit with --op ('ddlabel list edits') or a class with "
            "--without-class"
        )
    if not changes:
        return bundle
    if bundle.labels(options.field).meta.space == "direction":
        raise IncompatibleError(
            "directions have no probabilities to edit: edit the labels before 'ddlabel refine'"
        )

    def apply_all(target: Target) -> Target:
        for change in changes:
            target = change(target)
        return target

    return map_labels(bundle, options.field, apply_all, how="edited")


def _without_class(bundle: Bundle, name: str) -> Bundle:
    """Take out the images of one class, given by name or number; labels keep it (Fig. 7)."""
    number = -1
    if name in bundle.classes:
        number = bundle.classes.index(name)
    elif name.isdecimal():
        number = int(name)
    rows = np.flatnonzero(bundle.hard_labels != number)
    if not 0 < len(rows) < len(bundle):
        num_images = len(bundle) - len(rows)
        raise UsageError(
            f"--without-class is {name!r}: {num_images} of {len(bundle)} images are of it; "
            "expected the name or number of a class with some"
        )
    return bundle.take(rows)
