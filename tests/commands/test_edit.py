"""Edits of labels against numbers worked by hand, and over bundles."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from samples import make_bundle, with_arrays

from ddlabel.commands.edit import edit_labels
from ddlabel.core.config import EditOptions
from ddlabel.core.errors import IncompatibleError, UsageError
from ddlabel.data import formats
from ddlabel.data.checks import sum_to_one
from ddlabel.data.schema import LabelMeta
from ddlabel.methods.labels.edits import edits
from ddlabel.methods.labels.target import Target

LABEL = [0.1, 0.5, 0.05, 0.35]


def target(*rows, hard=None, space="probs", temperature=1.0):
    label = LabelMeta(space=space, temperature=temperature, source="a")
    hard = torch.zeros(len(rows), dtype=torch.long) if hard is None else torch.tensor(hard)
    return Target(hard=hard, values=torch.tensor(rows), label=label)


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
        ("without-mass:class=0", LABEL, "mass"),  # the image is of class 0 itself
        (
            "temperature:t=0.5",
            [0.01 / 0.385, 0.25 / 0.385, 0.0025 / 0.385, 0.1225 / 0.385],
            "probs",
        ),  # p²
        # Each class keeps 0.7 of its own and has 0.1 of what the other three have.
        ("smooth:alpha=0.3", [0.16, 0.4, 0.13, 0.31], "probs"),
        ("smooth:alpha=0.4,over=all", [0.16, 0.4, 0.13, 0.31], "probs"),
        ("one-hot", [0, 1, 0, 0], "probs"),
    ],
)
def test_edits_by_hand(spec, expected, space):
    before = target(LABEL)
    found = edits.resolve(spec)(before)
    assert found.values[0].tolist() == pytest.approx(expected)
    assert (found.label.space, found.label.source) == (space, "a")
    assert before.values[0].tolist() == torch.tensor(LABEL).tolist()


def test_logits_stay_logits_where_that_is_the_same():
    rows = torch.randn(5, 6, generator=torch.Generator().manual_seed(0))
    logits = Target(
        hard=torch.arange(5), values=rows, label=LabelMeta(space="logits", temperature=2.0)
    )
    probs = replace(logits, values=logits.probs(), label=LabelMeta(space="probs"))
    for spec in edits:
        ours, theirs = (edits.resolve(spec)(each) for each in (logits, probs))
        torch.testing.assert_close(ours.probs(), theirs.probs())
        assert (ours.label.space == "logits") == (spec in ("swap", "temperature", "permute"))
    assert edits.resolve("temperature:t=3")(logits).label.temperature == 6


def test_only_images_of_other_classes_lose_the_mass():
    found = edited("without-mass:class=1", LABEL, LABEL, hard=[1, 2])
    assert found.values.tolist() == [pytest.approx(LABEL), pytest.approx([0.1, 0, 0.05, 0.35])]
    blended = edited(
        "without-mass:class=1", LABEL, LABEL, hard=[[0.3, 0.7, 0, 0], [0.3, 0, 0.7, 0]]
    )
    assert torch.equal(blended.values, found.values)


def test_what_was_taken_away_stays_away():
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
        assert found.label.space == "mass"
        assert found.values.sum(1).tolist() == pytest.approx([0.5, 0])
    # 0.8·p + 0.2·(0.5 − p)/3 of 0.4, 0, 0.1, 0.
    assert edited("smooth:alpha=0.2", left, space="mass").values[0].tolist() == pytest.approx(
        [0.32 + 0.02 / 3, 0.1 / 3, 0.08 + 0.08 / 3, 0.1 / 3]
    )
    assert edited("one-hot", left, space="mass").label.space == "probs"
    with pytest.raises(IncompatibleError, match="no probability left"):
        edited("one-hot", [0.0] * 4, space="mass")


def test_permute_is_one_order_for_all_labels_and_a_function_of_the_seed():
    rows = torch.rand(7, 12, generator=torch.Generator().manual_seed(1)).softmax(1)
    labels = Target(hard=torch.zeros(7).long(), values=rows, label=LabelMeta(space="probs"))
    first, again, other = (
        edits.resolve(f"permute:seed={seed}")(labels).values for seed in (0, 0, 1)
    )
    # Each column of the result is one of the columns of the labels, and each comes once.
    same = (first[:, :, None] == rows[:, None, :]).all(0)
    assert same.sum(0).tolist() == same.sum(1).tolist() == [1] * 12
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert not torch.equal(first, rows)


@given(st.lists(st.floats(-5, 5, width=32), min_size=2, max_size=9), st.data())
def test_edits_leave_labels_that_a_bundle_takes(row, data):
    classes = len(row)
    specs = [
        f"top-k:k={data.draw(st.integers(1, classes))},renormalise={data.draw(st.sampled_from(['true', 'false']))}",
        f"swap:i={data.draw(st.integers(1, classes - 1))}",
        f"without-mass:class={data.draw(st.integers(0, classes - 1))}",
        f"temperature:t={data.draw(st.floats(0.25, 4))}",
        f"smooth:alpha={data.draw(st.floats(0, 1))},over={data.draw(st.sampled_from(['others', 'all']))}",
        "permute",
    ]
    found = target(row, row, hard=[0, classes - 1], space="logits")
    for spec in data.draw(st.permutations(specs)):
        try:
            found = edits.resolve(spec)(found)
        except IncompatibleError:  # nothing was left to renormalise
            return
    probs = found.probs().numpy()
    assert (probs >= 0).all()
    assert probs.sum(1).max() <= 1 + 1e-5
    assert found.label.space == "mass" or sum_to_one(probs).all()


def test_swapping_twice_and_sharpening_what_was_softened_give_the_label_back():
    assert edited("temperature:t=0.25", edited("temperature:t=4", LABEL).values[0].tolist()).values[
        0
    ].tolist() == pytest.approx(LABEL, rel=1e-5)
    assert edits.resolve("swap:i=1")(edited("swap:i=1", [0.7, 0.1, 0.2])).values[
        0
    ].tolist() == pytest.approx([0.7, 0.1, 0.2])


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("top-k:k=0", "top-k: k is 0: expected 1 to 4"),
        ("top-k:k=5", "expected 1 to 4"),
        ("swap:i=4", "expected 1 to 3"),
        ("swap:i=0", "expected 1 to 3"),
        ("without-mass:class=4", "without-mass: class is 4: expected 0 to 3"),
        ("without-mass:clas=1", "did you mean 'class'"),
        ("temperature:t=0", "from 0.001 to 1000"),
        ("smooth:alpha=1.5", "expected 0 to 1"),
        ("smooth:over=some", "others, all"),
        ("topk", "did you mean 'top-k'"),
    ],
)
def test_what_does_not_fit_is_refused(spec, message):
    with pytest.raises(UsageError, match=message):
        edited(spec, LABEL)


class TestBundles:
    def test_edits_are_carried_out_in_their_order(self, bundle):
        probs = torch.from_numpy(bundle.soft.values).softmax(1)
        order = probs.argsort(1, descending=True)
        found = edit_labels(bundle, EditOptions(op=("swap:i=1", "top-k:k=1")))
        assert found.soft.meta == LabelMeta(space="mass", source=" edited")
        expected = torch.zeros(12, 3).scatter(1, order[:, 2:], probs.gather(1, order[:, :1]))
        np.testing.assert_allclose(found.soft.values, expected, rtol=1e-6)
        found.check_values()
        other = edit_labels(
            bundle, EditOptions(op=("top-k:k=2", "swap:i=1"))
        ).soft.values  # the first with the third, a 0
        expected = probs.scatter(1, order[:, :1], 0).scatter(
            1, order[:, 2:], probs.gather(1, order[:, :1])
        )
        np.testing.assert_allclose(other, expected, rtol=1e-6)

    def test_blocks_of_dense_labels(self, monkeypatch):
        labels = np.random.default_rng(0).normal(size=(7, 2, 3)).astype(np.float32)
        views = {
            "dense_boxes": np.array([[0, 0, 1, 1]] * 2, np.float32),
            "dense": LabelMeta(space="logits"),
        }
        bundle = with_arrays(make_bundle(images=7), dense_labels=labels, **views)
        whole = edit_labels(bundle, EditOptions(op=("temperature:t=2", "permute"), field="dense"))
        monkeypatch.setattr(
            "ddlabel.methods.labels.blocks.image_chunks",
            lambda each: [slice(i, i + 2) for i in range(0, len(each), 2)],
        )
        blocks = edit_labels(bundle, EditOptions(op=("temperature:t=2", "permute"), field="dense"))
        assert np.array_equal(whole.dense.values, blocks.dense.values)
        assert (
            whole.dense.meta
            == blocks.dense.meta
            == LabelMeta(space="logits", temperature=2.0, source=" edited")
        )
        assert np.array_equal(np.sort(whole.dense.values), np.sort(labels))
        assert whole.soft is bundle.soft

    @pytest.mark.parametrize("name", ["1", "class 1"])
    def test_a_class_without_its_images_keeps_its_place_in_the_labels(self, bundle, name):
        found = edit_labels(bundle, EditOptions(without_class=name))
        rows = np.flatnonzero(np.arange(12) % 3 != 1)
        assert found.classes == bundle.classes
        assert found.source_index.tolist() == rows.tolist()
        assert np.array_equal(found.soft.values, bundle.soft.values[rows])
        assert np.array_equal(found.images, bundle.images[rows])

    def test_a_name_goes_before_a_number(self, bundle):
        found = edit_labels(
            replace(bundle, classes=("2", "1", "0")), EditOptions(without_class="2")
        )
        assert set(found.hard_labels) == {1, 2}

    @pytest.mark.parametrize(
        ("settings", "error", "message"),
        [
            ({}, UsageError, "--op"),
            ({"without_class": "3"}, UsageError, "0 of 12 images"),
            ({"without_class": "class"}, UsageError, "0 of 12 images"),
            ({"op": ("swap:i=3",)}, UsageError, "expected 1 to 2"),
            ({"op": ("swap",), "field": "dense"}, IncompatibleError, "ddlabel densify"),
        ],
    )
    def test_bad_requests(self, bundle, settings, error, message):
        with pytest.raises(error, match=message):
            edit_labels(bundle, EditOptions(**settings))

    def test_directions_are_refused_but_may_lose_a_class(self, bundle):
        direction = with_arrays(bundle, soft=LabelMeta(space="direction"))
        with pytest.raises(IncompatibleError, match="directions have no probabilities"):
            edit_labels(direction, EditOptions(op=("swap",)))
        assert len(edit_labels(direction, EditOptions(without_class="0"))) == 8

    def test_the_last_class_with_images_cannot_go(self, bundle):
        with pytest.raises(UsageError, match="4 of 4 images"):
            edit_labels(bundle.take(np.arange(0, 12, 3)), EditOptions(without_class="0"))


def test_the_command_says_before_and_after_and_its_history_can_be_run_again(cli, bundle):
    formats.write("soft.safetensors", bundle)
    words = ["--op", "top-k:k=2", "--op", "smooth:alpha=0.2", "--without-class", "class 2"]
    said = cli("edit", "soft.safetensors", "out.safetensors", *words)
    before, after, count = said.err.decode().splitlines()
    assert before.startswith("before: soft labels: ")
    assert after.startswith("after:  soft labels: ")
    assert count == "8 of 12 images"
    assert formats.read("out.safetensors").soft.meta.space == "mass"
    (line,) = json.loads(cli("info", "out.safetensors", "--json").out)["shell"]
    assert line.endswith(
        "--field soft --op top-k:k=2 --op smooth:alpha=0.2 --without-class 'class 2'"
    )
    # Each label that is left has two probabilities, and smoothing passes a fifth on: the entropy is below ln 3.
    assert 0 < float(after.split("mean entropy ")[1].split()[0]) < math.log(3)
    cli("edit", "soft.safetensors", "out.safetensors", *words, code=6)
    cli("edit", "soft.safetensors", "none.safetensors", "--op", "swop", code=2)


def test_class_is_listed_as_it_is_written(cli):
    assert b"\nwithout-mass:class=0\n" in cli("list", "edits").out
