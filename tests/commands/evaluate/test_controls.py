"""Controls: random real images and the scores that are made of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from samples import with_arrays
from students import QUICK, easy_bundle, experiment

from ddlabel.commands.evaluate.controls import control_experiments, dd_ranking_scores
from ddlabel.commands.evaluate.experiment import Experiment, settle
from ddlabel.commands.inputs import open_bundle
from ddlabel.commands.labeling import label_images
from ddlabel.core.config import EvaluateOptions, RelabelOptions
from ddlabel.core.errors import IncompatibleError, UsageError
from ddlabel.data.bundle import Bundle
from ddlabel.data.schema import LabelMeta
from ddlabel.methods.labels import views

REAL = easy_bundle(90, seed=3)


def random_control(settled: Experiment, real: Bundle = REAL) -> Experiment:
    (random,) = control_experiments(settled, open_bundle(real), for_scores=False)
    return random


def with_teacher(bundle: Bundle, teacher, labels: str) -> Experiment:
    options = EvaluateOptions(**QUICK, labels=labels, seeds=1, control="random", compile="off")
    return settle(replace(experiment(bundle), options=options, teacher=teacher))


def squash(alpha: float) -> float:
    """DD-Ranking's score of the mean of two gains."""
    return (np.exp(alpha) - np.exp(-1)) / (np.exp(1) - np.exp(-1))


class TestRandomImages:
    def test_there_are_as_many_of_each_class(self):
        random = random_control(experiment(easy_bundle(7)))
        assert np.bincount(random.bundle_for(0).hard_labels).tolist() == [3, 2, 2]

    def test_they_are_drawn_anew_for_each_seed(self):
        random = random_control(experiment(easy_bundle(7)))
        first = random.bundle_for(0).source_index.tolist()
        second = random.bundle_for(1).source_index.tolist()
        assert first != second
        assert random.bundle_for(0).source_index.tolist() == first

    def test_soft_labels_are_the_teachers(self, teacher):
        space = LabelMeta(space="logits", temperature=2.0)
        bundle = with_arrays(easy_bundle(), soft=space)
        drawn = random_control(with_teacher(bundle, teacher, "soft")).bundle_for(0)
        options = RelabelOptions(temperature=2.0, compile="off", precision="fp32")
        expected = label_images(drawn, teacher, options)
        assert drawn.soft.meta.temperature == 2.0
        assert np.array_equal(drawn.soft.values, expected.soft.values)

    def test_views_are_those_of_the_bundle(self, teacher):
        boxes = views.grid(6, 8, 8, 0, n=2, r=0.75).boxes
        bundle = with_arrays(
            easy_bundle(),
            soft_labels=None,
            soft=None,
            dense_labels=np.zeros((30, 4, 3), np.float32),
            dense_boxes=boxes,
            dense=LabelMeta(space="logits", temperature=2.0),
        )
        drawn = random_control(with_teacher(bundle, teacher, "dense")).bundle_for(0)
        assert drawn.dense.meta.temperature == 2.0
        assert drawn.dense.values.shape == (30, 4, 3)
        assert np.array_equal(drawn.views.boxes, boxes)
        assert drawn.soft is None


class TestRefusals:
    def test_refined_labels_cannot_be_made_for_random_images(self):
        probs = np.full((30, 3), 1 / 3, np.float32)
        bundle = with_arrays(easy_bundle(), soft_labels=probs, soft=LabelMeta(space="probs"))
        with pytest.raises(IncompatibleError, match="--control"):
            random_control(experiment(bundle, labels="soft"))

    def test_soft_labels_need_a_teacher(self):
        with pytest.raises(UsageError, match="--teacher"):
            random_control(experiment(labels="soft"))

    def test_flipped_views_cannot_be_made_for_random_images(self, teacher):
        bundle = with_arrays(
            easy_bundle(),
            dense_labels=np.zeros((30, 1, 3), np.float32),
            dense_boxes=np.tile(np.array([0, 0, 1, 1], np.float32), (30, 1, 1)),
            dense_flip=np.ones((30, 1), np.uint8),
            dense=LabelMeta(space="logits"),
        )
        with pytest.raises(IncompatibleError, match="--control"):
            random_control(with_teacher(bundle, teacher, "dense"))

    def test_every_class_needs_as_many_real_images(self):
        with pytest.raises(UsageError, match="--real"):
            random_control(experiment(easy_bundle(30)), easy_bundle(12))


class TestScores:
    def test_controls_of_the_scores(self):
        settled = experiment(augment="flip", control="scores", real_epochs=7)
        controls = control_experiments(settled, open_bundle(REAL), for_scores=True)
        by_role = {control.role: control for control in controls}
        assert list(by_role) == ["random", "hard", "real", "plain", "random-plain"]
        real = by_role["real"].options
        assert (real.epochs, real.labels, real.loss, real.augment) == (7, "hard", "ce", "flip")
        assert by_role["real"].bundle_for(0) is REAL
        assert by_role["plain"].options.augment == by_role["random-plain"].options.augment == "none"
        with_real = {role for role, control in by_role.items() if "real" in control.digests}
        assert with_real == {"random", "real", "random-plain"}

    def test_they_are_of_fractions_paired_by_seed(self):
        accuracies = {
            "own": [0.5, 0.6],
            "random": [0.4, 0.4],
            "real": [0.9, 0.9],
            "hard": [0.3, 0.4],
            "plain": [0.3, 0.3],
            "random-plain": [0.3, 0.2],
        }
        scores = dd_ranking_scores(accuracies)
        assert scores["IOR"].mean == pytest.approx((0.1 + 0.2) / 2)
        assert scores["HLR"].mean == pytest.approx((0.6 + 0.5) / 2)
        # ½·IOR − ½·HLR is −0.25 and −0.15; ½·gain + ½·plain gain is 0.05 and 0.15.
        assert scores["LRS"].mean == pytest.approx((squash(-0.25) + squash(-0.15)) / 2)
        assert scores["ARS"].mean == pytest.approx((squash(0.05) + squash(0.15)) / 2)

    def test_random_images_alone_give_ior(self):
        scores = dd_ranking_scores({"own": [0.5, 0.6], "random": [0.4, 0.4]})
        assert list(scores) == ["IOR"]
