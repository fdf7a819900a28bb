"""`import-labels`: labels of the user's own on a bundle."""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ddlabel.commands.command import Made, command
from ddlabel.commands.fkd_labels import put_fkd_labels
from ddlabel.commands.inputs import BundleLike, OpenBundle, open_bundle
from ddlabel.commands.label_report import report_labels
from ddlabel.commands.reporter import Reporter
from ddlabel.core.config import ImportLabelsOptions
from ddlabel.core.errors import IncompatibleError, UsageError
from ddlabel.data.bundle import Bundle, Field
from ddlabel.data.checks import check_labels
from ddlabel.data.importers.budget import check_source
from ddlabel.data.importers.fkd import is_fkd
from ddlabel.data.importers.label_arrays import check_numbers, read_hard, read_soft
from ddlabel.data.importers.label_files import labels_of_array, read_label_file
from ddlabel.data.importers.label_tables import LabelFile
from ddlabel.data.importers.torch_files import array_of, is_tensor
from ddlabel.data.labels import Array, Labels
from ddlabel.data.provenance import (
    GIVEN,
    HARD_LABELS,
    Input,
    name_of_path,
    sha256_of_array,
    sha256_of_file,
    sha256_of_path,
)
from ddlabel.data.reading import reading
from ddlabel.data.schema import LabelMeta
from ddlabel.methods.labels.blocks import label_figures

_ARRAY = "array"
# Labels that agree with the classes less often than this times chance are of another order.
_TIMES_CHANCE = 2


@command("import-labels", ImportLabelsOptions)
def import_labels(
    bundle: BundleLike,
    labels: str | Path | Any,
    *,
    options: ImportLabelsOptions,
    reporter: Reporter,
) -> Made:
    """Put labels of your own on a bundle: hard [N], soft [N, K], or dense [N, V, K] of its views.

    `labels` is a .npy, .npz, .csv or .pt file, the folder of an FKD archive (`epoch_0/batch_0.tar`
    and so on, which brings its views with it), or in Python an array or a tensor. They are in the
    order of the images. Labels of the same kind that the bundle has are replaced. Columns with the
    names of classes are put in the order of the bundle's classes.

    Raises:
        InvalidInputError: The file cannot be read or does not hold labels.
        UnsafeInputError: The file could run code or exhaust the machine.
        UsageError: The space of the labels is not clear and not stated.
        IncompatibleError: They are of other images, classes or views than those of the bundle.
    """
    opened = open_bundle(bundle)
    if isinstance(labels, str | os.PathLike) and is_fkd(Path(labels)):
        return _with_fkd(opened, Path(labels), options, reporter)
    table, source = _read(labels, options.array)
    labelled = put_labels(opened.bundle, table, source.name, options)
    has_hard = table.hard is not None or table.hard_names is not None
    if has_hard:
        num_changed = int((labelled.hard_labels != opened.bundle.hard_labels).sum())
        reporter.note(f"{num_changed} of {len(labelled)} hard labels differ from those before")
    fields: tuple[tuple[Field, Array | None], ...] = (("soft", table.soft), ("dense", table.dense))
    for field, given in fields:
        if given is not None:
            _report_given(labelled, field, reporter)
    return Made(
        bundle=labelled,
        source=opened.digest,
        inputs=[source],
        facts={HARD_LABELS: GIVEN} if has_hard else None,
    )


def _with_fkd(
    opened: OpenBundle, archive: Path, options: ImportLabelsOptions, reporter: Reporter
) -> Made:
    """Return the bundle with the views and dense labels of an FKD archive."""
    labelled = put_fkd_labels(opened.bundle, archive, options, reporter)
    _report_given(labelled, "dense", reporter)
    name = name_of_path(archive)
    source = Input(role="source", name=name, sha256=sha256_of_path(archive))
    return Made(bundle=labelled, source=opened.digest, inputs=[source])


def _read(labels: Any, array: str | None) -> tuple[LabelFile, Input]:
    """Return the labels of a file or an object, and their entry of a history."""
    if isinstance(labels, str | os.PathLike):
        path = Path(labels)
        check_source(path)
        table = read_label_file(path, array)
        name = name_of_path(path)
        return table, Input(role="source", name=name, sha256=sha256_of_file(path))
    if array is not None:
        raise UsageError(f"--array {array} names an array of a file: leave it out")
    with reading(_ARRAY, "not an array of numbers"):
        values = array_of("a tensor", labels) if is_tensor(labels) else np.asarray(labels)
    table = labels_of_array(_ARRAY, values)
    check_numbers(_ARRAY, "labels", values)
    return table, Input(role="source", name=_ARRAY, sha256=sha256_of_array(values))


