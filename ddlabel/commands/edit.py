"""`edit`: labels changed on purpose, classes renamed or reordered, images taken out."""

import numpy as np

from ddlabel.commands.class_lists import class_list_inputs, describe_classes
from ddlabel.commands.command import Made, command
from ddlabel.commands.inputs import BundleLike, open_bundle
from ddlabel.commands.label_report import report_change
from ddlabel.commands.reporter import Reporter
from ddlabel.core.config import EditOptions
from ddlabel.core.errors import IncompatibleError, UsageError
from ddlabel.data.bundle import Bundle, image_chunks
from ddlabel.data.class_lists import (
    read_class_list,
    rename_classes,
    reorder_classes,
    reorder_labels,
)
from ddlabel.data.labels import Labels
from ddlabel.data.schema import LabelMeta
from ddlabel.data.scratch import scratch_array
from ddlabel.methods.labels.blocks import map_labels
from ddlabel.methods.labels.edits import edits
from ddlabel.methods.labels.target import Target


@command("edit", EditOptions)
def edit(bundle: BundleLike, *, options: EditOptions, reporter: Reporter) -> Made:
    """Change labels on purpose, rename or reorder classes, or take out images.

    Edits of labels show what in them teaches (Label-Worth, section 4). Reordered classes keep their
    images and labels.

    Raises:
        UsageError: There is nothing to do, or an edit does not fit the classes.
        IncompatibleError: The labels are directions, or missing.
        InvalidInputError: A list of class names cannot be read.
    """
    opened = open_bundle(bundle)
    edited = edit_labels(opened.bundle, options)
    if options.field == "hard":
        report_change(_with_one_hot_labels(opened.bundle), edited, "soft", reporter)
    elif options.op or options.label_order is not None:
        report_change(opened.bundle, edited, options.field, reporter)
    if edited.classes != opened.bundle.classes:
        reporter.note(describe_classes(edited.classes, opened.bundle.classes))
    reporter.note(f"{len(edited)} of {len(opened.bundle)} images")
    return Made(bundle=edited, source=opened.digest, inputs=class_list_inputs(options))


def edit_labels(bundle: Bundle, options: EditOptions) -> Bundle:
    """Correct the order of labels and classes, take out images, then edit the labels.

    Raises:
        UsageError: There is nothing to do, or an edit does not fit the classes.
        IncompatibleError: The labels are directions, or missing.
    """
    changes = [edits.resolve(spec) for spec in options.op]
    lists = (options.label_order, options.class_names, options.class_order)
    removals = (options.without_class, options.without_images)
    if not changes and all(each is None for each in (*lists, *removals)):
        raise UsageError(
            "nothing to do: name an edit with --op ('ddlabel list edits'), images with "
            "--without-class or --without-images, or --class-order, --class-names or --label-order"
        )
    bundle = _with_classes(bundle, options)
    if options.without_images is not None:
        bundle = _without_images(bundle, options.without_images)
    if options.without_class is not None:
        bundle = _without_class(bundle, options.without_class)
    if not changes:
        return bundle
    field = options.field
    if field == "hard":
        bundle = _with_one_hot_labels(bundle)
        field = "soft"
    if bundle.labels(field).meta.space == "direction":
        raise IncompatibleError(
            "directions have no probabilities to edit: edit the labels before 'ddlabel refine'"
        )

    def apply_all(target: Target) -> Target:
        for change in changes:
            target = change(target)
        return target

    return map_labels(bundle, field, apply_all, how="edited")


def _with_one_hot_labels(bundle: Bundle) -> Bundle:
    """Return the bundle with soft labels that are the classes: all probability on one."""
    shape = (len(bundle), bundle.num_classes)
    values = scratch_array(shape, np.float32)
    one_hot = np.eye(bundle.num_classes, dtype=np.float32)
    for rows in image_chunks(bundle):
        values[rows] = one_hot[bundle.hard_labels[rows]]
    meta = LabelMeta(space="probs", source="hard")
    return bundle.with_labels("soft", Labels(values=values, meta=meta))


def _with_classes(bundle: Bundle, options: EditOptions) -> Bundle:
    """Move the entries of labels to their classes, then rename the classes, then reorder them."""
    if options.label_order is not None:
        made_in = read_class_list("--label-order", options.label_order)
        bundle = reorder_labels(bundle, options.field, made_in.classes)
    if options.class_names is not None:
        names = read_class_list("--class-names", options.class_names)
        bundle = rename_classes(bundle, names.classes)
    if options.class_order is not None:
        order = read_class_list("--class-order", options.class_order)
        bundle = reorder_classes(bundle, order.classes)
    return bundle


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


def _without_images(bundle: Bundle, text: str) -> Bundle:
    """Take out the images of some rows, given as numbers and ranges: `3,17,40-59`."""
    removed = np.zeros(len(bundle), bool)
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()):
            raise UsageError(
                f"--without-images has {part.strip()!r}: expected numbers and ranges, as 3,17,40-59"
            )
        start, end = int(first), int(last if dash else first)
        if not start <= end < len(bundle):
            raise UsageError(
                f"--without-images has {part.strip()!r}: the images have the numbers 0 to "
                f"{len(bundle) - 1}"
            )
        removed[start : end + 1] = True
    if removed.all():
        raise UsageError("--without-images names all images: leave one at least")
    return bundle.take(np.flatnonzero(~removed))
