"""Figures of labels against numbers worked by hand, and distances against SciPy's."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from samples import TINY, make_bundle, with_arrays
from scipy.spatial.distance import jensenshannon
from scipy.special import softmax
from scipy.stats import entropy

from ddlabel.commands.checkpoints import pick_checkpoints as pick
from ddlabel.commands.describe import by_epoch, compare, describe
from ddlabel.commands.labeling import label_images as relabel
from ddlabel.core.config import DescribeOptions, RelabelOptions
from ddlabel.core.errors import IncompatibleError, UsageError
from ddlabel.data import formats
from ddlabel.data.expert_run import ExpertRun
from ddlabel.data.schema import LabelMeta

OPTIONS, LABEL_OPTIONS = DescribeOptions(compile="off"), RelabelOptions(compile="off")


def labelled(values, space="probs", temperature=1.0):
    """Images of classes 0, 1, 2, 0, 1, 2, … with these labels."""
    values = np.asarray(values, np.float32)
    label = LabelMeta(space=space, temperature=temperature)
    return with_arrays(
        make_bundle(images=len(values), classes=values.shape[-1]), soft_labels=values, soft=label
    )


def test_figures_by_hand():
    found = describe(
        labelled([[0.5, 0.5, 0], [0.25, 0.75, 0], [0.5, 0.25, 0.25], [0.25, 0.5, 0.25]]), "soft"
    )
    # Hard labels 0, 1, 2, 0; the largest entries are 0 (of a tie, the first), 1, 0, 1.
    assert found["accuracy"] == 0.5
    nats = [math.log(2), 2 * math.log(2) - 0.75 * math.log(3), 1.5 * math.log(2), 1.5 * math.log(2)]
    assert found["entropy_nats"] == pytest.approx(sum(nats) / 4, rel=1e-6)
    assert found["effective_classes"] == pytest.approx((2 + 4 / 3**0.75 + 2 * 2**1.5) / 4)
    assert found["confidence"] == pytest.approx(2.25 / 4)
    assert found["class_similarity"] == [
        pytest.approx([0.5, 0.375, 0.125]),
        pytest.approx([0.25, 0.625, 0.125]),
        None,
    ]
    assert found["size"]["bytes"] == 12


def test_logits_are_described_as_their_distributions():
    logits = np.random.default_rng(0).normal(size=(9, 4))
    ours = describe(labelled(3 * logits, "logits", temperature=3.0), "soft")
    theirs = describe(labelled(softmax(logits, 1)), "soft")
    assert ours["class_similarity"] == [
        row and pytest.approx(row, rel=1e-5) for row in theirs["class_similarity"]
    ]
    for key in ("accuracy", "entropy_nats", "confidence", "effective_classes"):
        assert ours[key] == pytest.approx(theirs[key], rel=1e-5)


def test_labels_that_lost_probability_are_described_by_what_is_left():
    left = [[0.5, 0.25, 0], [0.125, 0, 0.125]]
    ours, theirs = (
        describe(labelled(left, "mass"), "soft"),
        describe(labelled([[2 / 3, 1 / 3, 0], [0.5, 0, 0.5]]), "soft"),
    )
    assert ours.pop("class_similarity")[0] == pytest.approx(theirs.pop("class_similarity")[0])
    size = ours.pop("size")
    assert size == theirs.pop("size")
    assert ours == pytest.approx(theirs)
    # And where nothing is left no figure is infinite or no number.
    nothing = describe(labelled([[0.0, 0, 0], [0.125, 0, 0.125]], "mass"), "soft")
    assert nothing["confidence"] == 0.25
    assert nothing["effective_classes"] == pytest.approx(1.5)


def test_dense_labels_count_every_view():
    logits = np.random.default_rng(1).normal(size=(6, 4, 3)).astype(np.float32)
    views = {
        "dense_boxes": np.array([[0, 0, 1, 1]] * 4, np.float32),
        "dense": LabelMeta(space="logits"),
    }
    found = describe(with_arrays(make_bundle(images=6), dense_labels=logits, **views), "dense")
    probs = softmax(logits.astype(np.float64), 2).reshape(24, 3)
    assert found["confidence"] == pytest.approx(probs.max(1).mean())
    assert found["effective_classes"] == pytest.approx(np.exp(entropy(probs, axis=1)).mean())
    for number, row in enumerate(found["class_similarity"]):
        assert row == pytest.approx(probs[probs.argmax(1) == number].mean(0))


def test_directions_have_accuracy_and_size_alone():
    found = describe(labelled([[1, -1, 0], [0, 3, 0]], "direction"), "soft")
    assert found.keys() == {"accuracy", "entropy_nats", "size"}
    assert (found["accuracy"], found["entropy_nats"]) == (1, None)


@given(st.integers(1, 20), st.integers(2, 7), st.integers(0, 9), st.floats(0.5, 5))
def test_distances_are_scipys(images, classes, seed, scale):
    draw = np.random.default_rng(seed)
    first, second = scale * draw.normal(size=(2, images, classes)).astype(np.float32)
    p, q = softmax(first.astype(np.float64), 1), softmax(second.astype(np.float64) / 2, 1)
    found = compare(labelled(first, "logits"), labelled(second, "logits", temperature=2.0), "soft")
    assert found["js_distance"] == pytest.approx(jensenshannon(p, q, axis=1).mean(), rel=1e-5)
    assert found["kl"] == pytest.approx(entropy(p, q, axis=1).mean(), rel=1e-5)
    assert found["kl_reverse"] == pytest.approx(entropy(q, p, axis=1).mean(), rel=1e-5)
    assert found["same_class"] == pytest.approx((p.argmax(1) == q.argmax(1)).mean())


def test_distances_with_zeros_by_hand():
    # Nothing in common: √ln 2. (1, 0) and (½, ½): KL is ln 2 one way and infinite the other.
    apart = compare(labelled([[1, 0]]), labelled([[0, 1]]), "soft")
    assert apart["js_distance"] == pytest.approx(math.sqrt(math.log(2)))
    assert (apart["same_class"], apart["kl"], apart["kl_reverse"]) == (0, None, None)
    half = compare(labelled([[1, 0]]), labelled([[0.5, 0.5]]), "soft")
    assert half["kl"] == pytest.approx(math.log(2))
    assert half["kl_reverse"] is None
    assert half["js_distance"] == pytest.approx(jensenshannon([1, 0], [0.5, 0.5]))


def test_labels_do_not_differ_from_themselves_nor_from_other_forms_of_themselves():
    logits = np.random.default_rng(2).normal(size=(1203, 5)).astype(np.float32)  # three blocks
    same = {"same_class": 1, "js_distance": 0, "kl": 0, "kl_reverse": 0}
    assert compare(labelled(logits, "logits"), labelled(logits, "logits"), "soft") == pytest.approx(
        same, abs=1e-8
    )
    found = compare(labelled(logits, "logits"), labelled(softmax(logits, 1)), "soft")
    assert found == pytest.approx(same, abs=1e-6)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (make_bundle(images=11), r"labels of \[11\] images"),
        (make_bundle(images=12, classes=4), "4 of them, expected 3"),
        (with_arrays(make_bundle(), soft_labels=None, soft=None), "--against has no soft labels"),
        (
            with_arrays(make_bundle(), soft=LabelMeta(space="direction")),
            "directions have no distance",
        ),
    ],
)
def test_labels_that_cannot_be_compared(bundle, other, message):
    with pytest.raises(IncompatibleError, match=message):
        compare(bundle, other, "soft")


class TestExperts:
    @pytest.fixture
    def runs(self, cli, digits):
        cli(
            "train-expert",
            "real.safetensors",
            "both",
            *TINY,
            "--experts",
            2,
            "--batch-size",
            30,
            "--save-every",
            0.5,
        )
        return ExpertRun.find("both")

    def test_distances_to_every_checkpoint_of_an_ensemble(self, runs):
        few = formats.read("few.safetensors")
        own = relabel(few, pick(few, runs[:1], "1.5"), LABEL_OPTIONS)
        found = by_epoch(own, runs, OPTIONS)
        assert found["epoch"] == [0.5, 1, 1.5, 2]
        theirs = [
            relabel(few, pick(few, runs, str(at)), LABEL_OPTIONS).soft.values
            for at in found["epoch"]
        ]
        labels = [softmax(each.astype(np.float64), 1) for each in (own.soft.values, *theirs)]
        distances = np.stack([jensenshannon(labels[0], each, axis=1) for each in labels[1:]])
        scaled = (distances - distances.min(0)) / (distances.max(0) - distances.min(0))
        assert found["js_distance"] == pytest.approx(distances.mean(1), rel=1e-4)
        assert found["normalised"] == pytest.approx(scaled.mean(1), rel=1e-4)
        assert found["nearest"] == found["epoch"][scaled.mean(1).argmin()]

    def test_an_experts_own_labels_are_nearest_to_it(self, cli, digits):
        cli("relabel", "few.safetensors", "soft.safetensors", "--expert", "expert", "--epoch", 1)
        said = cli("describe", "soft.safetensors", "--expert", "expert", "--compile", "off")
        assert b"nearest      epoch 1\n" in said.out
        value = json.loads(cli("describe", "soft.safetensors", "--expert", "expert", "--json").out)
        number = value["experts"]["epoch"].index(1)
        assert value["experts"]["normalised"][number] == 0
        assert value["experts"]["js_distance"][number] == pytest.approx(0, abs=1e-6)
        assert max(value["experts"]["normalised"]) <= 1

    def test_bad_requests(self, cli, digits):
        cli("relabel", "few.safetensors", "soft.safetensors", "--expert", "expert")
        for words, code, message in (
            (["--expert", "expert@1"], 2, "leave out the @EPOCH"),
            (["--expert", "expert", "--field", "dense"], 2, "--field dense"),
            (["--expert", "nowhere"], 3, "no such expert run"),
            (["--field", "dense"], 5, "ddlabel densify"),
            (["--against", "few.safetensors"], 5, "--against has no soft labels"),
        ):
            assert message in cli("describe", "soft.safetensors", *words, code=code).err.decode(), (
                words
            )
        cli("describe", "few.safetensors", code=5)
        cli("describe", "-", "--against", "-", code=2)

    def test_runs_without_a_common_epoch(self, cli, digits, runs):
        few = formats.read("few.safetensors")
        soft = relabel(few, pick(few, runs, "last"), LABEL_OPTIONS)
        for step in (digits / "both/expert-0").glob("step-*"):
            step.unlink()
        with pytest.raises(IncompatibleError, match="no checkpoint, or none of the same epoch"):
            by_epoch(soft, runs, OPTIONS)
        with pytest.raises(UsageError):
            by_epoch(soft, [ExpertRun(runs[1].folder, "1")], OPTIONS)


def test_what_the_command_prints(cli):
    first = replace(make_bundle(), classes=("a", "[red]b", "\x1b[31mc"))
    formats.write("first.safetensors", first)
    formats.write("second.h5", with_arrays(first, soft_labels=first.soft.values[:, ::-1].copy()))
    said = cli("describe", "first.safetensors", "--against", "second.h5")
    assert [line.split()[0] for line in said.out.decode().splitlines()] == [
        "labels",
        "confidence",
        "size",
        "against",
        "distance",
    ]
    assert b"predicted" in said.err
    assert b"[red]b" in said.err
    assert b"\x1b" not in said.err
    value = json.loads(cli("describe", "first.safetensors", "--against", "second.h5", "--json").out)
    assert value["against"] == compare(first, formats.read("second.h5"), "soft")
    assert np.shape([row for row in value["class_similarity"] if row]) == (3, 3)
    assert cli("describe", "first.safetensors", "--quiet").err == b""
    formats.write("many.safetensors", make_bundle(images=26, classes=13))
    assert cli("describe", "many.safetensors").err == b""
    formats.write("direction.safetensors", with_arrays(first, soft=LabelMeta(space="direction")))
    assert cli("describe", "direction.safetensors").out.startswith(b"labels       ")
