"""What is refused before any training."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from samples import make_bundle, with_arrays
from students import easy_bundle, experiment

from ddlabel.commands.evaluate.experiment import settle
from ddlabel.core.errors import IncompatibleError, UsageError
from ddlabel.data.schema import LabelMeta


@pytest.mark.parametrize(
    ("options", "error", "named"),
    [
        ({"mix": "cutmix"}, UsageError, "--mix"),
        ({"labels": "online"}, UsageError, "--teacher"),
        ({"net": "convnet-d6"}, UsageError, "convnet-d6"),
        ({"net": "resnet"}, UsageError, "resnet"),
        ({"loss": "cosin"}, UsageError, "cosine"),
        ({"labels": "soft", "loss": "nkd", "mix": "cutmix"}, IncompatibleError, "--mix"),
        ({"dense_loss": "ce"}, UsageError, "--dense-loss"),
        ({"continual": 4}, UsageError, "--continual"),
        ({"warm_up": 15.0}, UsageError, "--warm-up"),
        ({"optimizer": "lion:lr=-1"}, UsageError, "lr"),
        ({"optimizer": "adam:lr=nan"}, UsageError, "lr"),
        ({"net": "torchvision-resnet18", "batch_size": 29}, UsageError, "--net"),
    ],
)
def test_options_that_do_not_fit_are_refused(options, error, named):
    with pytest.raises(error, match=named):
        experiment(**options)


def test_a_loss_that_needs_logits_refuses_probabilities():
    probs = np.full((30, 3), 1 / 3, np.float32)
    bundle = with_arrays(easy_bundle(), soft_labels=probs, soft=LabelMeta(space="probs"))
    with pytest.raises(IncompatibleError, match="probs"):
        experiment(bundle, labels="soft", loss="mse")


@pytest.mark.parametrize("labels", ["soft", "dense"])
def test_labels_that_are_missing_are_refused(labels):
    bundle = with_arrays(easy_bundle(), soft_labels=None, soft=None)
    with pytest.raises(IncompatibleError, match=labels):
        experiment(bundle, labels=labels)


def test_a_test_set_of_another_task_is_refused():
    with pytest.raises(IncompatibleError, match="test set"):
        experiment(test=make_bundle(classes=4))


def test_holding_out_needs_two_images_of_every_class():
    with pytest.raises(UsageError, match="--select"):
        experiment(easy_bundle(3), select="val")


class TestDefaults:
    def test_labels_are_the_richest_of_the_bundle(self):
        soft = easy_bundle()
        assert experiment(soft, labels="auto").options.labels == "soft"
        hard = with_arrays(soft, soft_labels=None, soft=None)
        assert experiment(hard, labels="auto").options.labels == "hard"

    def test_batch_size_follows_gift(self):
        assert experiment(easy_bundle(30)).options.batch_size == 50
        assert experiment(easy_bundle(9)).options.batch_size == 10

    def test_presets_for_views_do_not_count_without_views(self):
        settled = experiment()
        options = replace(settled.options, dense_batches="sum")
        preset = {"dense_batches": "sum"}
        again = settle(replace(settled, options=options, preset=preset))
        assert again.options.dense_batches == "mix"
