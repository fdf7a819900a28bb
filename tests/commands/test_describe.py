"""Figures of labels against numbers worked by hand, and distances against SciPy's."""

from __future__ import annotations

import math
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from samples import make_bundle, with_arrays
from scipy.spatial.distance import jensenshannon
from scipy.special import softmax
from scipy.stats import entropy

from ddlabel.commands.checkpoints import pick_checkpoints
from ddlabel.commands.describe import (
    compare_labels,
    describe,
    describe_labels,
    distance_by_epoch,
)
from ddlabel.commands.execute import run_command
from ddlabel.commands.labeling import label_images
from ddlabel.core.config import DescribeOptions, RelabelOptions
from ddlabel.core.errors import IncompatibleError, InvalidInputError, UsageError
from ddlabel.data import formats
from ddlabel.data.expert_run import ExpertRun
from ddlabel.data.schema import LabelMeta

OPTIONS = DescribeOptions(compile="off", precision="fp32")
LABEL_OPTIONS = RelabelOptions(compile="off", precision="fp32")


def labelled(values, space="probs", temperature=1.0):
    """Images of classes 0, 1, 2, 0, 1, 2, … with these labels."""
    values = np.asarray(values, np.float32)
    bundle = make_bundle(images=len(values), classes=values.shape[-1])
    meta = LabelMeta(space=space, temperature=temperature)
    return with_arrays(bundle, soft_labels=values, soft=meta)


class TestFigures:
    def test_are_those_worked_by_hand(self):
        labels = [[0.5, 0.5, 0], [0.25, 0.75, 0], [0.5, 0.25, 0.25], [0.25, 0.5, 0.25]]
        figures = describe_labels(labelled(labels), "soft")
        # Hard labels 0, 1, 2, 0; the largest entries are 0 (of a tie, the first), 1, 0, 1.
        assert figures["accuracy"] == 0.5
        nats = [math.log(2), 2 * math.log(2) - 0.75 * math.log(3)] + 2 * [1.5 * math.log(2)]
        assert figures["entropy_nats"] == pytest.approx(sum(nats) / 4, rel=1e-6)
        effective = [2, 4 / 3**0.75, 2**1.5, 2**1.5]
        assert figures["effective_classes"] == pytest.approx(sum(effective) / 4)
        assert figures["confidence"] == pytest.approx(2.25 / 4)
        assert figures["class_similarity"] == [
            pytest.approx([0.5, 0.375, 0.125]),
            pytest.approx([0.25, 0.625, 0.125]),
            None,
        ]
        assert figures["size"]["bytes"] == 12

    def test_of_logits_are_those_of_their_distributions(self):
        logits = np.random.default_rng(0).normal(size=(9, 4))
        of_logits = describe_labels(labelled(3 * logits, "logits", temperature=3.0), "soft")
        of_probs = describe_labels(labelled(softmax(logits, 1)), "soft")
        rows = zip(of_logits["class_similarity"], of_probs["class_similarity"], strict=True)
        for row, expected in rows:
            assert row == (expected and pytest.approx(expected, rel=1e-5))
        for key in ("accuracy", "entropy_nats", "confidence", "effective_classes"):
            assert of_logits[key] == pytest.approx(of_probs[key], rel=1e-5)

    def test_of_labels_that_lost_probability_are_those_of_the_rest(self):
        of_mass = describe_labels(labelled([[0.5, 0.25, 0], [0.125, 0, 0.125]], "mass"), "soft")
        of_probs = describe_labels(labelled([[2 / 3, 1 / 3, 0], [0.5, 0, 0.5]]), "soft")
        rows = [figures.pop("class_similarity")[0] for figures in (of_mass, of_probs)]
        assert rows[0] == pytest.approx(rows[1])
        assert of_mass.pop("size") == of_probs.pop("size")
        assert of_mass == pytest.approx(of_probs)

    def test_of_labels_without_any_probability_are_finite(self):
        figures = describe_labels(labelled([[0.0, 0, 0], [0.125, 0, 0.125]], "mass"), "soft")
        assert figures["confidence"] == 0.25
        assert figures["effective_classes"] == pytest.approx(1.5)

    def test_of_dense_labels_count_every_view(self):
        logits = np.random.default_rng(1).normal(size=(6, 4, 3)).astype(np.float32)
        bundle = with_arrays(
            make_bundle(images=6),
            dense_labels=logits,
            dense_boxes=np.array([[0, 0, 1, 1]] * 4, np.float32),
            dense=LabelMeta(space="logits"),
        )
        figures = describe_labels(bundle, "dense")
        probs = softmax(logits.astype(np.float64), 2).reshape(24, 3)
        assert figures["confidence"] == pytest.approx(probs.max(1).mean())
        effective = np.exp(entropy(probs, axis=1))
        assert figures["effective_classes"] == pytest.approx(effective.mean())
        for number, row in enumerate(figures["class_similarity"]):
            assert row == pytest.approx(probs[probs.argmax(1) == number].mean(0))

    def test_of_directions_are_accuracy_and_size_alone(self):
        figures = describe_labels(labelled([[1, -1, 0], [0, 3, 0]], "direction"), "soft")
        assert figures.keys() == {"accuracy", "entropy_nats", "size"}
        assert (figures["accuracy"], figures["entropy_nats"]) == (1, None)


