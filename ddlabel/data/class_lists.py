"""Lists of class names that a user gives, and bundles whose classes follow them."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ddlabel.core.errors import UsageError
from ddlabel.data import formats
from ddlabel.data.bundle import Bundle
from ddlabel.data.class_names import check_class_names, listed
from ddlabel.data.expert_run import ExpertRun
from ddlabel.data.labels import Array
from ddlabel.data.provenance import canonical_json, name_of_path, sha256_of_text
from ddlabel.data.reading import exists, read_limited, reading
from ddlabel.data.run_files import INFO
from ddlabel.data.schema import MAX_BYTES, require


class ClassList(NamedTuple):
    """Class names, and the text that names them in a history: the list, or a file of it."""

    classes: tuple[str, ...]
    name: str

    @property
    def digest(self) -> str:
        """sha256 of the names in their order."""
        return sha256_of_text(canonical_json(self.classes))


def read_class_list(option: str, value: Any) -> ClassList:
    """Read class names: with commas, or of a file of names, a bundle or an expert run.

    A file has one name in each line, or all names in one line with commas. A name that has a comma
    needs a file with lines.

    Raises:
        UsageError: A name is empty or there twice.
        InvalidInputError: The file, the bundle or the run cannot be read.
    """
    if isinstance(value, Bundle):
        found = ClassList(value.classes, ",".join(value.classes))
    elif isinstance(value, ExpertRun):
        found = ClassList(value.about.classes, name_of_path(value.folder))
    elif exists(value):
        path = Path(value)
        found = ClassList(_of_path(path), name_of_path(path))
    else:
        is_file_name = Path(value).suffix.lower() in (".txt", *formats.FORMATS)
        require(not is_file_name, f"{option}: {value}: there is no such file")
        found = ClassList(_split(value), value)
    if "" in found.classes or len(set(found.classes)) < len(found.classes):
        raise UsageError(
            f"{option} {value}: a name is empty or there twice: name each class once, with commas"
        )
    check_class_names(option, found.classes)
    return found


def _of_path(path: Path) -> tuple[str, ...]:
    if path.is_dir():
        runs = ExpertRun.find(str(path))
        lists = {run.about.classes for run in runs}
        require(len(lists) == 1, f"{path}: its expert runs have different classes: name one run")
        return lists.pop()
    if path.suffix.lower() in formats.FORMATS:
        return formats.read_header(str(path)).classes
    with reading(path, "cannot be read as a list of class names"):
        require(path.name != INFO, "name the folder of the run instead")
        text = read_limited(path, MAX_BYTES).decode()
        lines = [line.strip() for line in text.splitlines()]
    names = tuple(line for line in lines if line)
    require(names, f"{path}: it has no class name: write one in each line")
    return _split(names[0]) if len(names) == 1 else names


def _split(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(","))


def columns_of(option: str, classes: Sequence[str], wanted: Sequence[str]) -> Array:
    """Return for each class of an order its number [K] in `classes`.

    Raises:
        UsageError: The order does not have these very classes.
    """
    missing = [name for name in classes if name not in set(wanted)]
    unknown = [name for name in wanted if name not in set(classes)]
    if missing or unknown:
        lacks = [f"it lacks {listed(missing)}"] if missing else []
        adds = [f"{listed(unknown)} is none of them"] if unknown else []
        raise UsageError(
            f"{option} must name each of the {len(classes)} classes once: "
            f"{', and '.join([*lacks, *adds])}"
        )
    number_of = {name: number for number, name in enumerate(classes)}
    return np.array([number_of[name] for name in wanted])


def reorder_classes(bundle: Bundle, wanted: Sequence[str], option: str = "--class-order") -> Bundle:
    """Return the bundle with its classes in another order. No label changes its meaning.

    Raises:
        UsageError: The order does not have the classes of the bundle.
    """
    columns = columns_of(option, bundle.classes, wanted)
    new_number = np.argsort(columns)
    return replace(
        bundle,
        classes=tuple(wanted),
        hard_labels=new_number[bundle.hard_labels],
        soft=None if bundle.soft is None else bundle.soft.reorder(columns),
        dense=None if bundle.dense is None else bundle.dense.reorder(columns),
    )


def reorder_labels(bundle: Bundle, field: str, made_in: Sequence[str]) -> Bundle:
    """Return the bundle with the entries of its labels moved to the classes that they are of.

    The labels were made in the order `made_in`, which is not that of the bundle's classes. Hard
    labels stay.

    Raises:
        UsageError: The order does not have the classes of the bundle.
        IncompatibleError: The bundle has no such labels.
    """
    columns = columns_of("--label-order", bundle.classes, made_in)
    return bundle.with_labels(field, bundle.labels(field).reorder(np.argsort(columns)))


def rename_classes(bundle: Bundle, names: Sequence[str]) -> Bundle:
    """Return the bundle with other class names; class k keeps its number and its labels.

    Raises:
        UsageError: There are more or fewer names than classes.
    """
    if len(names) != bundle.num_classes:
        raise UsageError(
            f"--class-names gives {len(names)} names for {bundle.num_classes} classes: name each "
            "of them once"
        )
    return replace(bundle, classes=tuple(names))
