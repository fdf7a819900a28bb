"""Soft labels beside images: in the JSON of WebDataset, and in a column of a parquet file."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from foreign_sources import load, save_tar
from foreign_sources import png_bytes as png

from ddlabel.core.errors import InvalidInputError, UnsafeInputError, UsageError
from ddlabel.data.bundle import Bundle

PROBS = [[0.25, 0.75, 0.0], [0.5, 0.125, 0.375]]


def save_samples(path: Path, samples: list[tuple[int, bytes]]) -> Path:
    """A shard of WebDataset: an image, a class and a JSON for each sample."""
    members = {}
    for number, (hard, about) in enumerate(samples):
        members[f"{number}.png"] = png(number)
        members[f"{number}.cls"] = str(hard).encode()
        members[f"{number}.json"] = about
    return save_tar(path, members)


def save_rows(path: Path, rows: list, **more) -> Path:
    """A shard of images of class 1 with soft labels."""
    objects = [{} if row is None else {"soft_label": row, **more} for row in rows]
    return save_samples(path, [(1, json.dumps(each).encode()) for each in objects])


def save_parquet(path: Path, rows: list, label_space: str | None = None) -> Path:
    """A parquet file with a column of lists."""
    pa = pytest.importorskip("pyarrow")
    about = {} if label_space is None else {"label_space": label_space}
    soft = pa.array(rows)
    fields = [("image", pa.binary()), ("label", pa.int64())]
    schema = pa.schema([*fields, pa.field("soft_label", soft.type, metadata=about)])
    columns = [pa.array([png(number) for number in range(len(rows))]), pa.array([1] * len(rows))]
    table = pa.Table.from_arrays([*columns, soft], schema=schema)
    pytest.importorskip("pyarrow.parquet").write_table(table, path)
    return path


SAVERS = [save_rows, save_parquet]


def labels_of(bundle: Bundle) -> list:
    assert bundle.soft is not None
    return bundle.soft.values.tolist()


@pytest.mark.parametrize("save", SAVERS)
def test_soft_labels_are_read_with_the_number_of_their_classes(save, tmp_path):
    bundle = load(save(tmp_path / "x", PROBS))
    assert labels_of(bundle) == PROBS
    assert bundle.soft.meta.space == "probs"
    assert bundle.num_classes == 3
    assert bundle.hard_labels.tolist() == [1, 1]


@pytest.mark.parametrize("save", SAVERS)
def test_shards_are_joined(save, tmp_path):
    bundle = load(save(tmp_path / "a", PROBS[:1]), save(tmp_path / "b", PROBS[1:]))
    assert labels_of(bundle) == PROBS


@pytest.mark.parametrize("save", SAVERS)
def test_negative_numbers_are_logits_unless_the_file_says_what_they_are(save, tmp_path):
    rows = [[1.0, -2.0], [0.5, 0.5]]
    assert load(save(tmp_path / "a", rows)).soft.meta.space == "logits"
    said = load(save(tmp_path / "b", rows, label_space="direction"))
    assert said.soft.meta.space == "direction"


@pytest.mark.parametrize("save", SAVERS)
def test_an_unclear_space_is_asked_for(save, tmp_path):
    path = save(tmp_path / "x", [[1.0, 2.0]])
    with pytest.raises(UsageError, match="--label-space logits"):
        load(path)
    assert load(path, label_space="mass").soft.meta.space == "mass"


@pytest.mark.parametrize("save", SAVERS)
def test_a_space_against_that_of_the_file_is_refused(save, tmp_path):
    path = save(tmp_path / "x", [[1.0, 2.0]], label_space="mass")
    with pytest.raises(UsageError, match="says mass"):
        load(path, label_space="logits")


@pytest.mark.parametrize("save", SAVERS)
@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([[0.5, 0.5], [1.0]], "has 1 numbers, and those before have 2"),
        ([[0.5, float("nan")]], "finite numbers"),
        ([[0.5, float("inf")]], "finite numbers"),
        ([[0.5, 0.5], None], "1 of 2 images have no soft label"),
        ([[1.0]], "the classes go up to 1, and the soft labels have 1"),
        ([["a", "b"]], "numbers"),
        ([[[0.5, 0.5]]], "numbers"),
        ([{"a": 1}], "numbers"),
        ([0.5], "numbers"),
    ],
)
def test_labels_without_meaning_are_refused(save, rows, message, tmp_path):
    with pytest.raises(InvalidInputError, match=message):
        load(save(tmp_path / "x", rows))


@pytest.mark.parametrize("save", SAVERS)
@pytest.mark.parametrize(
    ("row", "space", "message"),
    [
        ([0.5, 0.25], "probs", "sum to 1"),
        ([0.5, -0.25], "mass", "at least 0"),
        ([0.0, 0.0], "direction", "not all 0"),
        ([0.5, 0.5], "points", "'points': expected logits, probs"),
    ],
)
def test_labels_against_the_space_of_their_file_are_refused(save, row, space, message, tmp_path):
    with pytest.raises(InvalidInputError, match=message):
        load(save(tmp_path / "x", [row], label_space=space))


@pytest.mark.parametrize(
    "about",
    [
        b"{",
        b"\xff",
        b"[" * 100_000,
        b'{"soft_label": [1e999]}',
        b'{"soft_label": [true, false]}',
        b'{"soft_label": [1' + b"0" * 400 + b"]}",
        b'{"label_space": [], "soft_label": [1]}',
    ],
)
def test_hostile_json_is_refused(about, tmp_path):
    with pytest.raises(InvalidInputError, match=r"x\.tar"):
        load(save_samples(tmp_path / "x.tar", [(0, about)]))


def test_json_that_is_too_large_is_unsafe(tmp_path, monkeypatch):
    monkeypatch.setattr("ddlabel.data.importers.webdataset._MAX_ABOUT_BYTES", 20)
    with pytest.raises(UnsafeInputError, match=r"0\.json"):
        load(save_rows(tmp_path / "x.tar", PROBS))


def test_equal_numbers_that_inflate_out_of_proportion_are_unsafe(tmp_path, monkeypatch):
    path = save_parquet(tmp_path / "x", np.full((64, 4096), 1 / 4096, np.float32).tolist())
    assert path.stat().st_size < 1 << 16
    monkeypatch.setattr("ddlabel.data.importers.budget.MAX_INFLATED_BYTES", 1 << 16)
    monkeypatch.setattr("ddlabel.data.importers.budget.MAX_INFLATION", 4)
    with pytest.raises(UnsafeInputError, match="unpacked content"):
        load(path)


@pytest.mark.parametrize(
    ("named", "classes"),
    [
        ([(0, "ape"), (1, "bee"), (1, "bee")], ("ape", "bee")),
        ([(0, "ape"), (1, "ape")], ("0", "1")),
        ([(0, "ape"), (1, "bee"), (1, "cat")], ("0", "1")),
        ([(1, "bee")], ("0", "1")),
        ([(0, 5)], ("0",)),
    ],
)
def test_class_names_are_taken_where_every_class_has_one_of_its_own(named, classes, tmp_path):
    samples = [(hard, json.dumps({"class_name": name}).encode()) for hard, name in named]
    assert load(save_samples(tmp_path / "x.tar", samples)).classes == classes