class TestComparisons:
    @given(st.integers(1, 20), st.integers(2, 7), st.integers(0, 9), st.floats(0.5, 5))
    def test_give_the_distances_of_scipy(self, images, classes, seed, scale):
        draw = np.random.default_rng(seed)
        first, second = scale * draw.normal(size=(2, images, classes)).astype(np.float32)
        p = softmax(first.astype(np.float64), 1)
        q = softmax(second.astype(np.float64) / 2, 1)
        figures = compare_labels(
            labelled(first, "logits"), labelled(second, "logits", temperature=2.0), "soft"
        )
        expected = jensenshannon(p, q, axis=1).mean()
        assert figures["js_distance"] == pytest.approx(expected, rel=1e-5)
        assert figures["kl"] == pytest.approx(entropy(p, q, axis=1).mean(), rel=1e-5)
        assert figures["kl_reverse"] == pytest.approx(entropy(q, p, axis=1).mean(), rel=1e-5)
        same_class = (p.argmax(1) == q.argmax(1)).mean()
        assert figures["same_class"] == pytest.approx(same_class)

    def test_of_labels_without_a_common_class_are_root_ln_2_apart(self):
        figures = compare_labels(labelled([[1, 0]]), labelled([[0, 1]]), "soft")
        assert figures["js_distance"] == pytest.approx(math.sqrt(math.log(2)))
        assert (figures["same_class"], figures["kl"], figures["kl_reverse"]) == (0, None, None)

    def test_an_infinite_divergence_is_none(self):
        # (1, 0) and (½, ½): KL is ln 2 one way and infinite the other.
        figures = compare_labels(labelled([[1, 0]]), labelled([[0.5, 0.5]]), "soft")
        assert figures["kl"] == pytest.approx(math.log(2))
        assert figures["kl_reverse"] is None
        assert figures["js_distance"] == pytest.approx(jensenshannon([1, 0], [0.5, 0.5]))

    def test_with_themselves_in_any_form_are_zero(self):
        # More labels than are read at once.
        logits = np.random.default_rng(2).normal(size=(1203, 5)).astype(np.float32)
        bundle = labelled(logits, "logits")
        same = {"same_class": 1, "js_distance": 0, "kl": 0, "kl_reverse": 0}
        assert compare_labels(bundle, bundle, "soft") == pytest.approx(same, abs=1e-8)
        of_probs = compare_labels(bundle, labelled(softmax(logits, 1)), "soft")
        assert of_probs == pytest.approx(same, abs=1e-6)

    @pytest.mark.parametrize(
        ("other", "named"),
        [
            (make_bundle(images=11), "11"),
            (make_bundle(images=12, classes=4), "classes"),
            (with_arrays(make_bundle(), soft_labels=None, soft=None), "soft"),
            (with_arrays(make_bundle(), soft=LabelMeta(space="direction")), "directions"),
        ],
        ids=["other images", "other classes", "no labels", "directions"],
    )
    def test_of_other_tasks_are_refused(self, bundle, other, named):
        with pytest.raises(IncompatibleError, match=named):
            compare_labels(bundle, other, "soft")


