"""`doctor`: the order of classes, against permutations that were made on purpose."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from stub_experts import rows_bundle, rows_expert

from ddlabel.commands.doctor.case import Case, HeldOut
from ddlabel.commands.doctor.class_order import (
    MOST_NATS,
    best_order,
    class_order,
    classes_of_test,
    is_better,
)

NUMBERS = np.array([3, 0, 4, 1, 2])


def case_of(bundle) -> Case:
    return Case(bundle=bundle, name="few.safetensors")


def log_probs(count: int, classes: int, seed: int = 0) -> np.ndarray:
    logits = np.random.default_rng(seed).normal(size=(count, classes)) * 2
    return logits - np.log(np.exp(logits).sum(1, keepdims=True))


def test_the_best_order_is_the_likeliest_of_all_permutations():
    logs, hard_labels = log_probs(30, 4), np.arange(30) % 4
    found = best_order(logs, hard_labels, np.arange(4))

    def likelihood(order) -> float:
        return np.maximum(logs, -MOST_NATS)[np.arange(30), np.array(order)[hard_labels]].sum()

    best = max(itertools.permutations(range(4)), key=likelihood)
    assert tuple(found.numbers) == best


@pytest.mark.parametrize("seed", range(10))
def test_predictions_by_chance_fit_no_order(seed):
    logs = log_probs(100, 10, seed)
    assert not is_better(best_order(logs, np.arange(100) % 10, np.arange(10)))


def test_the_right_order_has_no_finding():
    bundle = rows_bundle()
    assert class_order(case_of(bundle), rows_expert(bundle)) == []


def test_permuted_hard_labels_get_the_names_that_the_expert_sees():
    bundle = rows_bundle()
    wrong = replace(bundle, hard_labels=NUMBERS[bundle.hard_labels])
    (finding,) = class_order(case_of(wrong), rows_expert(bundle))
    # Class NUMBERS[k] holds the images of class k.
    names = ",".join(bundle.classes[number] for number in np.argsort(NUMBERS))
    assert finding.certainty == "certain"
    assert f"--class-names '{names}' --class-order expert" in finding.commands[0]
    assert "class 0 shows class 1" in finding.found


def test_classes_that_an_expert_cannot_tell_apart_are_named():
    bundle = rows_bundle(classes=4)
    expert = rows_expert(bundle)
    joined = replace(
        expert, label=lambda images: expert.label(images)[:, [0, 1, 2, 2]] + 0 * images[0, 0, 0, 0]
    )
    wrong = replace(bundle, hard_labels=np.array([1, 0, 2, 3])[bundle.hard_labels])
    (finding,) = class_order(case_of(wrong), joined)
    assert finding.certainty == "likely"
    assert "hard to tell apart: class 2 and class 3" in finding.found


def test_names_in_another_order_or_of_another_kind_are_a_finding_of_their_own():
    bundle = rows_bundle()
    reordered = replace(
        bundle,
        classes=tuple(bundle.classes[number] for number in np.argsort(NUMBERS)),
        hard_labels=NUMBERS[bundle.hard_labels],
    )
    (finding,) = class_order(case_of(reordered), rows_expert(bundle))
    assert (finding.certainty, finding.commands[0].split()[-2:]) == (
        "certain",
        ["--class-order", "expert"],
    )
    numbered = replace(bundle, classes=tuple("01234"))
    (finding,) = class_order(case_of(numbered), rows_expert(bundle))
    assert finding.commands[0].split()[-2:] == ["--class-names", "expert"]


def test_an_expert_of_another_task_agrees_by_chance():
    bundle = rows_bundle()
    shuffled = np.random.default_rng(0).permutation(bundle.hard_labels)
    (finding,) = class_order(case_of(replace(bundle, hard_labels=shuffled)), rows_expert(bundle))
    assert "chance (20.0 %)" in finding.found


def test_a_test_set_with_other_classes_is_found():
    bundle = rows_bundle()
    other = replace(bundle, classes=bundle.classes[::-1])
    case = case_of(bundle)
    assert classes_of_test(case, HeldOut(bundle=bundle, name="test.h5")) == []
    (finding,) = classes_of_test(case, HeldOut(bundle=other, name="test.h5"))
    assert finding.commands[0].endswith("--class-order test.h5")
