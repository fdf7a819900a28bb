"""Parquet files as Hugging Face writes them, made by pyarrow."""

from __future__ import annotations

import json
import sys

import pytest
from foreign_sources import load
from foreign_sources import png_bytes as png

from ddlabel.core.config import ImportOptions
from ddlabel.core.errors import InvalidInputError, UnsafeInputError, UsageError
from ddlabel.data import importers

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def save_parquet(path, images, labels, *, label="label", image="image", names=None, **more):
    """A shard: `images` are bytes, or structs with bytes and a path."""
    rows = [each if isinstance(each, dict) else {"bytes": each, "path": None} for each in images]
    columns = {image: pa.array(rows, IMAGE), label: labels} | more
    table = pa.table(columns)
    if names is not None:
        features = {label: {"names": names, "_type": "ClassLabel"}, image: {"_type": "Image"}}
        info = {"info": {"features": features}}
        table = table.replace_schema_metadata({"huggingface": json.dumps(info)})
    pq.write_table(table, path)
    return path


@pytest.mark.parametrize(("image", "label"), [("image", "class_id"), ("img", "fine_label")])
def test_images_and_classes_come_back(tmp_path, image, label):
    path = save_parquet(
        tmp_path / "x.parquet", [png(10), png(20)], [2, 0], image=image, label=label
    )
    notes = []
    bundle = importers.load([path], ImportOptions(), notes.append).bundle
    assert bundle.images[:, 0, 0, 0].tolist() == [10, 20]
    assert bundle.hard_labels.tolist() == [2, 0]
    assert bundle.classes == ("0", "1", "2")
    assert "parquet" in notes[0]


def test_shards_give_one_bundle_with_the_names_of_their_description(tmp_path):
    names = ["ape", "bee", "cat"]
    paths = [save_parquet(tmp_path / f"{n}.parquet", [png(n)], [n], names=names) for n in range(2)]
    bundle = load(*paths)
    assert bundle.classes == ("ape", "bee", "cat")
    assert (bundle.hard_labels.tolist(), bundle.images[:, 0, 0, 0].tolist()) == ([0, 1], [0, 1])
    with pytest.raises(UsageError, match="--class-order"):
        load(*paths, class_names="cat,bee,ape")


def test_columns_that_are_not_read_are_named(tmp_path):
    path = save_parquet(tmp_path / "x.parquet", [png(1)], [0], caption=["a"])
    notes = []
    importers.load([path], ImportOptions(), notes.append)
    assert "not read: caption" in "\n".join(notes)


@pytest.mark.parametrize("metadata", ["[]", "{}", "x", '{"info": {"features": {"label": 1}}}'])
def test_a_description_without_names_is_left_out(tmp_path, metadata):
    path = save_parquet(tmp_path / "x.parquet", [png(1)], [0])
    table = pq.read_table(path).replace_schema_metadata({"huggingface": metadata})
    pq.write_table(table, path)
    assert load(path).classes == ("0",)


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        ([png(1)], [-1], "row 0: the class is -1"),
        ([png(1)], pa.array([None], pa.int64()), "row 0: the class is None"),
        ([png(1)], ["cat"], "'label' is string"),
        ([png(1)], [1 << 40], "at most 65536"),
        ([{"bytes": None, "path": "x.png"}], [0], r"row 0 \(x.png\).*no bytes"),
        ([png(1), png(2, size=3)], [0, 1], "--size"),
        ([png(1), png(2)[:44]], [0, 1], r"1 of 2 images .*row 1.*--skip-bad"),
        ([], pa.array([], pa.int64()), "no rows"),
    ],
)
def test_rows_without_meaning_are_refused(tmp_path, images, labels, message):
    path = save_parquet(tmp_path / "x.parquet", images, labels)
    with pytest.raises(InvalidInputError, match=message):
        load(path)


def test_images_that_cannot_be_read_can_be_left_out(tmp_path):
    path = save_parquet(tmp_path / "x.parquet", [png(1)[:44], png(2)], [0, 1])
    assert load(path, skip_bad=True).hard_labels.tolist() == [1]


def test_columns_of_another_kind_are_refused(tmp_path):
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"image": [[1, 2]], "label": [0]}), path)
    with pytest.raises(InvalidInputError, match="'image' is list"):
        load(path)
    pq.write_table(pa.table({"text": ["a"]}), path)
    with pytest.raises(InvalidInputError, match="has the columns text"):
        load(path)


def test_a_file_that_inflates_out_of_proportion_is_unsafe(tmp_path, monkeypatch):
    path = tmp_path / "x.parquet"
    rows = pa.array([bytes(1 << 20)] * 4)
    pq.write_table(
        pa.table({"image": rows, "label": [0] * 4}), path, compression="zstd", use_dictionary=False
    )
    monkeypatch.setattr("ddlabel.data.importers.budget.MAX_INFLATED_BYTES", 1 << 16)
    with pytest.raises(UnsafeInputError, match=r"x\.parquet"):
        load(path)


@pytest.mark.parametrize("cut", [1, 8, 40, 200])
def test_a_file_that_is_cut_off_is_refused(tmp_path, cut):
    path = save_parquet(tmp_path / "x.parquet", [png(1)], [0])
    path.write_bytes(path.read_bytes()[:-cut])
    with pytest.raises(InvalidInputError, match=r"x\.parquet"):
        load(path)


def test_without_pyarrow_the_extra_is_named(tmp_path, monkeypatch):
    path = save_parquet(tmp_path / "x.parquet", [png(1)], [0])
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(UsageError, match=r"ddlabel\[parquet\]"):
        load(path)
