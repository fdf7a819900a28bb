"""`ddlabel describe`: the lines and the table that it prints."""

from __future__ import annotations

import io
import json
import sys
from dataclasses import replace

import numpy as np
import pytest
from samples import make_bundle, with_arrays

from ddlabel.data import formats
from ddlabel.data.schema import LabelMeta


@pytest.fixture
def first(cli):
    """A bundle `first.safetensors` with hostile class names, and `second.h5` with other labels."""
    bundle = replace(make_bundle(), classes=("a", "[red]b", "\x1b[31mc"))
    formats.write("first.safetensors", bundle)
    reversed_labels = bundle.soft.values[:, ::-1].copy()
    formats.write("second.h5", with_arrays(bundle, soft_labels=reversed_labels))
    return bundle


def first_words(text):
    return [line.split()[0] for line in text.decode().splitlines()]


def test_figures_are_lines_on_standard_output(cli, first):
    done = cli("describe", "first.safetensors", "--against", "second.h5")
    assert first_words(done.out) == ["labels", "confidence", "size", "against", "distance"]


def test_classes_are_a_table_that_cannot_steer_the_terminal(cli, first):
    done = cli("describe", "first.safetensors")
    assert b"predicted" in done.err
    assert b"[red]b" in done.err
    assert b"\x1b" not in done.err
    assert cli("describe", "first.safetensors", "--quiet").err == b""


def test_many_classes_are_no_table(cli):
    formats.write("many.safetensors", make_bundle(images=26, classes=13))
    assert cli("describe", "many.safetensors").err == b""


def test_json_has_all_figures(cli, first):
    value = json.loads(cli("describe", "first.safetensors", "--against", "second.h5", "--json").out)
    assert value["against"]["js_distance"] > 0
    assert np.shape([row for row in value["class_similarity"] if row]) == (3, 3)


def test_directions_have_no_line_of_confidence(cli, first):
    direction = with_arrays(first, soft=LabelMeta(space="direction"))
    formats.write("direction.safetensors", direction)
    assert first_words(cli("describe", "direction.safetensors").out) == ["labels", "size"]


def test_distances_to_experts_are_a_line_for_each_epoch(cli, digits):
    cli("relabel", "few.safetensors", "soft.safetensors", "--expert", "expert", "--epoch", 1)
    done = cli("describe", "soft.safetensors", "--expert", "expert", "--compile", "off")
    words = ["labels", "confidence", "size", *4 * ["epoch"], "nearest", "distance"]
    assert first_words(done.out) == words
    assert b"nearest      epoch 1\n" in done.out


def test_standard_input_is_the_bundle(cli, first, tmp_path, monkeypatch):
    content = (tmp_path / "first.safetensors").read_bytes()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
    piped = cli("describe", "-", "--json").out
    assert piped == cli("describe", "first.safetensors", "--json").out
