"""Parquet files of Hugging Face data sets: images as bytes, classes, and maybe soft labels."""

import json
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np

from ddlabel.core.config import ImportOptions
from ddlabel.core.errors import InvalidInputError, UnsafeInputError, UsageError
from ddlabel.data.importers import budget
from ddlabel.data.importers.image_list import read_images
from ddlabel.data.importers.images import Member
from ddlabel.data.importers.registry import Certainty, Found, importers
from ddlabel.data.importers.soft_rows import SoftRows, num_classes_of
from ddlabel.data.importers.source import Source
from ddlabel.data.labels import Array
from ddlabel.data.reading import reading
from ddlabel.data.schema import require

_MAGIC = b"PAR1"
_IMAGES = ("image", "img")
_LABELS = ("label", "class_id", "labels", "fine_label")
_SOFT = ("soft_label", "soft_labels")
# The property of the column of soft labels that says their space.
_SPACE = b"label_space"
_NUMBER_BYTES = 8
_MAX_SHARDS = 10_000
_ROWS_AT_ONCE = 64
# What the footer may hold: names and statistics.
_MAX_TEXT_BYTES = 1 << 24


class _Shard(NamedTuple):
    """An open file, its name, its number of rows, and the names of its columns.

    `soft` is None without a column of soft labels, and `space` if it does not say theirs.
    """

    file: Any
    path: Path
    num_rows: int
    image: str
    label: str
    soft: str | None
    space: str | None

    @property
    def columns(self) -> list[str]:
        """The names of the columns that are read."""
        return [self.image, self.label, *([] if self.soft is None else [self.soft])]


class _Rows(NamedTuple):
    """What is read beside the images: their classes, and their soft labels."""

    hard: list[int]
    soft: SoftRows


def _recognise(paths: Sequence[Path]) -> Found | None:
    """Find files that begin as parquet files do."""
    if not all(path.is_file() and _begins_with_magic(path) for path in paths):
        return None
    what = "a parquet file" if len(paths) == 1 else f"{len(paths)} parquet files"
    return Found(what, Certainty.MARK)


def _begins_with_magic(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(_MAGIC)) == _MAGIC


@importers.add(
    "parquet",
    recognise=_recognise,
    options={"size", "skip_bad", "label_space"},
    most_paths=_MAX_SHARDS,
)
def load(paths: Sequence[Path], options: ImportOptions) -> Source:
    """Hugging Face: one or several parquet files with the columns `image` and `label`.

    An image is a struct with `bytes`, or bytes. The column of classes may be called `class_id`,
    `labels` or `fine_label` too. A column `soft_label` of lists of numbers has soft labels. Class
    names are taken from the description of the columns.

    Raises:
        UsageError: pyarrow is not installed, or the space of the soft labels is not clear.
        InvalidInputError: A file is damaged or lacks a column, or images cannot be read or differ
            in size.
        UnsafeInputError: A file inflates out of proportion.
    """
    shards = [_open(path) for path in paths]
    count = sum(shard.num_rows for shard in shards)
    require(count > 0, f"{paths[0]}: it has no rows")
    rows = _Rows([], SoftRows())
    read = read_images(paths[0].name, _members(shards, rows), count, options)
    hard_labels = np.array(rows.hard)
    name = str(paths[0])
    soft = rows.soft.labels(name, [shard.space for shard in shards], options.label_space)
    num_classes = num_classes_of(name, hard_labels, soft)
    names = _class_names(shards[0]) or tuple(map(str, range(num_classes)))
    require(
        num_classes <= len(names) and (soft is None or num_classes == len(names)),
        f"{name}: the labels are of {num_classes} classes, and it names {len(names)}",
    )
    return Source(
        read.images,
        hard_labels[read.rows],
        names,
        soft_labels=None if soft is None else soft.values[read.rows],
        label_space="logits" if soft is None else soft.space,
        notes=(*_columns_note(shards[0]), *read.notes),
        facts=read.facts,
    )


def _open(path: Path) -> _Shard:
    try:
        import pyarrow.parquet as pq
    except ImportError:
        raise UsageError(
            f"{path}: parquet files need pyarrow: pip install 'ddlabel[parquet]'"
        ) from None
    with reading(path, "cannot be read as a parquet file"):
        file = pq.ParquetFile(
            path,
            thrift_string_size_limit=_MAX_TEXT_BYTES,
            thrift_container_size_limit=_MAX_TEXT_BYTES,
        )
        names = file.schema_arrow.names
        image = next((name for name in _IMAGES if name in names), None)
        label = next((name for name in _LABELS if name in names), None)
        if image is None or label is None:
            raise InvalidInputError(
                f"it has the columns {', '.join(names)}: expected one of {', '.join(_IMAGES)} and "
                f"one of {', '.join(_LABELS)}"
            )
        soft = next((name for name in _SOFT if name in names), None)
        space = _space_of(file.schema_arrow, soft)
        shard = _Shard(file, path, file.metadata.num_rows, image, label, soft, space)
        _check_types(file.schema_arrow, shard)
        _check_size(shard)
        return shard