class TestExperts:
    @pytest.fixture
    def runs(self, digits):
        """Two runs with checkpoints at epochs 0.5, 1, 1.5 and 2."""
        values = {"real": "real.safetensors", "out": "both", "net": "convnet-d1:width=4"}
        values |= {"epochs": 2, "batch_size": 30, "save_every": 0.5, "experts": 2}
        run_command("train-expert", values | {"precision": "fp32"})
        return ExpertRun.find("both")

    def test_distances_to_every_checkpoint_of_an_ensemble_are_scipys(self, runs):
        few = formats.read("few.safetensors")
        bundle = label_images(few, pick_checkpoints(few, runs[:1], "1.5"), LABEL_OPTIONS)
        figures = distance_by_epoch(bundle, runs, OPTIONS)
        assert figures["epoch"] == [0.5, 1, 1.5, 2]
        probs = softmax(bundle.soft.values.astype(np.float64), 1)
        distances = []
        for epoch in figures["epoch"]:
            checkpoints = pick_checkpoints(few, runs, str(epoch))
            logits = label_images(few, checkpoints, LABEL_OPTIONS).soft.values
            expert_probs = softmax(logits.astype(np.float64), 1)
            distances.append(jensenshannon(probs, expert_probs, axis=1))
        distances = np.stack(distances)
        least, largest = distances.min(0), distances.max(0)
        normalised = ((distances - least) / (largest - least)).mean(1)
        assert figures["js_distance"] == pytest.approx(distances.mean(1), rel=1e-4)
        assert figures["normalised"] == pytest.approx(normalised, rel=1e-4)
        assert figures["nearest"] == figures["epoch"][normalised.argmin()]

    def test_labels_of_an_expert_are_nearest_to_their_own_checkpoint(self, digits):
        few = formats.read("few.safetensors")
        run = ExpertRun(digits / "expert")
        bundle = label_images(few, pick_checkpoints(few, [run], "1"), LABEL_OPTIONS)
        figures = distance_by_epoch(bundle, [run], OPTIONS)
        number = figures["epoch"].index(1)
        assert figures["nearest"] == 1
        assert figures["normalised"][number] == 0
        assert figures["js_distance"][number] == pytest.approx(0, abs=1e-6)

    def test_runs_without_a_common_epoch_are_refused(self, digits):
        shutil.copytree("expert", "other")
        for number, step in enumerate(sorted(Path("expert").glob("step-*"))):
            # One run keeps the odd checkpoints and the other the even ones.
            folder = "expert" if number % 2 else "other"
            (Path(folder) / step.name).unlink()
        runs = [ExpertRun(Path("expert")), ExpertRun(Path("other"))]
        with pytest.raises(IncompatibleError, match="--expert"):
            distance_by_epoch(labelled(np.ones((4, 10))), runs, OPTIONS)

    def test_a_run_that_names_an_epoch_is_refused(self, digits):
        runs = [ExpertRun(Path("expert"), "1")]
        with pytest.raises(UsageError, match="--expert"):
            distance_by_epoch(labelled(np.ones((4, 10))), runs, OPTIONS)


class TestDescribe:
    def test_takes_paths_and_objects_alike(self, digits):
        first = make_bundle()
        second = with_arrays(first, soft_labels=make_bundle(seed=1).soft.values)
        formats.write("first.h5", first)
        formats.write("second.h5", second)
        from_paths = describe("first.h5", against="second.h5")
        assert from_paths == describe(first, against=second)
        assert from_paths["against"] == compare_labels(first, second, "soft")

    def test_adds_the_distances_to_experts(self, digits):
        options = {"bundle": "few.safetensors", "out": "soft.h5", "expert": "expert"}
        run_command("relabel", options | {"epoch": 1, "precision": "fp32"})
        run = ExpertRun(digits / "expert")
        for expert in ("expert", run):
            figures = describe("soft.h5", expert=expert, precision="fp32")
            assert figures["experts"]["nearest"] == 1

    @pytest.mark.parametrize(
        ("bundle", "options", "error"),
        [
            ("soft.h5", {"expert": "expert@1"}, UsageError),
            ("soft.h5", {"expert": "expert", "field": "dense"}, UsageError),
            ("soft.h5", {"expert": "nowhere"}, InvalidInputError),
            ("soft.h5", {"field": "dense"}, IncompatibleError),
            ("soft.h5", {"against": "few.safetensors"}, IncompatibleError),
            ("few.safetensors", {}, IncompatibleError),
            ("-", {"against": "-"}, UsageError),
        ],
    )
    def test_refuses_what_cannot_be_described(self, digits, bundle, options, error):
        few = formats.read("few.safetensors")
        probs = np.full((len(few), few.num_classes), 0.1, np.float32)
        soft = with_arrays(few, soft_labels=probs, soft=LabelMeta(space="probs"))
        formats.write("soft.h5", soft)
        with pytest.raises(error):
            describe(bundle, **options)
