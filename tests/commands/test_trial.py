"""`auto`: the choice of the best quick students, on real images that are not in the bundle."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from experts import train_small_expert
from samples import make_bundle

from ddlabel.commands import trial
from ddlabel.commands.labeling import Labelling, label_images
from ddlabel.core.config import RefineOptions, RelabelOptions
from ddlabel.core.errors import IncompatibleError
from ddlabel.data import formats
from ddlabel.data.bundle import Bundle
from ddlabel.data.labels import Labels, Views
from ddlabel.data.schema import LabelMeta

QUICK = {
    "trial_net": "convnet-d1:width=8",
    "trial_steps": 30,
    "trials": 2,
    "compile": "off",
    "precision": "fp32",
}


RELABEL = Labelling("soft", label_images)


def striped_bundle(num_images: int, seed: int) -> Bundle:
    """Images of which the third of the rows that belongs to the class is bright."""
    plain = make_bundle(images=num_images, size=9, seed=seed)
    images = plain.images // 2
    for image, hard in zip(images, plain.hard_labels, strict=True):
        image[:, 3 * hard : 3 * hard + 3] += 120
    return replace(plain, images=images)


def labelled(bundle: Bundle, *, shift: int) -> Bundle:
    """The bundle with one-hot soft labels of the right class, or of the one `shift` after it."""
    labels = np.eye(3, dtype=np.float32)[(bundle.hard_labels + shift) % 3]
    return bundle.with_labels("soft", Labels(values=labels, meta=LabelMeta(space="probs")))


class TestTrials:
    def test_right_labels_win_over_wrong_ones(self):
        few, real = striped_bundle(12, 0), striped_bundle(200, 1)
        accuracies = trial.accuracies_of_trials(
            [labelled(few, shift=1), labelled(few, shift=0)],
            real,
            RelabelOptions(**QUICK),
            field="soft",
            loss="soft-ce",
        )
        assert accuracies.shape == (2, 2)
        assert accuracies[0].max() < 0.1
        assert accuracies[1].min() > 0.9

    def test_the_seeds_of_the_students_are_paired(self):
        few, real = striped_bundle(12, 0), striped_bundle(60, 1)
        accuracies = trial.accuracies_of_trials(
            [labelled(few, shift=0)] * 2,
            real,
            RelabelOptions(**QUICK | {"trial_steps": 3}),
            field="soft",
            loss="soft-ce",
        )
        assert accuracies[0].tolist() == accuracies[1].tolist()

    def test_wrong_labels_are_refined_with_a_large_gamma(self):
        few, real = striped_bundle(12, 0), striped_bundle(200, 1)
        options = RefineOptions(gamma="auto", **QUICK)
        settled, trials = trial.choose_gamma(labelled(few, shift=1), options, real)
        assert settled.gamma >= 0.5
        assert list(trials) == [f"gamma {gamma:g}" for gamma in trial.GAMMAS]
        best = max(trials, key=lambda name: trials[name].mean())
        assert best == f"gamma {settled.gamma:g}"


class TestHeldOut:
    def test_images_of_the_bundle_are_left_out(self):
        real = striped_bundle(40, 0)
        bundle = real.take(np.arange(0, 40, 2))
        held_out = trial.held_out(bundle, real)
        assert held_out.source_index.tolist() == list(range(1, 40, 2))

    def test_images_are_recognised_in_either_pixel_space(self):
        real = striped_bundle(40, 0)
        unit = replace(
            real,
            images=real.images / np.float32(255),
            pixels=replace(real.pixels, space="unit"),
        )
        assert len(trial.held_out(unit.take(np.arange(30)), real)) == 10

    def test_many_images_are_drawn_down_to_2000(self):
        real = make_bundle(images=2500, size=4)
        bundle = real.take(np.arange(100))
        held_out = trial.held_out(bundle, real)
        assert len(held_out) == 2000
        assert held_out.source_index.min() >= 100

    def test_a_bundle_of_all_real_images_is_refused(self):
        real = striped_bundle(40, 0)
        with pytest.raises(IncompatibleError, match="--real"):
            trial.held_out(real, real)

    def test_real_images_of_another_task_are_refused(self):
        with pytest.raises(IncompatibleError):
            trial.held_out(make_bundle(size=8), make_bundle(size=9))


class TestEpochs:
    def test_checkpoints_are_spread_over_the_logarithm(self):
        spread = trial._spread([0.5 * number for number in range(1, 101)])
        assert (spread[0], spread[-1]) == (0.5, 50)
        assert len(spread) <= 12
        assert np.diff(np.log(spread)).max() < 1

    def test_few_checkpoints_are_all_tried(self):
        assert trial._spread([3.0]) == [3.0]
        assert trial._spread([1.0, 2.0]) == [1.0, 2.0]

    def test_an_epoch_of_one_expert_alone_is_not_tried(self, tmp_path):
        real = make_bundle(images=40)
        runs = [
            train_small_expert(real, tmp_path / "whole", epochs=2),
            train_small_expert(real, tmp_path / "half", epochs=2, save_every=0.5),
        ]
        options = RelabelOptions(epoch="auto", **QUICK | {"trial_steps": 1, "trials": 1})
        few = real.take(np.arange(6))
        checkpoints, settled, trials = trial.choose_epoch(few, runs, options, real, RELABEL)
        assert list(trials) == ["epoch 1", "epoch 2"]
        assert [checkpoint.epoch for checkpoint in checkpoints] == [float(settled.epoch)] * 2

    @pytest.mark.parametrize(("field", "epoch"), [("dense", 1), ("soft", 2)])
    def test_students_learn_the_labels_that_the_command_makes(self, tmp_path, field, epoch):
        """Views are labelled right at epoch 1 alone, whole images at epoch 2 alone."""
        few, real = striped_bundle(12, 0), striped_bundle(200, 1)
        run = train_small_expert(real, tmp_path / "expert", epochs=2)

        def label(bundle, checkpoints, options, progress):
            first = checkpoints[0].epoch == 1
            if field == "soft":
                return labelled(bundle, shift=int(first))
            values = np.eye(3, dtype=np.float32)[(bundle.hard_labels + (not first)) % 3]
            dense = Labels(values=values[:, None], meta=LabelMeta(space="probs"))
            whole = np.array([[0, 0, 1, 1]], np.float32)
            return replace(bundle, dense=dense, views=Views(boxes=whole))

        options = RelabelOptions(epoch="auto", **QUICK)
        labelling = Labelling(field, label)
        _, settled, trials = trial.choose_epoch(few, [run], options, real, labelling)
        assert float(settled.epoch) == epoch
        assert trials[f"epoch {epoch}"].mean() > trials[f"epoch {3 - epoch}"].mean() + 0.2

    def test_experts_without_a_common_epoch_are_refused(self, tmp_path):
        real = make_bundle(images=40)
        runs = [
            train_small_expert(real, tmp_path / "one", epochs=1),
            train_small_expert(real, tmp_path / "two", epochs=3, save_every=3),
        ]
        options = RelabelOptions(epoch="auto", **QUICK)
        with pytest.raises(IncompatibleError, match="--epoch"):
            trial.choose_epoch(real.take(np.arange(6)), runs, options, real, RELABEL)


def test_the_command_reports_its_trials_and_its_choice(cli, digits):
    words = ["--expert", "expert", "--epoch", "auto", "--temperature", "auto"]
    words += ["--real", "real.safetensors", "--trial-net", "convnet-d1:width=4"]
    words += ["--trial-steps", 2, "--trials", 1, "--precision", "fp32"]
    stderr = cli("relabel", "few.safetensors", "soft.safetensors", *words).err.decode()
    assert "epoch 0.5: " in stderr
    assert "temperature 4: " in stderr
    (choice,) = [line for line in stderr.splitlines() if line.startswith("auto: expert")]
    soft = formats.read("soft.safetensors")
    meta = soft.soft.meta
    assert choice == f"auto: {meta.source}, temperature {meta.temperature:g}"
    assert [given.role for given in soft.history[-1].inputs] == ["real", "expert"]
