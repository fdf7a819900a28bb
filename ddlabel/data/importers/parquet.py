"""Parquet files of Hugging Face data sets: images as bytes, and a column of classes."""

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
from ddlabel.data.importers.label_arrays import check_num_classes
from ddlabel.data.importers.registry import Certainty, Found, importers
from ddlabel.data.importers.source import Source
from ddlabel.data.reading import reading
from ddlabel.data.schema import require

_MAGIC = b"PAR1"
_IMAGES = ("image", "img")
_LABELS = ("label", "class_id", "labels", "fine_label")
_MAX_SHARDS = 10_000
_ROWS_AT_ONCE = 64
# What the footer may hold: names and statistics.
_MAX_TEXT_BYTES = 1 << 24


class _Shard(NamedTuple):
    """An open file, its name, its number of rows, and the names of its columns."""

    file: Any
    path: Path
    num_rows: int
    image: str
    label: str


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
    "parquet", recognise=_recognise, options={"size", "skip_bad"}, most_paths=_MAX_SHARDS
)
def load(paths: Sequence[Path], options: ImportOptions) -> Source:
    """Hugging Face: one or several parquet files with the columns `image` and `label`.

    An image is a struct with `bytes`, or bytes. The column of classes may be called `class_id`,
    `labels` or `fine_label` too. Class names are taken from the description of the columns.

    Raises:
        UsageError: pyarrow is not installed.
        InvalidInputError: A file is damaged or lacks a column, or images cannot be read or differ
            in size.
        UnsafeInputError: A file inflates out of proportion.
    """
    shards = [_open(path) for path in paths]
    count = sum(shard.num_rows for shard in shards)
    require(count > 0, f"{paths[0]}: it has no rows")
    labels: list[int] = []
    read = read_images(paths[0].name, _members(shards, labels), count, options)
    hard_labels = np.array(labels)
    num_classes = int(hard_labels.max()) + 1
    check_num_classes(num_classes)
    names = _class_names(shards[0]) or tuple(map(str, range(num_classes)))
    require(
        num_classes <= len(names),
        f"{paths[0]}: the labels go up to {num_classes - 1}, and it names {len(names)} classes",
    )
    notes = (*_columns_note(shards[0]), *read.notes)
    return Source(read.images, hard_labels[read.rows], names, notes=notes, facts=read.facts)


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
        _check_types(file.schema_arrow, image, label)
        _check_size(file, path, image, label)
        return _Shard(file, path, file.metadata.num_rows, image, label)


def _check_types(schema: Any, image: str, label: str) -> None:
    """Check that images are bytes, or structs with bytes, and labels whole numbers."""
    import pyarrow.types as kinds

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


def _check_size(file: Any, path: Path, image: str, label: str) -> None:
    """Check the bytes that the two columns declare, before any of them is read."""
    num_bytes = 0
    for group in range(file.metadata.num_row_groups):
        for column in range(file.metadata.num_columns):
            chunk = file.metadata.row_group(group).column(column)
            if chunk.path_in_schema.split(".")[0] in (image, label):
                num_bytes += max(0, chunk.total_uncompressed_size)
    budget.check_inflated(num_bytes, path.stat().st_size)
    # Not one bit for a row: the rows are empty.
    require(
        file.metadata.num_rows <= 8 * max(1, num_bytes),
        f"it declares {file.metadata.num_rows} rows in {num_bytes} bytes",
        UnsafeInputError,
    )


def _members(shards: Sequence[_Shard], labels: list[int]) -> Iterator[Member]:
    """Yield the images of all shards, and append their class numbers to `labels`."""
    for shard in shards:
        with reading(shard.path, "cannot be read as a parquet file"):
            batches = shard.file.iter_batches(_ROWS_AT_ONCE, columns=[shard.image, shard.label])
            row = 0
            for batch in batches:
                images = batch.column(batch.schema.get_field_index(shard.image)).to_pylist()
                numbers = batch.column(batch.schema.get_field_index(shard.label)).to_pylist()
                for image, number in zip(images, numbers, strict=True):
                    require(
                        number is not None and number >= 0,
                        f"row {row}: the class is {number}: expected 0, 1, 2, …",
                    )
                    labels.append(number)
                    yield _member(shard, row, image)
                    row += 1
            require(row == shard.num_rows, f"{row} rows where {shard.num_rows} are declared")


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
    known = (shard.image, shard.label)
    unread = [name for name in shard.file.schema_arrow.names if name not in known]
    return (f"note: {shard.path}: not read: {', '.join(unread)}",) if unread else ()
