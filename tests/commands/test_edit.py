"""Edits of the labels of bundles, and the command."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from samples import make_bundle, with_arrays

from ddlabel.commands.edit import edit_labels
from ddlabel.core.config import EditOptions
from ddlabel.core.errors import IncompatibleError, UsageError
from ddlabel.data import formats
from ddlabel.data.schema import LabelMeta


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

    def test_smoothed_classes_become_soft_labels(self, bundle):
        # GIFT, Tables 18 and 19: 0.9 for the class and 0.1/2 for each of the two others.
        hard_only = replace(bundle, soft=None)
        smoothed = edit_labels(hard_only, EditOptions(op=("smooth:alpha=0.1",), field="hard"))
        expected = np.where(np.eye(3)[bundle.hard_labels] == 1, 0.9, 0.05)
        np.testing.assert_allclose(smoothed.soft.values, expected, rtol=1e-6)
        assert smoothed.soft.meta == LabelMeta(space="probs", source="hard edited")
        over_soft = edit_labels(bundle, EditOptions(op=("smooth:alpha=0.1",), field="hard"))
        assert np.array_equal(over_soft.soft.values, smoothed.soft.values)

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

    def test_images_are_taken_out_by_their_numbers(self, bundle):
        found = edit_labels(bundle, EditOptions(without_images="11, 0-2,5,1-3"))
        rows = [4, 6, 7, 8, 9, 10]
        assert found.source_index.tolist() == rows
        assert np.array_equal(found.images, bundle.images[rows])
        assert np.array_equal(found.soft.values, bundle.soft.values[rows])

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
    before, after, count, _ = said.err.decode().splitlines()
    assert before.startswith("before: soft labels: ")
    assert after.startswith("after:  soft labels: ")
    assert count == "8 of 12 images"
    assert formats.read("out.safetensors").soft.meta.space == "mass"
    (line,) = json.loads(cli("info", "out.safetensors", "--json").out)["shell"]
    assert line.endswith(
        "ddlabel edit - - --op top-k:k=2 --op smooth:alpha=0.2 --without-class 'class 2'"
    )
    # Each label that is left has two probabilities, and smoothing passes a fifth on: the entropy
    # is below ln 3.
    assert 0 < float(after.split("mean entropy ")[1].split()[0]) < math.log(3)
    cli("edit", "soft.safetensors", "out.safetensors", *words, code=6)
    cli("edit", "soft.safetensors", "none.safetensors", "--op", "swop", code=2)


def test_class_is_listed_as_it_is_written(cli):
    assert b"\nwithout-mass:class=0\n" in cli("list", "edits").out
