"""Codecs against their error bounds, other libraries and direct computation."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from label_samples import LOGITS, PROBS, coded, probs_of
from samples import make_bundle, with_arrays
from scipy.special import log_softmax, softmax

from ddlabel.core.errors import IncompatibleError, InvalidInputError, UsageError
from ddlabel.data.schema import LabelMeta

SHAPES = st.tuples(st.integers(1, 4), st.integers(1, 7))
LOGIT_ARRAYS = hnp.arrays(np.float32, SHAPES, elements=st.floats(-200, 200, width=32))


@given(LOGIT_ARRAYS)
def test_float32_is_lossless_and_float16_within_half_a_unit_in_the_last_place(values):
    assert np.array_equal(coded("float32", values)[0], values)
    assert np.all(
        np.abs(coded("float16", values)[0] - values) <= np.maximum(np.abs(values) * 2**-11, 2**-25)
    )


@given(
    hnp.arrays(
        np.float32, SHAPES, elements=st.floats(width=32, allow_nan=False, allow_infinity=False)
    )
)
def test_bfloat16_is_that_of_torch(values):
    expected = torch.from_numpy(values).bfloat16()
    if not expected.isfinite().all():
        with pytest.raises(IncompatibleError, match="bfloat16"):
            coded("bfloat16", values)
        return
    found, stored = coded("bfloat16", values)
    assert np.array_equal(stored.values.view(np.int16), expected.view(torch.int16).numpy())
    assert np.array_equal(found, expected.float().numpy())
    normal = np.abs(values) > 1e-37
    assert np.all(
        np.abs(np.float64(found) - values)[normal] <= np.abs(np.float64(values))[normal] * 2**-8
    )


@given(LOGIT_ARRAYS, st.floats(0.5, 20))
def test_uint8_keeps_distances_to_the_largest(values, temperature):
    label = LabelMeta(space="logits", temperature=temperature)
    found, stored = coded("uint8", values, label)
    assert (stored.values.dtype, stored.meta) == (np.uint8, label)
    assert np.abs(found.mean(-1)).max() < 1e-3
    nats = [
        (each.max(-1, keepdims=True) - each) / temperature for each in np.float64([values, found])
    ]
    below = np.minimum(nats[0], 32)
    bound = np.sqrt(32 * below) / 255 + 0.0002
    assert np.all(np.abs(nats[1] - below) <= bound)
    inside = nats[0].max(-1) <= 32
    moved = log_softmax(found / temperature, -1) - log_softmax(np.float64(values) / temperature, -1)
    assert np.all((np.abs(moved) <= bound + bound.max(-1, keepdims=True))[inside])


@given(LOGIT_ARRAYS)
def test_uint8_of_probabilities_is_that_of_their_logits(values):
    probs = softmax(values, -1)
    found, stored = coded("uint8", probs, PROBS)
    assert stored.meta == PROBS
    np.testing.assert_allclose(found.sum(-1), 1, atol=1e-6)
    of_logits, _ = coded("uint8", np.log(np.maximum(probs, 1e-30)), LabelMeta(space="logits"))
    np.testing.assert_allclose(found, softmax(of_logits, -1), atol=1e-6)


def test_uint8_of_a_probability_of_0_is_e_to_the_minus_32():
    assert coded("uint8", [[0, 1, 0]], PROBS)[0][0].tolist() == pytest.approx(
        [math.exp(-32), 1, math.exp(-32)]
    )


def test_uint8_steps_are_those_worked_by_hand():
    # 0, 8 and 32 nats below the largest at temperature 2: steps 255, 255·(1 − ½) rounded, 0.
    found, stored = coded("uint8", [[70.0, 54.0, 6.0]])
    assert stored.values[0].tolist() == [255, 128, 0]
    middle = 2 * 32 * (127 / 255) ** 2
    expected = np.array([0, -middle, -64])
    assert found[0].tolist() == pytest.approx((expected - expected.mean()).tolist())


@pytest.mark.parametrize("label", [LOGITS, PROBS])
def test_coding_twice_is_coding_once(label):
    values = np.random.default_rng(0).normal(size=(50, 20)) * 9
    values = values if label is LOGITS else softmax(values, -1)
    for spec in ("float16", "bfloat16", "uint8", "top-k:k=4", "top-k:k=4,dtype=float16"):
        once, stored = coded(spec, values, label)
        again = coded(spec, once, stored.meta)[0]
        if label is PROBS and spec.endswith("float16"):  # their sum is made 1 after each rounding
            np.testing.assert_allclose(again, once, rtol=2**-7, atol=1e-6, err_msg=spec)
        else:
            np.testing.assert_array_equal(again, once, err_msg=spec)


@given(LOGIT_ARRAYS, st.integers(1, 7), st.booleans())
def test_top_k_is_the_largest_made_to_sum_to_1(values, k, of_probs):
    k, label = min(k, values.shape[1]), PROBS if of_probs else LOGITS
    values = softmax(values, -1) if of_probs else values
    probs = probs_of(values, label)
    for dtype, near in (("float32", 1e-5), ("float16", 1e-3), ("uint8", 0.13)):
        found, stored = coded(f"top-k:k={k},dtype={dtype}", values, label)
        assert (stored.values.shape[1], stored.index.dtype, stored.meta.space) == (
            k,
            np.uint8,
            "probs",
        )
        kept = np.zeros(probs.shape, bool)
        np.put_along_axis(kept, stored.index.astype(int), values=True, axis=1)
        assert np.all(kept.sum(1) == k)
        assert np.all(np.where(kept, probs, 1).min(1) >= np.where(kept, 0, probs).max(1) - 1e-6)
        expected = np.where(kept, probs, 0) / np.where(kept, probs, 0).sum(1, keepdims=True)
        np.testing.assert_allclose(found, expected, atol=near)
        assert np.all(found[~kept] == 0)


@given(hnp.arrays(np.int64, (3, 4), elements=st.integers(0, 50)))
def test_top_k_is_lossless_where_no_more_are_above_0(counts):
    counts[:, 0] += 1
    sparse = np.zeros((3, 9), np.float32)
    sparse[:, [1, 3, 4, 8]] = counts / counts.sum(1, keepdims=True)
    assert np.array_equal(coded("top-k:k=4,dtype=float32", sparse, PROBS)[0], sparse)


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_top_k_leaves_labels_without_their_full_mass_as_they_are(dtype):
    found, stored = coded(
        f"top-k:k=2,dtype={dtype}", [[0.5, 0.0, 0.25], [0, 0, 0]], LabelMeta(space="mass")
    )
    assert (found.tolist(), stored.meta.space) == ([[0.5, 0, 0.25], [0, 0, 0]], "mass")


@pytest.mark.parametrize(("classes", "dtype"), [(1, np.uint8), (256, np.uint8), (257, np.uint16)])
def test_more_than_256_classes_have_two_bytes(classes, dtype):
    values = np.random.default_rng(0).normal(size=(3, classes)).astype(np.float32)
    found, stored = coded("top-k:k=1", values)
    assert stored.index.dtype == dtype
    assert np.array_equal(found, np.eye(classes)[values.argmax(1)])


@pytest.mark.parametrize("spec", ["float32", "float16", "bfloat16", "uint8", "top-k:k=1"])
def test_the_only_class_has_probability_1(spec):
    found, stored = coded(spec, [[3.0]])
    assert probs_of(found, stored.meta).tolist() == [[1.0]]
    assert coded(spec, [[1.0]], PROBS)[0].tolist() == [[1.0]]


@pytest.mark.parametrize(
    ("spec", "values", "space", "error", "named"),
    [
        ("float16", [[7e4, 0]], "logits", IncompatibleError, "float16"),
        ("uint8", [[1, 0]], "direction", IncompatibleError, "direction"),
        ("uint8", [[0.5, 0]], "mass", IncompatibleError, "mass"),
        ("top-k:k=1", [[0.5, 0]], "mass", IncompatibleError, "mass"),
        ("top-k:k=1", [[1, 0]], "direction", IncompatibleError, "direction"),
        ("top-k:k=3", [[1, 0]], "logits", UsageError, "top-k"),
        ("top-k:k=0", [[1, 0]], "logits", UsageError, "top-k"),
    ],
)
def test_what_a_codec_cannot_store_is_refused(spec, values, space, error, named):
    with pytest.raises(error, match=named):
        coded(spec, values, LabelMeta(space=space))


@pytest.mark.parametrize("index", [[[0, 0], [1, 2]], [[1, 2], [0, 3]]])
def test_an_index_names_classes_once(index):
    bundle = make_bundle(images=2, classes=3)
    values = np.array([[0.5, 0.5], [1, 0]], np.float32)
    bad = with_arrays(bundle, soft=PROBS, soft_labels=values, soft_index=np.array(index, np.uint8))
    with pytest.raises(InvalidInputError, match="soft_index, row"):
        bad.check_values()


@pytest.mark.parametrize("label", [LabelMeta(space="direction"), LabelMeta(space="mass")])
def test_uint8_is_of_distributions(label):
    with pytest.raises(InvalidInputError, match="soft_labels"):
        with_arrays(make_bundle(), soft=label, soft_labels=np.zeros((12, 3), np.uint8))


def test_an_index_is_of_probabilities_and_fits_its_labels():
    index = np.zeros((12, 1), np.uint8)
    with pytest.raises(InvalidInputError, match="soft_labels"):
        with_arrays(make_bundle(), soft_labels=np.ones((12, 1), np.float32), soft_index=index)
    with pytest.raises(InvalidInputError, match="soft_"):
        with_arrays(make_bundle(), soft=PROBS, soft_index=index)
