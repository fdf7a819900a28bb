"""NumPy archives: names, types, axes, and objects that would run code."""

from __future__ import annotations

import numpy as np
import pytest
from foreign_sources import UINT8, Hostile, load, save_npz

from ddlabel.core.config import ImportOptions
from ddlabel.core.errors import InvalidInputError, UnsafeInputError
from ddlabel.data import importers


@pytest.mark.parametrize(
    ("images", "labels"),
    [("images", "labels"), ("x", "y"), ("data", "label"), ("x_test", "y_test"), ("images", "y")],
)
def test_npz_is_read_under_the_usual_names(tmp_path, images, labels):
    path = save_npz(tmp_path / "x.npz", **{images: UINT8, labels: np.array([3, 1])})
    bundle = load(path, split="test" if "test" in images else None)
    assert bundle.images.tolist() == UINT8.tolist()
    assert bundle.hard_labels.tolist() == [3, 1]
    assert bundle.classes == ("0", "1", "2", "3")


@pytest.mark.parametrize(
    "arrays", [{"x": UINT8}, {"y": np.array([0, 1])}, {"a": UINT8, "b": np.array([0, 1])}, {}]
)
def test_npz_without_images_or_labels_is_refused(tmp_path, arrays):
    with pytest.raises(InvalidInputError, match=r"x\.npz"):
        load(save_npz(tmp_path / "x.npz", **arrays))


@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x05\x06" + bytes(18)])
def test_a_file_that_is_no_npz_is_refused(tmp_path, content):
    (tmp_path / "x.npz").write_bytes(content)
    with pytest.raises(InvalidInputError):
        load(tmp_path / "x.npz")


@pytest.mark.parametrize("name", ["x", "y"])
def test_pickled_objects_in_npz_are_refused_and_do_not_run(tmp_path, marker, name):
    arrays = {"x": UINT8, "y": np.array([0, 1])} | {
        name: np.array([Hostile(marker), None], dtype=object)
    }
    path = save_npz(tmp_path / "x.npz", **arrays)
    with pytest.raises(UnsafeInputError, match=r"x\.npz"):
        load(path)
    assert not marker.exists()


def test_npz_that_declares_too_much_is_unsafe(tmp_path, monkeypatch):
    path = save_npz(tmp_path / "x.npz", x=UINT8, y=np.array([0, 1]))
    monkeypatch.setattr("ddlabel.data.importers.budget.MAX_TOTAL_BYTES", 100)
    with pytest.raises(UnsafeInputError, match=r"x\.npz"):
        load(path)


SOFT = np.array([[0.5, -1.0, 2.0], [1.0, 0.0, -3.0]], np.float32)


@pytest.mark.parametrize(
    ("hard_name", "soft_name"),
    [("hard_labels", "labels"), ("labels", "soft_labels"), ("y", "soft_labels")],
)
def test_hard_and_soft_labels_are_both_kept(tmp_path, hard_name, soft_name):
    """The hard labels are not the largest entries of the soft ones."""
    arrays = {hard_name: np.array([1, 2]), soft_name: SOFT}
    bundle = load(save_npz(tmp_path / "x.npz", x=UINT8, **arrays))
    assert bundle.hard_labels.tolist() == [1, 2]
    assert bundle.soft.values.tolist() == SOFT.tolist()
    assert bundle.num_classes == 3


@pytest.mark.parametrize("hard", [np.array([0, 3]), np.array([0, 1, 2])], ids=["class 3", "3 rows"])
def test_hard_labels_that_do_not_fit_the_soft_ones_are_refused(tmp_path, hard):
    with pytest.raises(InvalidInputError, match=r"x\.npz"):
        load(save_npz(tmp_path / "x.npz", x=UINT8, hard_labels=hard, soft_labels=SOFT))


def notes_of(path, **options) -> list[str]:
    notes = []
    importers.load([path], ImportOptions(format="npz", **options), notes.append)
    return notes


def test_arrays_that_are_not_read_are_named(tmp_path):
    path = save_npz(tmp_path / "x.npz", x=UINT8, y=np.array([0, 1]), weights=SOFT, fold=SOFT)
    (note,) = notes_of(path)
    assert "weights" in note
    assert "fold" in note


def test_the_part_that_is_read_is_named_where_none_was_asked_for(tmp_path):
    labels = np.array([0, 1])
    arrays = {"x_train": UINT8, "y_train": labels, "x_test": UINT8, "y_test": labels}
    path = save_npz(tmp_path / "x.npz", **arrays)
    (note,) = notes_of(path)
    assert note.endswith("its part train is read: --split test reads the other")
    assert notes_of(path, split="test") == []


def test_classes_that_are_numbered_from_one_are_asked_about(tmp_path):
    (note,) = notes_of(save_npz(tmp_path / "x.npz", x=UINT8, y=np.array([1, 2])))
    assert "1 of 3 classes have no image: 0: do the numbers of the classes begin at 1?" in note


def test_a_second_array_of_labels_is_named(tmp_path):
    path = save_npz(tmp_path / "x.npz", x=UINT8, labels=np.array([0, 1]), y=np.array([1, 0]))
    assert load(path).hard_labels.tolist() == [0, 1]
    (note,) = notes_of(path)
    assert note.endswith(": y")


def test_images_alone_are_read_with_hard_labels_of_a_file(tmp_path):
    path = save_npz(tmp_path / "x.npz", images=UINT8)
    with pytest.raises(InvalidInputError, match="--hard-labels FILE"):
        load(path)
    np.save(tmp_path / "hard.npy", [1, 0])
    bundle = load(path, format="npz", hard_labels=str(tmp_path / "hard.npy"))
    assert bundle.hard_labels.tolist() == [1, 0]


def test_labels_alone_are_for_another_command(tmp_path):
    with pytest.raises(InvalidInputError, match="import-labels"):
        load(save_npz(tmp_path / "x.npz", labels=np.array([1, 0])))


def test_class_names_that_are_texts_are_read(tmp_path):
    arrays = {"x_train": UINT8, "y_train": np.array([0, 1]), "class_names": ["ape", "b,ee", "cat"]}
    path = save_npz(tmp_path / "x.npz", **arrays)
    assert load(path).classes == ("ape", "b,ee", "cat")
    assert notes_of(path) == ["note: 1 of 3 classes have no image: cat"]


@pytest.mark.parametrize(
    "names",
    [
        np.array(["ape"]),
        np.array([["ape", "bee"]]),
        np.array([b"ape", b"bee"]),
        np.array([1.5, 2.5]),
        np.array(["ape", None], dtype=object),
    ],
)
def test_class_names_that_are_no_texts_for_each_class_are_named(tmp_path, names):
    path = save_npz(tmp_path / "x.npz", x=UINT8, y=np.array([0, 1]), class_names=names)
    assert load(path).classes == ("0", "1")
    (note,) = notes_of(path)
    assert "not read: class_names (no texts, or not one for each class" in note


def test_class_names_with_half_a_character_are_refused(tmp_path):
    path = save_npz(tmp_path / "x.npz", x=UINT8, y=np.array([0, 1]), class_names=["a", "\ud800"])
    with pytest.raises(InvalidInputError, match="UTF-8"):
        load(path)
