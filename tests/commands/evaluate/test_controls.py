"""Controls: random real images and the scores that are made of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from experts import write_run
from samples import with_arrays
from scipy.special import softmax
from students import QUICK, easy_bundle, experiment

from ddlabel.commands.evaluate.controls import control_experiments, dd_ranking_scores
from ddlabel.commands.evaluate.experiment import Experiment, settle
from ddlabel.commands.inputs import expert_inputs, open_bundle
from ddlabel.commands.labeling import label_images
from ddlabel.core.config import EvaluateOptions, RelabelOptions
from ddlabel.core.errors import IncompatibleError, UsageError
from ddlabel.data.bundle import Bundle
from ddlabel.data.expert_run import Checkpoint
from ddlabel.data.provenance import Entry
from ddlabel.data.schema import LabelMeta, Pixels
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

    def test_they_are_normalised_as_the_bundle_is(self):
        pixels = Pixels(space="uint8", mean=(0.25,), std=(0.125,))
        bundle = replace(easy_bundle(7), pixels=pixels)
        settled = experiment(bundle, easy_bundle(7), augment="none")
        opened = open_bundle(REAL)
        controls = control_experiments(settled, opened, for_scores=True)
        for control in controls:
            drawn = control.bundle_for(0)
            assert drawn.pixels == pixels
            assert control.build_student(drawn, 0).prepare.mean.item() == 0.25
        assert REAL.pixels.mean != pixels.mean


class TestSameExperts:
    """Random images are labelled as the bundle's history says: checkpoints, ensemble, weights."""

    @pytest.fixture
    def runs(self, tmp_path):
        return [
            write_run(tmp_path / name, easy_bundle(), net="convnet-d1:width=4", steps=3, seed=seed)
            for seed, name in enumerate(("first", "second"))
        ]

    def labelled(self, runs, **options) -> Bundle:
        checkpoints = [Checkpoint(runs[0], 1), Checkpoint(runs[1], 2)]
        settings = {"ensemble": "probs", "weights": "3,1", "precision": "fp32", **options}
        made = label_images(easy_bundle(), checkpoints, RelabelOptions(**settings, compile="off"))
        entry = Entry(
            command="relabel",
            version="",
            options=settings,
            inputs=tuple(expert_inputs(checkpoints)),
        )
        return replace(made, history=(entry,))

    def test_labels_are_those_of_the_ensemble_whatever_the_order_of_the_teachers(self, runs):
        # The last checkpoints are the teacher's, in the other order.
        teacher = [Checkpoint(run, 3) for run in reversed(runs)]
        drawn = random_control(with_teacher(self.labelled(runs), teacher, "soft")).bundle_for(0)
        ensemble = [Checkpoint(runs[0], 1), Checkpoint(runs[1], 2)]
        logits = [
            label_images(drawn, [one], RelabelOptions(compile="off", precision="fp32")).soft.values
            for one in ensemble
        ]
        # The mean of probabilities, of which the first expert's count three times.
        expected = np.log(0.75 * softmax(logits[0], 1) + 0.25 * softmax(logits[1], 1))
        np.testing.assert_allclose(drawn.soft.values, expected, rtol=1e-4, atol=1e-5)

    def test_other_experts_are_refused_with_those_that_made_the_labels(self, runs):
        bundle = self.labelled(runs)
        with pytest.raises(
            IncompatibleError, match=r"give --teacher .*first@1 --teacher .*second@2"
        ):
            random_control(with_teacher(bundle, [Checkpoint(runs[0], 1)], "soft"))

    def test_what_a_history_of_a_stranger_says_is_checked(self, runs):
        bundle = self.labelled(runs)
        entry = replace(bundle.history[0], options={"ensemble": ["x"], "weights": {"a": 1}})
        settled = with_teacher(
            replace(bundle, history=(entry,)), [Checkpoint(run, 3) for run in runs], "soft"
        )
        with pytest.raises(UsageError, match="--ensemble"):
            random_control(settled)


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
        assert by_role["real"].bundle_for(0).images is REAL.images
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