def _space_of(schema: Any, soft: str | None) -> str | None:
    """Return the space that the column of soft labels says, if there is one that does."""
    about = {} if soft is None else schema.field(soft).metadata or {}
    return about[_SPACE].decode() if _SPACE in about else None


def _check_types(schema: Any, shard: _Shard) -> None:
    """Check the columns: images are bytes, classes whole numbers, soft labels lists of numbers."""
    import pyarrow.types as kinds

    image, label = shard.image, shard.label
    kind = schema.field(image).type
    if kinds.is_struct(kind) and kind.get_field_index("bytes") >= 0:
        kind = kind.field("bytes").type
    require(
        kinds.is_binary(kind) or kinds.is_large_binary(kind),
        f"the column {image!r} is {kind}: expected bytes of PNG or JPEG files, or structs with "
        "bytes",
    )
    kind = schema.field(label).type
    require(kinds.is_integer(kind), f"the column {label!r} is {kind}: expected class numbers")
    if shard.soft is not None:
        kind = schema.field(shard.soft).type
        is_list = kinds.is_list(kind) or kinds.is_large_list(kind) or kinds.is_fixed_size_list(kind)
        require(
            is_list and (kinds.is_floating(kind.value_type) or kinds.is_integer(kind.value_type)),
            f"the column {shard.soft!r} is {kind}: expected lists of numbers",
        )


def _check_size(shard: _Shard) -> None:
    """Check the bytes that the columns declare, before any of them is read."""
    file = shard.file
    num_bytes = 0
    for group in range(file.metadata.num_row_groups):
        for column in range(file.metadata.num_columns):
            chunk = file.metadata.row_group(group).column(column)
            name = chunk.path_in_schema.split(".")[0]
            if name in shard.columns:
                num_bytes += max(0, chunk.total_uncompressed_size)
            if name == shard.soft:
                # Equal numbers take almost no bytes in the file.
                num_bytes += _NUMBER_BYTES * max(0, chunk.num_values)
    budget.check_inflated(num_bytes, shard.path.stat().st_size)
    # Not one bit for a row: the rows are empty.
    require(
        file.metadata.num_rows <= 8 * max(1, num_bytes),
        f"it declares {file.metadata.num_rows} rows in {num_bytes} bytes",
        UnsafeInputError,
    )


def _members(shards: Sequence[_Shard], rows: _Rows) -> Iterator[Member]:
    """Yield the images of all shards, and append their labels to `rows`."""
    for shard in shards:
        with reading(shard.path, "cannot be read as a parquet file"):
            row = 0
            for batch in shard.file.iter_batches(_ROWS_AT_ONCE, columns=shard.columns):
                images = batch.column(shard.image).to_pylist()
                numbers = batch.column(shard.label).to_pylist()
                soft = _soft_rows(batch, shard.soft)
                for image, number, label in zip(images, numbers, soft, strict=True):
                    require(
                        number is not None and number >= 0,
                        f"row {row}: the class is {number}: expected 0, 1, 2, …",
                    )
                    rows.hard.append(number)
                    rows.soft.add(f"row {row}", label)
                    yield _member(shard, row, image)
                    row += 1
            require(row == shard.num_rows, f"{row} rows where {shard.num_rows} are declared")


def _soft_rows(batch: Any, column: str | None) -> list[Array | None]:
    """Return the soft label [K] of each row of a batch as float64; None where there is none."""
    if column is None:
        return [None] * batch.num_rows
    rows: list[Array | None] = []
    for cell in batch.column(column):
        if not cell.is_valid or len(cell.values) == 0:
            rows.append(None)
        else:
            rows.append(cell.values.to_numpy(zero_copy_only=False).astype(np.float64))
    return rows


def _member(shard: _Shard, row: int, image: Any) -> Member:
    """Return the image of a row; `image` is its bytes, or a struct with bytes and a path."""
    stored = image if isinstance(image, dict) else {"bytes": image}
    name = (
        f"row {row}" if len(str(stored.get("path") or "")) == 0 else f"row {row} ({stored['path']})"
    )
    read = partial(_bytes_of, stored.get("bytes"))
    return Member(PurePosixPath(name), read, f"{shard.path}: {name}")


def _bytes_of(content: bytes | None) -> bytes:
    require(content, "there are no bytes of an image here: save the images in the file")
    assert content is not None
    budget.check_budget("the image file", len(content), budget.MAX_FILE_BYTES)
    return content


def _class_names(shard: _Shard) -> tuple[str, ...] | None:
    """Return the class names that the file's description of its features has; None without."""
    metadata = shard.file.schema_arrow.metadata or {}
    try:
        features = json.loads(metadata[b"huggingface"])["info"]["features"]
        names = features[shard.label]["names"]
        is_list = isinstance(names, list) and all(isinstance(name, str) for name in names)
    except (KeyError, TypeError, ValueError, RecursionError):
        return None
    return tuple(names) if is_list else None


def _columns_note(shard: _Shard) -> tuple[str, ...]:
    """Return a note of columns that are not read."""
    unread = [name for name in shard.file.schema_arrow.names if name not in shard.columns]
    return (f"note: {shard.path}: not read: {', '.join(unread)}",) if unread else ()
