"""Tables of labels as text: a row for each image, a column for each class or one for all."""

import csv
from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import NamedTuple

import numpy as np

from ddlabel.data.importers import budget
from ddlabel.data.importers.images import file_order
from ddlabel.data.labels import Array
from ddlabel.data.reading import reading
from ddlabel.data.schema import require

# A text takes about ten times its bytes in memory.
_MAX_BYTES = 1 << 26
_NO_FORMULA = ("'=", "'+", "'-", "'@")
_DELIMITERS = ",;\t "
# A column with the number of each row's image, and one with its class.
_INDEX = ("index", "image", "row")
# The column with the file of each row's image: the table of an exported folder.
_FILE = "file"
_NAMES = "class"
_HARD = ("hard_label", "hard_labels", "label", _NAMES, "target")


class LabelFile(NamedTuple):
    """The labels of a file: hard [N], soft [N, K] and dense [N, V, K], of which one is there.

    `hard_names` are hard labels as the names of classes, in place of `hard`. `classes` are the
    names of the columns of soft labels, in their order, where the file has them. `by_file` [N] are
    the rows in the order in which an import sorts the files of their images, where they are named.
    """

    hard: Array | None = None
    hard_names: tuple[str, ...] | None = None
    soft: Array | None = None
    dense: Array | None = None
    classes: tuple[str, ...] | None = None
    by_file: Array | None = None

    def take(self, rows: Array) -> "LabelFile":
        """Return the labels of these rows of a table."""
        names = self.hard_names
        return self._replace(
            hard=None if self.hard is None else self.hard[rows],
            hard_names=None if names is None else tuple(names[row] for row in rows),
            soft=None if self.soft is None else self.soft[rows],
            by_file=None,
        )


def read_table(path: Path) -> LabelFile:
    """Read a table with commas, semicolons, tabs or blanks between the columns.

    A first row that is not of numbers names the columns: those of classes, `label` (hard labels as
    numbers or names) and `index` (the number of the image, from 0).

    Raises:
        InvalidInputError: A row has another length, or a text stands in place of a number.
        UnsafeInputError: The file is too large.
    """
    with reading(path, "cannot be read as a table"):
        budget.check_budget("it", path.stat().st_size, _MAX_BYTES)
        rows = _rows(path.read_text("utf-8-sig"))
        require(rows, "it is empty: expected a row of labels for each image")
        has_names = not _are_numbers(rows[0]) and (len(rows[0]) > 1 or rows[0][0] in _HARD)
        names = [name.strip() for name in rows.pop(0)] if has_names else None
        require(rows, "it has names of columns and no row")
        width = len(rows[0]) if names is None else len(names)
        for number, row in enumerate(rows):
            require(len(row) == width, f"row {number} has {len(row)} columns: expected {width}")
        return _labels_of(rows, names)


def _rows(text: str) -> list[list[str]]:
    """Split a text into rows of columns, at the delimiter that its first line has."""
    first = text.strip().partition("\n")[0]
    delimiter = next((sign for sign in _DELIMITERS if sign in first), ",")
    lines = csv.reader(text.splitlines(), delimiter=delimiter, skipinitialspace=True)
    return [[_plain(cell) for cell in row] for row in lines if any(cell.strip() for cell in row)]


def _plain(cell: str) -> str:
    """Return a cell without the ' that `export` puts before what looks like a formula."""
    return cell[1:] if cell.startswith(_NO_FORMULA) else cell


def _labels_of(rows: list[list[str]], names: list[str] | None) -> LabelFile:
    """Return the labels of rows whose columns may have names."""
    if names is None:
        if len(rows[0]) > 1:
            return LabelFile(soft=_numbers(rows))
        return _hard_column([row[0] for row in rows])
    require(len(set(names)) == len(names), "two columns have one name")
    index = [number for number, name in enumerate(names) if name in _INDEX]
    hard = [number for number, name in enumerate(names) if name in _HARD]
    files = [number for number, name in enumerate(names) if name == _FILE]
    # A class may be called so too.
    files = [number for number in files if not _are_numbers([row[number] for row in rows])]
    twice = ", ".join(names[number] for number in index)
    require(len(index) < 2, f"the columns {twice} mean the same: keep one of them")
    if index:
        rows = _in_order(rows, [row[index[0]] for row in rows])
    labels = _hard_labels(rows, {names[number]: number for number in hard})
    if files and hard:
        labels = labels._replace(by_file=_file_order([row[files[0]] for row in rows]))
    columns = [number for number in range(len(names)) if number not in (*index, *hard, *files)]
    if not columns:
        require(hard, "it has no column of labels")
        return labels
    values = _numbers([[row[column] for column in columns] for row in rows])
    return labels._replace(soft=values, classes=tuple(names[column] for column in columns))


def _hard_labels(rows: list[list[str]], hard: dict[str, int]) -> LabelFile:
    """Return the hard labels of columns, by their names: one, or class names and their numbers."""
    columns = [[row[number] for row in rows] for number in hard.values()]
    if not columns:
        return LabelFile()
    if len(columns) == 1:
        return _hard_column(columns[0])
    listed = ", ".join(hard)
    are_names_and_numbers = len(columns) == 2 and _NAMES in hard
    require(are_names_and_numbers, f"the columns {listed} mean the same: keep one of them")
    pairs = set(zip(*columns, strict=True))
    agree = all(len(pairs) == len(set(column)) for column in columns)
    require(agree, f"the columns {listed} do not agree in every row: keep one of them")
    # The numbers may be those of another order of the classes: the names are never.
    names = [row[hard[_NAMES]] for row in rows]
    return LabelFile(hard_names=tuple(cell.strip() for cell in names))


def _file_order(files: Sequence[str]) -> Array:
    """Return the rows in the order in which an import of the folder sorts its files."""
    return np.array(sorted(range(len(files)), key=lambda row: file_order(PurePath(files[row]))))


def _in_order(rows: list[list[str]], numbers: Sequence[str]) -> list[list[str]]:
    """Return the rows in the order of their numbers, which must be 0, 1, 2, …, each one once."""
    require(_are_numbers(numbers), "the column of the images has texts: expected 0, 1, 2, …")
    places = np.array(numbers, float)
    expected = np.arange(len(rows))
    require(
        (np.sort(places) == expected).all(),
        f"the column of the images must have 0 … {len(rows) - 1}, each one once",
    )
    return [rows[number] for number in np.argsort(places)]


def _hard_column(cells: Sequence[str]) -> LabelFile:
    if _are_numbers(cells):
        return LabelFile(hard=np.array(cells, float))
    return LabelFile(hard_names=tuple(cell.strip() for cell in cells))


def _numbers(rows: list[list[str]]) -> Array:
    """Return rows of texts as an array of numbers [N, K]."""
    values = np.empty((len(rows), len(rows[0])), np.float64)
    for number, row in enumerate(rows):
        require(_are_numbers(row), f"row {number} has a text: expected numbers, got {row[:4]}")
        values[number] = [float(cell) for cell in row]
    return values


def _are_numbers(cells: Sequence[str]) -> bool:
    """Return whether every text is a number."""
    try:
        for cell in cells:
            float(cell)
    except ValueError:
        return False
    return True
