"""Labels of bare arrays: classes, logits and distributions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from foreign_sources import UINT8, UNIT, load, save_npz, save_pair

from ddlabel.core.config import ImportOptions
from ddlabel.core.errors import InvalidInputError, UsageError
from ddlabel.data import importers


@pytest.mark.parametrize(
    "labels",
    [
        np.array([[3], [1]]),
        np.array([3, 1], np.uint8),
        np.array([3.0, 1.0]),
        np.array([3, 1], ">i4"),
    ],
    ids=["[N, 1]", "uint8", "float", "big-endian"],
)
def test_integer_labels_may_have_any_type(tmp_path, labels):
    assert load(save_npz(tmp_path / "x.npz", x=UINT8, y=labels)).hard_labels.tolist() == [3, 1]


@pytest.mark.parametrize("form", ["NCHW", "NHWC", "NHW"])
def test_axes_are_put_in_order(tmp_path, form):
    images = {"NCHW": UINT8, "NHWC": UINT8.transpose(0, 2, 3, 1), "NHW": UINT8[:, 0]}[form]
    expected = UINT8[:, :1] if form == "NHW" else UINT8
    assert (
        load(save_npz(tmp_path / "x.npz", x=images, y=np.array([0, 1]))).images.tolist()
        == expected.tolist()
    )


BAD_ARRAYS = {
    "another N": (UINT8, np.array([0, 1, 2])),
    "no images": (UINT8[:0], np.zeros(0, int)),
    "two axes": (UINT8[:, 0, 0], np.array([0, 1])),
    "five axes": (UINT8[None], np.array([0])),
    "labels of three axes": (UINT8, np.zeros((2, 2, 2))),
    "a label of -1": (UINT8, np.array([0, -1])),
    "a label of one half": (UINT8, np.array([0, 0.5])),
    "a label of NaN": (UINT8, np.array([0, np.nan])),
    "labels of text": (UINT8, np.array(["cat", "dog"])),
    "labels of another kind of number": (UINT8, np.array([0, 1j])),
    "images of text": (np.full((2, 1, 2, 2), "x"), np.array([0, 1])),
    "images of dates": (np.zeros((2, 1, 2, 2), "M8[s]"), np.array([0, 1])),
    "images of records": (np.zeros((2, 1, 2, 2), [("a", "u1")]), np.array([0, 1])),
    "images of complex numbers": (UNIT.astype(complex), np.array([0, 1])),
}


@pytest.mark.parametrize("stated", [None, "uint8"])
@pytest.mark.parametrize("bad", BAD_ARRAYS)
def test_arrays_without_meaning_are_refused(tmp_path, bad, stated):
    images, labels = BAD_ARRAYS[bad]
    path = save_npz(tmp_path / "x.npz", x=images, y=labels)
    with pytest.raises(InvalidInputError, match=r"x\.npz"):
        load(path, pixels=stated)


def test_a_label_that_would_need_a_thousand_million_classes_is_refused_at_once(tmp_path):
    with pytest.raises(InvalidInputError, match="999999999"):
        load(save_npz(tmp_path / "x.npz", x=UINT8, y=np.array([0, 999_999_999])))


def test_labels_with_negative_numbers_are_logits_and_distributions_are_probs(tmp_path):
    for values, space in (
        ([[1.0, -1.0], [0.0, 2.0]], "logits"),
        ([[0.25, 0.75], [1.0, 0.0]], "probs"),
    ):
        bundle = load(*save_pair(tmp_path, labels=values), pixels="unit")
        assert bundle.soft.meta.space == space
        assert bundle.soft.values.tolist() == values


def test_labels_that_could_be_either_have_to_be_stated(tmp_path):
    paths = save_pair(tmp_path, labels=[[1.0, 2.0], [0.5, 3.0]])
    with pytest.raises(UsageError, match="--label-space"):
        load(*paths, pixels="unit")
    assert load(*paths, pixels="unit", label_space="logits").soft.meta.space == "logits"
    with pytest.raises(InvalidInputError, match="soft_labels"):
        load(*paths, pixels="unit", label_space="probs")


def test_distributions_that_are_stated_to_be_logits_are_refused(tmp_path):
    paths = save_pair(tmp_path, labels=[[0.25, 0.75], [1.0, 0.0]])
    with pytest.raises(UsageError, match="--label-space probs"):
        load(*paths, pixels="unit", label_space="logits")
    assert load(*paths, pixels="unit", label_space="probs").soft.meta.space == "probs"


def test_a_class_without_images_is_named(tmp_path):
    path = save_npz(tmp_path / "x.npz", x=UINT8, y=np.array([0, 5]))
    notes = []
    bundle = importers.load([path], ImportOptions(format="npz"), notes.append).bundle
    assert bundle.num_classes == 6
    (note,) = notes
    assert "1, 2, 3, 4" in note


def test_classes_that_all_have_images_need_no_note(tmp_path):
    notes = []
    path = save_npz(tmp_path / "x.npz", x=UINT8, y=np.array([1, 0]))
    importers.load([path], ImportOptions(format="npz"), notes.append)
    assert notes == []


def test_distributions_in_half_precision_can_be_used(tmp_path):
    """Rows that miss 1 by up to 10⁻³ are allowed in half, and not in single precision."""
    values = np.array([[0.3333, 0.3333, 0.3329], [0.1001, 0.2, 0.7]], np.float16)
    miss = abs(values.sum(1, dtype=np.float64) - 1)
    assert 1e-4 < miss.max() < 1e-3
    bundle = load(save_npz(tmp_path / "x.npz", x=UINT8, y=values))
    assert bundle.soft.meta.space == "probs"
    assert (bundle.soft.values.dtype, bundle.soft.values.tolist()) == (np.float16, values.tolist())
    bundle = load(*save_pair(tmp_path, UINT8, torch.tensor(values)))
    assert (bundle.soft.values.dtype, bundle.soft.values.tolist()) == (np.float16, values.tolist())


def test_rows_that_nearly_sum_to_1_are_no_distributions_in_single_precision(tmp_path):
    """What would be taken for probabilities can be written as probabilities."""
    values = np.array([[0.3333, 0.3333, 0.3329], [0.1001, 0.2, 0.7]], np.float32)
    with pytest.raises(UsageError, match="--label-space"):
        load(save_npz(tmp_path / "x.npz", x=UINT8, y=values))


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("where", ["images", "labels"])
def test_numbers_that_are_not_finite_do_not_come_in(tmp_path, where, value):
    images, labels = UNIT.copy(), np.array([[0.5, -0.5], [0.0, 1.0]], np.float32)
    {"images": images, "labels": labels}[where].flat[3] = value
    options = {"pixels": "unit", "label_space": "logits", "mean": "0,0,0", "std": "1,1,1"}
    with pytest.raises(InvalidInputError, match=where):
        load(save_npz(tmp_path / "x.npz", x=images, y=labels), **options)
