"""Labels of an online teacher: refined before any loss, and counted epoch by epoch."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from students import QUICK, easy_bundle, experiment, student_results

import ddlabel
from ddlabel.commands.evaluate.experiment import settle
from ddlabel.commands.evaluate.online_accuracy import OnlineAccuracy
from ddlabel.commands.evaluate.training_plan import student_batches
from ddlabel.core.config import EvaluateOptions
from ddlabel.data.schema import LabelMeta
from ddlabel.methods.labels.target import Target
from ddlabel.training.device_data import DeviceBundle


def of_logits(rows, hard) -> Target:
    return Target(
        hard=torch.tensor(hard), values=torch.tensor(rows), meta=LabelMeta(space="logits")
    )


def test_shares_are_those_of_the_labels_since_the_last_epoch():
    accuracy = OnlineAccuracy()
    accuracy.add("teacher", of_logits([[2.0, 1.0], [0.0, 1.0]], [0, 0]))
    accuracy.add("refined", of_logits([[2.0, 1.0], [2.0, 1.0]], [0, 0]))
    accuracy.add("teacher", of_logits([[0.0, 1.0], [0.0, 1.0]], [1, 1]))
    accuracy.add("refined", of_logits([[0.0, 1.0], [0.0, 1.0]], [1, 1]))
    accuracy.end_epoch()
    accuracy.add("teacher", of_logits([[2.0, 1.0]], [1]))
    accuracy.add("refined", of_logits([[0.0, 1.0]], [1]))
    accuracy.end_epoch()
    assert accuracy.figures() == {
        "teacher_label_accuracy": [0.75, 0.0],
        "refined_label_accuracy": [1.0, 1.0],
    }


def test_of_a_blended_image_the_class_with_the_larger_share_counts():
    accuracy = OnlineAccuracy()
    shares = torch.tensor([[0.3, 0.7], [0.6, 0.4]])
    values = torch.tensor([[0.0, 1.0], [0.0, 1.0]])
    accuracy.add("teacher", Target(hard=shares, values=values, meta=LabelMeta(space="logits")))
    accuracy.end_epoch()
    assert accuracy.figures()["teacher_label_accuracy"] == [0.5]


def test_curve_has_the_accuracy_of_the_teacher_and_of_its_refined_labels(teacher):
    bundle = easy_bundle()
    options = EvaluateOptions(
        **QUICK | {"epochs": 3},
        labels="online",
        seeds=1,
        compile="off",
        curve=True,
        refine_teacher=1.0,
    )
    settled = settle(replace(experiment(bundle), options=options, teacher=teacher))
    ((result,),) = student_results(settled)
    checkpoint = teacher[0]
    labelled = ddlabel.relabel(
        bundle, expert=[checkpoint.run], epoch="last", compile="off", precision="fp32"
    )
    right = np.mean(labelled.soft.values.argmax(1) == bundle.hard_labels)
    curve = result["curve"]
    # Nothing is augmented: the labels of every epoch are the same.
    assert curve["teacher_label_accuracy"] == [pytest.approx(right)] * 3
    # γ = 1 leaves the smoothed classes alone.
    assert curve["refined_label_accuracy"] == [1.0] * 3


def test_stored_labels_have_no_such_curve():
    ((result,),) = student_results(experiment(easy_bundle(), epochs=1, seeds=1, curve=True))
    assert not [name for name in result["curve"] if name.endswith("label_accuracy")]


def test_refined_labels_are_those_of_gift_and_any_loss_takes_them():
    bundle = easy_bundle(6)
    settled = experiment(bundle)
    options = replace(settled.options, labels="online", refine_teacher=0.25, batch_size=6)
    logits = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
    batch = student_batches(
        options,
        DeviceBundle.of(bundle, torch.device("cpu")),
        settled.build_student(bundle, 0).prepare,
        0,
        lambda images, step: logits,
    )
    _, target = batch(0)
    smooth = np.where(np.eye(3)[target.hard] == 1, 0.9, 0.05)
    soft = logits.softmax(1).numpy()
    mixed = 0.25 * smooth / np.linalg.norm(smooth, axis=1, keepdims=True)
    mixed += 0.75 * soft / np.linalg.norm(soft, axis=1, keepdims=True)
    expected = mixed / mixed.sum(1, keepdims=True)
    np.testing.assert_allclose(target.probs(), expected, rtol=1e-5)
    assert target.meta.space == "probs"
