"""The labels that students learn from: online, mixed, of views."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from samples import bundle_of, with_arrays
from students import QUICK, easy_bundle, experiment, student_results
from view_samples import with_grid_views

from ddlabel.commands.evaluate.device_cache import DeviceCache
from ddlabel.commands.evaluate.experiment import Experiment, Student, settle
from ddlabel.commands.evaluate.training_plan import student_batches, student_loss
from ddlabel.commands.labeling import label_images
from ddlabel.core.config import EvaluateOptions, RelabelOptions
from ddlabel.core.errors import UsageError
from ddlabel.data.bundle import Bundle
from ddlabel.data.schema import LabelMeta, Pixels
from ddlabel.methods.nets.prepare import normalisation
from ddlabel.training.device_data import DeviceBundle

LOGITS = LabelMeta(space="logits")


def online(teacher, **options) -> Experiment:
    """A settled experiment with online labels."""
    settings = QUICK | {"labels": "online"} | options
    return settle(replace(experiment(), teacher=teacher, options=EvaluateOptions(**settings)))


def black_and_white() -> Bundle:
    """A black image of class 0 and a white one of class 1, with one-hot soft labels."""
    images = np.zeros((2, 1, 8, 8), np.uint8)
    images[1] = 255
    return bundle_of(
        classes=("black", "white"),
        pixels=Pixels(space="uint8", mean=(0.0,), std=(1.0,)),
        images=images,
        hard_labels=np.arange(2),
        soft_labels=np.eye(2, dtype=np.float32),
        soft=LabelMeta(space="probs"),
    )


class TestOnline:
    def test_without_augmentation_they_are_the_stored_labels(self, teacher):
        stored = label_images(easy_bundle(), teacher, RelabelOptions(compile="off"))
        ((a,),) = student_results(online(teacher, seeds=1))
        ((b,),) = student_results(experiment(stored, labels="soft", seeds=1))
        assert a["loss"] == pytest.approx(b["loss"], rel=1e-4)
        assert a["accuracy"] == b["accuracy"]

    def test_a_teacher_labels_images_that_were_prepared_for_the_student(self, teacher):
        settled = replace(experiment(), teacher=teacher)
        bundle = easy_bundle()
        student = Student(experiment=settled, bundle=bundle, test=bundle, classes=range(3), seed=0)
        cache = DeviceCache([settled])
        (network,), _ = cache.networks(student, 1, per_epoch=0)
        labeler = cache.labeler(settled, per_epoch=0)
        images = torch.rand(4, 1, 8, 8)
        other = normalisation([0.3], [0.7])
        for prepare in (network.prepare, other):
            logits = labeler.after(prepare)(prepare(images))
            torch.testing.assert_close(logits, labeler(images))

    def test_labels_that_cells_of_a_grid_share_change_no_student(self, teacher):
        cells = [
            online(teacher, seeds=2, loss=loss) for loss in ("kl:temperature=4", "gift", "mse")
        ]
        assert student_results(*cells) == [student_results(cell)[0] for cell in cells]


class TestMixed:
    @pytest.mark.parametrize("mix", ["cutmix", "mixup:alpha=0.4"])
    def test_a_label_has_the_share_of_every_image_in_the_pixels(self, mix):
        # The mean of an image is the share of the white image in it.
        options = EvaluateOptions(labels="soft", mix=mix, augment="none", batch_size=2)
        data = DeviceBundle.of(black_and_white(), torch.device("cpu"))
        batch = student_batches(options, data, normalisation([0.0], [1.0]), seed=0)
        shares = []
        for step in range(8):
            images, target = batch(step)
            white = images.mean((1, 2, 3))
            expected = torch.stack([1 - white, white], dim=1)
            torch.testing.assert_close(target.probs(1.0), expected, rtol=1e-5, atol=1e-6)
            shares += white.tolist()
        assert sum(0.01 < share < 0.99 for share in shares) > 4

    def test_mixing_changes_the_student(self):
        soft = with_arrays(easy_bundle(), soft=LOGITS)
        losses = set()
        for mix in ("none", "cutmix", "mixup"):
            ((result,),) = student_results(experiment(soft, labels="soft", mix=mix, seeds=1))
            losses.add(result["loss"])
        assert len(losses) == 3


class TestViews:
    @pytest.mark.parametrize("batches", ["sum", "mean", "mix"])
    def test_the_same_loss_for_views_changes_nothing(self, batches):
        bundle = with_grid_views(easy_bundle(6))
        options = {
            "labels": "dense",
            "dense_batches": batches,
            "seeds": 1,
            "epochs": 3,
            "global_labels": "soft",
        }
        ((one,),) = student_results(experiment(bundle, **options))
        ((two,),) = student_results(experiment(bundle, **options, dense_loss="soft-ce"))
        assert two["loss"] == pytest.approx(one["loss"], rel=1e-5)

    def test_the_mean_over_views_is_their_sum_over_their_number(self):
        data = DeviceBundle.of(with_grid_views(easy_bundle(6)), torch.device("cpu"))
        logits = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
        target = data.hard_target(torch.arange(5))
        values = {}
        for batches in ("sum", "mean"):
            options = EvaluateOptions(labels="dense", dense_batches=batches, batch_size=6)
            values[batches] = student_loss(options, data)(logits, target, 0)
        assert values["sum"] == 5 * values["mean"]

    @pytest.mark.parametrize("whole", ["none", "hard", "soft"])
    def test_recorded_views_teach_students(self, whole):
        assert student_results(recorded_views(global_labels=whole))[0][0]["accuracy"] == 1

    @pytest.mark.parametrize("options", [{"select": "val"}, {"continual": 2}])
    def test_images_that_are_mixed_with_each_other_cannot_be_parted(self, options):
        with pytest.raises(UsageError, match="CutMix"):
            recorded_views(**options)


def recorded_views(**options) -> Experiment:
    """Two views of every image that are named as mixed, with no share of the partner."""
    bundle = easy_bundle(30)
    logits = 9 * np.eye(3, dtype=np.float32)[bundle.hard_labels]
    recorded = with_arrays(
        bundle,
        dense_labels=logits[:, None].repeat(2, 1),
        dense_boxes=np.tile(np.array([0, 0, 1, 1], np.float32), (30, 2, 1)),
        dense=LOGITS,
        dense_mix=np.random.default_rng(0).integers(0, 30, (30, 2)),
        dense_mix_weight=np.ones((30, 2), np.float32),
    )
    return experiment(recorded, labels="dense", seeds=1, loss="gift", **options)
