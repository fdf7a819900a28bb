"""Every exporter: the round trip through import, the same bytes twice, nothing half-written."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import tarfile
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from samples import make_bundle, with_arrays
from view_samples import grid_bundle

import ddlabel
from ddlabel.core.config import ExportOptions, ImportOptions
from ddlabel.core.errors import IncompatibleError, OutputExistsError, StorageError, UsageError
from ddlabel.data import exporters, importers
from ddlabel.data.bundle import Bundle
from ddlabel.data.exporters.folder import folder_names
from ddlabel.data.exporters.registry import PARTS
from ddlabel.data.provenance import Entry
from ddlabel.data.schema import LabelMeta

# The suffix of a file of each kind, and the options of the import that gives the bundle back.
SUFFIXES = {"npz": ".npz", "csv": ".csv", "webdataset": ".tar", "parquet": ".parquet", "dc": ".pt"}
NEEDS_PYARROW = pytest.mark.skipif(find_spec("pyarrow") is None, reason="needs pyarrow")
KINDS = [name for name in exporters.exporters if name not in ("bundle", "fkd", "parquet")]
KINDS.append(pytest.param("parquet", marks=NEEDS_PYARROW))
NAMES = "=cat,b/d,ape"


def colour_bundle(space: str = "uint8", labels: str = "logits") -> Bundle:
    """Seven images whose classes have names that are dangerous in paths and spreadsheets."""
    bundle = make_bundle(images=7, channels=3)
    images = bundle.images
    if space == "unit":
        images = (images / np.float32(255) * 1.2 - 0.1).astype(np.float32)
    soft = np.random.default_rng(0).normal(size=(7, 3)).astype(np.float32)
    if labels == "probs":
        soft = np.exp(soft) / np.exp(soft).sum(1, keepdims=True)
    return replace(
        with_arrays(bundle, soft_labels=soft, soft=LabelMeta(space=labels, temperature=2.0)),
        classes=tuple(NAMES.split(",")),
        images=images,
        pixels=replace(bundle.pixels, space=space, mean=(0.4, 0.5, 0.6)),
    )


def export(bundle: Bundle, folder: Path, kind: str, **options) -> tuple[Path, list[str]]:
    path = folder / f"out{SUFFIXES.get(kind, '')}"
    lost = exporters.write(bundle, str(path), ExportOptions(format=kind, **options))
    return path, lost


def digest_of(path: Path) -> str:
    files = [path] if path.is_file() else sorted(path.rglob("*.*"))
    content = [f"{file.relative_to(path)}".encode() + file.read_bytes() for file in files]
    return hashlib.sha256(b"|".join(content)).hexdigest()


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_bundle_gives_the_same_bytes_at_another_time(kind, tmp_path, monkeypatch):
    digests = set()
    for name, seconds in (("a", 1e9), ("b", 1.7e9)):
        (tmp_path / name).mkdir()
        monkeypatch.setattr("time.time", lambda seconds=seconds: seconds)
        path, _ = export(colour_bundle(), tmp_path / name, kind)
        digests.add(digest_of(path))
    assert len(digests) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_an_output_that_exists_is_left_as_it_is(kind, tmp_path):
    path, _ = export(colour_bundle(), tmp_path, kind)
    before = digest_of(path)
    with pytest.raises(OutputExistsError):
        export(make_bundle(images=9, channels=3), tmp_path, kind)
    assert digest_of(path) == before
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_lost_is_named(kind, tmp_path):
    _, lost = export(colour_bundle("unit"), tmp_path, kind)
    keeps = exporters.exporters[kind].keeps
    assert (PARTS["soft"] in lost) == ("soft" not in keeps)
    assert (PARTS["exact pixels"] in lost) == ("exact pixels" not in keeps)
    assert PARTS["views"] not in lost


PT = {"pixels": "normalised", "mean": "0.4,0.5,0.6", "std": "0.25"}
ROUND_TRIPS = {
    "npz uint8": ("npz", {}, {}),
    "npz unit": ("npz", {}, {}),
    "npz probs": ("npz", {}, {}),
    "npz header": ("npz", {"normalise": "header"}, PT),
    "mtt unit": ("mtt", {}, {"pixels": "unit", "class_names": NAMES}),
    "mtt header": ("mtt", {"normalise": "header"}, PT | {"class_names": NAMES}),
    "datm unit": ("datm", {}, {"pixels": "unit", "class_names": NAMES, "label_space": "logits"}),
    "datm probs": ("datm", {}, {"pixels": "unit", "class_names": NAMES, "label_space": "logits"}),
    "dc unit": ("dc", {}, {"pixels": "unit", "class_names": NAMES}),
    "dc header": ("dc", {"normalise": "header"}, PT | {"class_names": NAMES}),
    "folder uint8": ("folder", {}, {}),
    "webdataset uint8": ("webdataset", {}, {}),
    "parquet uint8": ("parquet", {}, {}),
}


@pytest.mark.parametrize("name", ROUND_TRIPS)
def test_import_gives_back_what_the_output_keeps(name, tmp_path):
    kind, given, options = ROUND_TRIPS[name]
    space = "unit" if "unit" in name or kind in ("mtt", "dc") else "uint8"
    bundle = colour_bundle(space, "probs" if "probs" in name else "logits")
    path, _ = export(bundle, tmp_path, kind, **given)
    keeps = exporters.exporters[kind].keeps
    back = imported(path, **options)
    rows = list(range(7))
    if kind == "folder":
        # The import sorts folders by name, and the files in them.
        folders = folder_names(bundle.classes)
        rows.sort(key=lambda row: (folders[bundle.hard_labels[row]], row))
    if kind != "folder":
        assert back.classes == bundle.classes
    unit = bundle.images / np.float32(255) if bundle.images.dtype == np.uint8 else bundle.images
    back_unit = back.images / np.float32(255) if back.images.dtype == np.uint8 else back.images
    assert np.allclose(back_unit, unit[rows], atol=1e-6)
    if "hard" in keeps:
        named = [bundle.classes[number] for number in bundle.hard_labels[rows]]
        folders = dict(zip(folder_names(bundle.classes), bundle.classes, strict=True))
        back_named = [back.classes[number] for number in back.hard_labels]
        assert [folders.get(name, name) for name in back_named] == named
    # `import` reads the images of a folder alone: its labels are for `import-labels`.
    if "soft" in keeps and kind != "folder":
        assert np.allclose(back.soft.probs(), bundle.soft.probs(), atol=1e-6)


@pytest.mark.parametrize("kind", ["webdataset", pytest.param("parquet", marks=NEEDS_PYARROW)])
@pytest.mark.parametrize("labels", ["probs", "mass", "direction"])
def test_labels_beside_images_come_back_bit_by_bit_in_their_space(kind, labels, tmp_path):
    bundle = colour_bundle(labels="probs" if labels == "probs" else "logits")
    if labels != "probs":
        values = np.abs(bundle.soft.values) if labels == "mass" else bundle.soft.values
        bundle = with_arrays(bundle, soft_labels=values, soft=LabelMeta(space=labels))
    path, lost = export(bundle, tmp_path, kind)
    assert PARTS["label space"] not in lost
    back = imported(path)
    assert back.soft.meta.space == labels
    assert np.array_equal(back.soft.values, bundle.soft.values)
    assert np.array_equal(back.images, bundle.images)


def imported(path: Path, **options) -> Bundle:
    return importers.load([path], ImportOptions(**options)).bundle


def test_a_folder_has_its_class_order_and_its_labels_beside_the_images(tmp_path):
    bundle = colour_bundle()
    path, lost = export(bundle, tmp_path, "folder")
    order = path / "classes.txt"
    assert order.read_text().splitlines() == ["%3Dcat", "b%2Fd", "ape"]
    assert imported(path, class_order=str(order)).classes == ("%3Dcat", "b%2Fd", "ape")
    with (path / "labels.csv").open(newline="") as file:
        header, *rows = csv.reader(file)
    # A cell that begins with = would be a formula.
    assert header == ["image", "class", "hard_label", "file", "'=cat", "b/d", "ape"]
    assert rows[3][:4] == ["3", "'=cat", "0", "%3Dcat/000003.png"]
    soft = np.array([row[4:] for row in rows], np.float32)
    assert np.array_equal(soft, bundle.soft.probs())
    for row in rows:
        pixels = np.asarray(Image.open(path / row[3])).transpose(2, 0, 1)
        assert np.array_equal(pixels, bundle.images[int(row[0])])
    assert PARTS["order"] in lost


def test_class_names_stay_inside_the_folder_and_different():
    names = ["..", ".", "a/b", "a%2Fb", "a\\b", "/", "\0", "ä", "a b", "%2E."]
    folders = folder_names(names)
    assert len(set(folders)) == len(names)
    for folder in folders:
        assert Path(folder).name == folder
        assert not folder.startswith(".")


def test_spreadsheets_see_no_formula(tmp_path):
    classes = ("=1+1", "+1", "-1", "@sum", "\ta", "plain")
    bundle = replace(make_bundle(images=6, classes=6), classes=classes)
    path, _ = export(bundle, tmp_path, "csv")
    with path.open(newline="") as file:
        cells = [cell for row in csv.reader(file) for cell in row]
    assert not [cell for cell in cells if cell.startswith(("=", "+", "@", "\t"))]
    assert [cell for cell in cells if cell.startswith("-")] == []


def test_a_table_of_labels_comes_back_with_import_labels(tmp_path):
    bundle = make_bundle(images=7, channels=3)
    path, _ = export(bundle, tmp_path, "csv")
    back = ddlabel.import_labels(replace(bundle, soft=None), path)
    assert np.allclose(back.soft.probs(), bundle.soft.probs(), atol=1e-7)
    assert np.array_equal(back.hard_labels, bundle.hard_labels)


def test_mtt_and_dc_hold_what_their_programs_load(tmp_path):
    bundle = colour_bundle()
    unit = torch.from_numpy(bundle.images / np.float32(255))
    mtt, _ = export(bundle, tmp_path, "mtt", normalise="header")
    images, labels = (
        torch.load(mtt / f"{name}_best.pt", weights_only=True) for name in ("images", "labels")
    )
    mean = torch.tensor([0.4, 0.5, 0.6]).view(1, 3, 1, 1)
    torch.testing.assert_close(images, (unit - mean) / 0.25)
    assert labels.tolist() == bundle.hard_labels.tolist()
    assert labels.dtype == torch.int64
    dc, lost = export(bundle, tmp_path, "dc")
    content = torch.load(dc, weights_only=True)
    assert set(content) == {"data", "accs_all_exps"}
    torch.testing.assert_close(content["data"][-1][0], unit)
    assert PARTS["soft"] in lost


def test_a_learned_rate_goes_out_as_it_came(tmp_path):
    bundle = colour_bundle()
    entry = Entry(command="import", version="0.1.0", facts={"learned_lr": 0.0125})
    path, _ = export(replace(bundle, history=(entry,)), tmp_path, "datm")
    rate = torch.load(path / "lr_best.pt", weights_only=True)
    assert (rate.ndim, float(rate)) == (0, pytest.approx(0.0125))
    found = importers.load([path], ImportOptions(pixels="unit"))
    assert found.facts["learned_lr"] == pytest.approx(0.0125)


def test_a_tar_has_the_members_of_webdataset(tmp_path):
    bundle = colour_bundle()
    path, _ = export(bundle, tmp_path, "webdataset")
    with tarfile.open(path) as archive:
        content = {info.name: archive.extractfile(info).read() for info in archive}
        assert {info.mtime for info in archive} == {0}
    assert list(content)[:3] == ["000000.cls", "000000.json", "000000.png"]
    assert content["000004.cls"] == b"1"
    about = json.loads(content["000004.json"])
    assert about["class_name"] == "b/d"
    assert np.allclose(about["soft_label"], bundle.soft.probs()[4])
    pixels = np.asarray(Image.open(io.BytesIO(content["000004.png"]))).transpose(2, 0, 1)
    assert np.array_equal(pixels, bundle.images[4])


def test_a_parquet_file_has_the_columns_and_features_of_hugging_face(tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    bundle = colour_bundle()
    path, _ = export(bundle, tmp_path, "parquet")
    table = parquet.read_table(path)
    features = json.loads(table.schema.metadata[b"huggingface"])["info"]["features"]
    assert features["label"] == {"names": list(bundle.classes), "_type": "ClassLabel"}
    assert features["image"] == {"_type": "Image"}
    rows = table.to_pylist()
    assert [row["label"] for row in rows] == bundle.hard_labels.tolist()
    assert np.allclose([row["soft_label"] for row in rows], bundle.soft.probs())
    pixels = np.asarray(Image.open(io.BytesIO(rows[6]["image"]["bytes"]))).transpose(2, 0, 1)
    assert np.array_equal(pixels, bundle.images[6])


def test_an_npz_has_every_array(tmp_path):
    bundle = grid_bundle()
    path, lost = export(bundle, tmp_path, "npz")
    assert lost == []
    with np.load(path) as arrays:
        assert np.array_equal(arrays["dense_labels"], bundle.dense.decode())
        assert np.array_equal(arrays["dense_boxes"], bundle.views.boxes)
        assert arrays["class_names"].tolist() == list(bundle.classes)
        assert np.array_equal(arrays["soft_labels"], bundle.soft.decode())


@pytest.mark.parametrize(("first", "second"), [(".safetensors", ".h5"), (".h5", ".safetensors")])
def test_a_bundle_in_the_other_format_has_the_same_digest(first, second, tmp_path):
    bundle = grid_bundle()
    ddlabel.write(tmp_path / f"a{first}", bundle)
    exported = ddlabel.export(tmp_path / f"a{first}", tmp_path / f"b{second}")
    assert (exported.format, exported.lost) == ("bundle", ())
    assert ddlabel.read(tmp_path / f"b{second}").digest == bundle.digest


@pytest.mark.parametrize(
    ("bundle", "kind", "options", "error", "message"),
    [
        (make_bundle(channels=2), "folder", {}, IncompatibleError, "2 channels"),
        (make_bundle(channels=2), "webdataset", {}, IncompatibleError, "2 channels"),
        (replace(make_bundle(), soft=None), "datm", {}, IncompatibleError, "ddlabel relabel"),
        (colour_bundle(labels="direction"), "datm", {}, IncompatibleError, "--format mtt"),
        (make_bundle(), "mtt", {"normalise": "cifar"}, UsageError, "did you mean"),
        (make_bundle(), "mtt", {"normalise": "imagenet"}, UsageError, "3 channels"),
        (make_bundle(), "folders", {}, UsageError, "did you mean 'folder'"),
    ],
)
def test_what_cannot_be_exported_is_refused(bundle, kind, options, error, message, tmp_path):
    with pytest.raises(error, match=message):
        export(bundle, tmp_path, kind, **options)
    assert list(tmp_path.iterdir()) == []


def test_a_suffix_that_does_not_say_what_to_write_is_refused(tmp_path):
    with pytest.raises(UsageError, match=r"its suffix '\.pt' does not say what to write"):
        exporters.write(make_bundle(), str(tmp_path / "a.pt"), ExportOptions())


def test_a_folder_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    written = []

    def full(image) -> bytes:
        written.append(image)
        if len(written) == 4:
            raise OSError(28, "No space left on device")
        return b"png"

    monkeypatch.setattr("ddlabel.data.exporters.folder.png", full)
    with pytest.raises(StorageError, match="No space left on device; nothing was changed"):
        export(colour_bundle(), tmp_path, "folder")
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_writer_left_is_removed(tmp_path):
    left = tmp_path / ".out.999999999-abcd.part"
    left.mkdir()
    (left / "cat").touch()
    export(colour_bundle(), tmp_path, "folder")
    assert [each.name for each in tmp_path.iterdir()] == ["out"]
