"""NumPy archives: names, types, axes, and objects that would run code."""

from __future__ import annotations

import numpy as np
import pytest
from foreign_sources import UINT8, Hostile, load, save_npz

from ddlabel.core.errors import (
    InvalidInputError,
    UnsafeInputError,
)


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
    monkeypatch.setattr("ddlabel.data.importers.npz._MAX_BYTES", 100)
    with pytest.raises(UnsafeInputError, match=r"x\.npz"):
        load(path)
