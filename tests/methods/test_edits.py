"""Edits of labels against numbers worked by hand, and properties of any edit."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ddlabel.core.errors import IncompatibleError, UsageError
from ddlabel.data.checks import sum_to_one
from ddlabel.data.schema import LabelMeta
from ddlabel.methods.labels.edits import edits
from ddlabel.methods.labels.target import Target

LABEL = [0.1, 0.5, 0.05, 0.35]


def target(*rows, hard=None, space="probs", temperature=1.0):
    hard = torch.tensor(hard or [0] * len(rows))
    meta = LabelMeta(space=space, temperature=temperature, source="a")
    return Target(hard=hard, values=torch.tensor(rows), meta=meta)


def edited(spec, *rows, **settings):
    return edits.resolve(spec)(target(*rows, **settings))


@pytest.mark.parametrize(
    ("spec", "expected", "space"),
    [
        ("top-k:k=2", [0, 0.5, 0, 0.35], "mass"),
        ("top-k:k=2,renormalise=true", [0, 0.5 / 0.85, 0, 0.35 / 0.85], "probs"),
        ("top-k:k=4", LABEL, "mass"),
        ("swap:i=1", [0.1, 0.05, 0.5, 0.35], "probs"),
        ("swap:i=2", [0.1, 0.5, 0.35, 0.05], "probs"),
        ("swap:i=3", [0.05, 0.5, 0.1, 0.35], "probs"),
        ("without-mass:class=1", [0.1, 0, 0.05, 0.35], "mass"),
        ("without-mass:class=0", LABEL, "mass"),  # the image is of class 0
        # p² : 0.01, 0.25, 0.0025 and 0.1225, whose sum is 0.385.
        ("temperature:t=0.5", [2 / 77, 50 / 77, 0.5 / 77, 24.5 / 77], "probs"),
        # Each class keeps 0.7 of its probability and gets 0.1 of that of the other three.
        ("smooth:alpha=0.3", [0.16, 0.4, 0.13, 0.31], "probs"),
        ("smooth:alpha=0.4,over=all", [0.16, 0.4, 0.13, 0.31], "probs"),
        ("one-hot", [0, 1, 0, 0], "probs"),
    ],
)
def test_edits_equal_the_values_worked_by_hand(spec, expected, space):
    before = target(LABEL)
    found = edits.resolve(spec)(before)
    assert found.values[0].tolist() == pytest.approx(expected)
    assert (found.meta.space, found.meta.source) == (space, "a")
    assert before.values[0].tolist() == torch.tensor(LABEL).tolist()


def test_edits_of_logits_equal_those_of_their_probabilities():
    rows = torch.randn(5, 6, generator=torch.Generator().manual_seed(0))
    logits = Target(
        hard=torch.arange(5), values=rows, meta=LabelMeta(space="logits", temperature=2.0)
    )
    probs = replace(logits, values=logits.probs(), meta=LabelMeta(space="probs"))
    for spec in edits:
        edit = edits.resolve(spec)
        torch.testing.assert_close(edit(logits).probs(), edit(probs).probs())
        keeps_logits = spec in ("swap", "temperature", "permute")
        assert (edit(logits).meta.space == "logits") == keeps_logits
    assert edits.resolve("temperature:t=3")(logits).meta.temperature == 6


def test_without_mass_spares_images_and_blended_views_of_the_class():
    found = edited("without-mass:class=1", LABEL, LABEL, hard=[1, 2])
    assert found.values.tolist() == [pytest.approx(LABEL), pytest.approx([0.1, 0, 0.05, 0.35])]
    blended = edited(
        "without-mass:class=1", LABEL, LABEL, hard=[[0.3, 0.7, 0, 0], [0.3, 0, 0.7, 0]]
    )
    assert torch.equal(blended.values, found.values)


def test_edits_keep_the_sum_of_labels_that_lost_probability():
    left = [0.4, 0.0, 0.1, 0.0]
    for spec in (
        "temperature:t=3",
        "smooth:alpha=0.2",
        "smooth:alpha=0.2,over=all",
        "swap",
        "permute",
        "top-k:k=4",
    ):
        found = edited(spec, left, [0.0] * 4, space="mass")
        assert found.meta.space == "mass"
        assert found.values.sum(1).tolist() == pytest.approx([0.5, 0])
    # 0.8·p + 0.2·(0.5 − p)/3 of 0.4, 0, 0.1, 0.
    assert edited("smooth:alpha=0.2", left, space="mass").values[0].tolist() == pytest.approx(
        [0.32 + 0.02 / 3, 0.1 / 3, 0.08 + 0.08 / 3, 0.1 / 3]
    )
    assert edited("one-hot", left, space="mass").meta.space == "probs"
    with pytest.raises(IncompatibleError):
        edited("one-hot", [0.0] * 4, space="mass")


def test_permute_uses_one_order_for_all_labels_that_depends_on_the_seed_only():
    rows = torch.rand(7, 12, generator=torch.Generator().manual_seed(1)).softmax(1)
    labels = Target(hard=torch.zeros(7).long(), values=rows, meta=LabelMeta(space="probs"))
    first = edits.resolve("permute:seed=0")(labels).values
    again = edits.resolve("permute:seed=0")(labels).values
    other = edits.resolve("permute:seed=1")(labels).values
    # Each column of the result is a column of the labels, and each occurs once.
    same = (first[:, :, None] == rows[:, None, :]).all(0)
    assert same.sum(0).tolist() == same.sum(1).tolist() == [1] * 12
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert not torch.equal(first, rows)


@given(st.lists(st.floats(-5, 5, width=32), min_size=2, max_size=9), st.data())
def test_any_sequence_of_edits_gives_valid_labels(row, data):
    num_classes = len(row)
    k = data.draw(st.integers(1, num_classes))
    renormalise = data.draw(st.sampled_from(["true", "false"]))
    i = data.draw(st.integers(1, num_classes - 1))
    class_ = data.draw(st.integers(0, num_classes - 1))
    t = data.draw(st.floats(0.25, 4))
    alpha = data.draw(st.floats(0, 1))
    over = data.draw(st.sampled_from(["others", "all"]))
    specs = [
        f"top-k:k={k},renormalise={renormalise}",
        f"swap:i={i}",
        f"without-mass:class={class_}",
        f"temperature:t={t}",
        f"smooth:alpha={alpha},over={over}",
        "permute",
    ]
    found = target(row, row, hard=[0, num_classes - 1], space="logits")
    for spec in data.draw(st.permutations(specs)):
        try:
            found = edits.resolve(spec)(found)
        except IncompatibleError:  # no probability was left to renormalise
            return
    probs = found.probs().numpy()
    assert (probs >= 0).all()
    assert probs.sum(1).max() <= 1 + 1e-5
    assert found.meta.space == "mass" or sum_to_one(probs).all()


def test_sharpening_undoes_softening():
    softened = edited("temperature:t=4", LABEL)
    sharpened = edits.resolve("temperature:t=0.25")(softened)
    assert sharpened.values[0].tolist() == pytest.approx(LABEL, rel=1e-5)


def test_swapping_twice_gives_the_label_back():
    swapped = edited("swap:i=1", [0.7, 0.1, 0.2])
    again = edits.resolve("swap:i=1")(swapped)
    assert again.values[0].tolist() == pytest.approx([0.7, 0.1, 0.2])


@pytest.mark.parametrize(
    ("spec", "named"),
    [
        ("top-k:k=0", "top-k: k"),
        ("top-k:k=5", "top-k: k"),
        ("swap:i=4", "swap: i"),
        ("swap:i=0", "swap: i"),
        ("without-mass:class=4", "without-mass: class"),
        ("without-mass:clas=1", "'class'"),
        ("temperature:t=0", "temperature: t"),
        ("smooth:alpha=1.5", "smooth: alpha"),
        ("smooth:over=some", "'over'"),
        ("topk", "'top-k'"),
    ],
)
def test_options_out_of_range_and_misspelt_names_are_refused(spec, named):
    with pytest.raises(UsageError, match=named):
        edited(spec, LABEL)