def put_labels(bundle: Bundle, table: LabelFile, name: str, options: ImportLabelsOptions) -> Bundle:
    """Return the bundle with the labels of a table; `name` is how messages name it.

    Raises:
        InvalidInputError: A number has no meaning.
        UsageError: The space of the labels is not clear and not stated.
        IncompatibleError: They are of other images, classes or views than those of the bundle.
    """
    table = _in_image_order(bundle, table, name)
    hard = table.hard
    if table.hard_names is not None:
        hard = _numbers_of(bundle.classes, table.hard_names, name)
    if hard is not None:
        _check_length(bundle, hard, name)
        hard = read_hard(name, hard)
        if hard.max() >= bundle.num_classes:
            from_one = hard.min() == 1 and hard.max() == bundle.num_classes
            advice = ": the numbers begin at 1: subtract 1 from all" if from_one else ""
            raise IncompatibleError(
                f"{name}: class {hard.max()}, and the bundle has 0 … {bundle.num_classes - 1}"
                f"{advice}"
            )
        bundle = replace(bundle, hard_labels=hard)
    if table.soft is not None:
        _check_length(bundle, table.soft, name)
        soft = _in_class_order(bundle.classes, table.soft, table.classes, name)
        bundle = bundle.with_labels("soft", _labels("soft", soft, name, options))
    if table.dense is not None:
        _check_length(bundle, table.dense, name)
        _check_views(bundle, table.dense, name)
        bundle = bundle.with_labels("dense", _labels("dense", table.dense, name, options))
    return bundle


def _labels(field: Field, values: Array, name: str, options: ImportLabelsOptions) -> Labels:
    stored, space = read_soft(name, values, options.label_space)
    if space != "logits" and options.temperature != 1:
        raise UsageError(
            f"{name}: --temperature {options.temperature:g} is of logits, and the labels are "
            f"{space}: leave it out"
        )
    meta = LabelMeta(space=space, temperature=options.temperature, source="import-labels")
    labels = Labels(values=stored, meta=meta)
    with reading(name, "cannot be read"):
        check_labels(field, labels)
    return labels


def _check_length(bundle: Bundle, values: Array, name: str) -> None:
    if len(values) != len(bundle):
        raise IncompatibleError(
            f"{name}: labels of {len(values)} images, and the bundle has {len(bundle)}"
        )
    num_classes = values.shape[-1]
    if values.ndim > 1 and num_classes != bundle.num_classes:
        raise IncompatibleError(
            f"{name}: labels {list(values.shape)} of {num_classes} classes, and the bundle has "
            f"{bundle.num_classes}"
        )


def _check_views(bundle: Bundle, values: Array, name: str) -> None:
    if bundle.views is None:
        raise IncompatibleError(
            f"{name}: labels [N, V, K] are of views, and the bundle has none: make its views with "
            "'ddlabel densify' first"
        )
    if values.shape[1] != bundle.views.num_views:
        raise IncompatibleError(
            f"{name}: labels of {values.shape[1]} views an image, and the bundle has "
            f"{bundle.views.num_views}"
        )


def _in_image_order(bundle: Bundle, table: LabelFile, name: str) -> LabelFile:
    """Return a table with its rows in the order of the bundle's images.

    The table of an exported folder is in the order of the bundle that was exported. An import of
    the folder sorts the images by their files. The classes show which of both a bundle is.

    Raises:
        IncompatibleError: It is neither.
    """
    if table.by_file is None or len(table.by_file) != len(bundle):
        return table
    for rows in (np.arange(len(table.by_file)), table.by_file):
        taken = table.take(rows)
        hard = taken.hard
        if taken.hard_names is not None:
            hard = _numbers_of(bundle.classes, taken.hard_names, name)
        if hard is not None and np.array_equal(hard, bundle.hard_labels):
            return taken
    raise IncompatibleError(
        f"{name}: its classes are not those of the bundle's images, neither in the order of its "
        "rows nor in that of its files: take out the column file if the rows are in the order of "
        "the images"
    )


def _numbers_of(classes: Sequence[str], names: Sequence[str], name: str) -> Array:
    """Return the numbers of classes that are named."""
    numbers = {each: number for number, each in enumerate(classes)}
    unknown = sorted(set(names) - numbers.keys())
    if unknown:
        raise IncompatibleError(
            f"{name}: the class {unknown[0]!r} is none of the bundle's: {', '.join(classes[:8])}"
        )
    return np.array([numbers[each] for each in names])


def _in_class_order(
    classes: Sequence[str], values: Array, names: Sequence[str] | None, file: str
) -> Array:
    """Return labels [N, K] with their named columns in the order of the classes."""
    if names is None:
        return values
    return values[:, np.argsort(_numbers_of(classes, names, file))]


def _report_given(bundle: Bundle, field: Field, reporter: Reporter) -> None:
    """Report how good labels are, and warn if they seem to be of another order."""
    report_labels(bundle, field, reporter)
    _warn_of_order(bundle, field, reporter)


def _warn_of_order(bundle: Bundle, field: str, reporter: Reporter) -> None:
    """Warn of labels that agree with the classes hardly more often than chance."""
    accuracy = label_figures(bundle, field)["accuracy"]
    if accuracy < _TIMES_CHANCE / bundle.num_classes < 1:
        reporter.warn(
            f"warning: only {100 * accuracy:.1f} % of the {field} labels agree with the hard "
            "labels: are the images, or the classes, in another order?"
        )
