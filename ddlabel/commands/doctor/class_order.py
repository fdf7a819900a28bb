"""Checks of the order of classes: against an expert's, and of labels against the hard labels."""

from typing import NamedTuple

import numpy as np
from scipy.optimize import linear_sum_assignment

from ddlabel.commands.doctor.case import (
    Case,
    Expert,
    Finding,
    HeldOut,
    checks,
    class_list,
    command_line,
    percent,
)
from ddlabel.core import rng
from ddlabel.data.labels import Array

# An image counts at most so much against a class, in nats: one wrong label says no more.
MOST_NATS = 10.0
# Another order must be better by this share of the images, and by so many standard errors.
_LEAST_GAIN = 0.1
_LEAST_ERRORS = 4.0
_CERTAIN_ERRORS = 5.0
# Two classes are told apart if exchanging them costs so many nats over all their images.
_TOLD_APART_NATS = 5.0
# How often hard labels are shuffled, to see what the best order reaches by chance.
_NUM_SHUFFLES = 20
_SHOWN_CLASSES = 10
# With fewer images, no agreement is a surprise.
_FEW_IMAGES = 30


class Order(NamedTuple):
    """The order of classes under which predictions fit the hard labels best.

    Attributes:
        numbers: For each class of the bundle, its number [K] among the predicted classes.
        agreement: The share of images whose prediction is the class of their hard label now.
        best_agreement: The same in this order.
        num_errors: By how many standard errors it is better than now, and than chance.
        unsure: Pairs of classes whose exchange would fit about as well.
    """

    numbers: Array
    agreement: float
    best_agreement: float
    num_errors: float
    unsure: list[tuple[int, int]]


def best_order(log_probs: Array, hard_labels: Array, now: Array) -> Order:
    """Return the order of classes under which log-probabilities [N, K] fit hard labels [N] best.

    It is the assignment of classes to predicted classes of the largest likelihood. `now` [K] is the
    predicted class that each class is taken for at present.
    """
    scores = _scores(log_probs, hard_labels)
    _, numbers = linear_sum_assignment(scores, maximize=True)
    predicted = log_probs.argmax(1)
    is_right = predicted == now[hard_labels]
    is_best_right = predicted == numbers[hard_labels]
    num_won = int((is_best_right & ~is_right).sum())
    num_lost = int((is_right & ~is_best_right).sum())
    num_errors = (num_won - num_lost) / max(1, num_won + num_lost) ** 0.5
    return Order(
        numbers=numbers,
        agreement=float(is_right.mean()),
        best_agreement=float(is_best_right.mean()),
        num_errors=min(num_errors, _errors_above_chance(log_probs, hard_labels, is_best_right)),
        unsure=_unsure_pairs(scores, numbers),
    )


def _scores(log_probs: Array, hard_labels: Array) -> Array:
    """Return the log-likelihood [K, K] of the images of each class as each predicted class."""
    num_classes = log_probs.shape[1]
    scores = np.zeros((num_classes, num_classes))
    np.add.at(scores, hard_labels, np.maximum(log_probs, -MOST_NATS))
    return scores


def _errors_above_chance(log_probs: Array, hard_labels: Array, is_right: Array) -> float:
    """Return by how many standard errors an agreement is above that of the best chance order."""
    generator = np.random.default_rng(rng.stream(0, "doctor-shuffles"))
    predicted = log_probs.argmax(1)
    by_chance = []
    for _ in range(_NUM_SHUFFLES):
        shuffled = generator.permutation(hard_labels)
        _, numbers = linear_sum_assignment(_scores(log_probs, shuffled), maximize=True)
        by_chance.append((predicted == numbers[shuffled]).mean())
    chance = float(np.mean(by_chance))
    error = max(float(np.std(by_chance)), (chance * (1 - chance) / len(is_right)) ** 0.5, 1e-9)
    return float((is_right.mean() - chance) / error)


def _unsure_pairs(scores: Array, numbers: Array) -> list[tuple[int, int]]:
    """Return pairs of classes whose exchange costs too little to tell them apart."""
    assigned = scores[:, numbers]
    own = np.diag(assigned)
    cost = own[:, None] + own[None] - assigned - assigned.T
    # Classes without images have no score.
    has_images = np.asarray(scores.any(axis=1))
    is_pair = np.triu(cost < _TOLD_APART_NATS, 1) & has_images[:, None] & has_images[None]
    return [(int(first), int(second)) for first, second in np.argwhere(is_pair)]


def is_better(order: Order) -> bool:
    """Return whether another order fits clearly better than the present one."""
    gain = order.best_agreement - order.agreement
    return gain >= _LEAST_GAIN and order.num_errors >= _LEAST_ERRORS


@checks.add
def class_order(case: Case, expert: Expert) -> list[Finding]:
    """Whether the expert's predictions follow the bundle's order of classes."""
    bundle = case.bundle
    order = best_order(
        expert.log_probs(case.images), case.hard_labels, taken_for(bundle.classes, expert.classes)
    )
    names = tuple(expert.classes[number] for number in order.numbers)
    if names == bundle.classes and bundle.classes == expert.classes:
        return []
    if not is_better(order):
        return _no_order(case, expert, order) or _other_names(case, expert)
    unsure = [f"{names[first]} and {names[second]}" for first, second in order.unsure]
    is_certain = order.num_errors >= _CERTAIN_ERRORS and not unsure
    words: list[str] = []
    before: tuple[str, ...] = ()
    if names != bundle.classes:
        before, name_list = class_list(names)
        words += ["--class-names", name_list]
    if names != expert.classes:
        words += ["--class-order", expert.run]
    found = (
        f"{percent(order.agreement)} of the images agree with the expert, and "
        f"{percent(order.best_agreement)} in another order of the classes: "
        f"{_moves(bundle.classes, names)}"
    )
    if unsure:
        found += f" (hard to tell apart: {', '.join(unsure[:4])})"
    advice = "give the classes the names that the expert sees, and its order"
    if bundle.soft is not None or bundle.dense is not None:
        advice += "; then make soft and dense labels again"
    return [
        Finding(
            check="class-order",
            found=found,
            certainty="certain" if is_certain else "likely",
            advice=advice,
            commands=(*before, case.edit(*words)),
        )
    ]


def taken_for(classes: tuple[str, ...], expert_classes: tuple[str, ...]) -> Array:
    """Return for each class of a bundle the expert's class of its name, else of its number."""
    if set(classes) != set(expert_classes):
        return np.arange(len(classes))
    return np.array([expert_classes.index(name) for name in classes])


def _moves(classes: tuple[str, ...], names: tuple[str, ...]) -> str:
    """Say which class the images of each class show."""
    pairs = zip(classes, names, strict=True)
    moved = [f"{name} shows {seen}" for name, seen in pairs if name != seen]
    more = f", … {len(moved) - _SHOWN_CLASSES} more" if len(moved) > _SHOWN_CLASSES else ""
    return ", ".join(moved[:_SHOWN_CLASSES]) + more


def _no_order(case: Case, expert: Expert, order: Order) -> list[Finding]:
    """Return a finding if the expert agrees with the hard labels no more often than chance."""
    chance = 1 / len(expert.classes)
    error = (chance * (1 - chance) / len(case.rows)) ** 0.5
    if order.agreement > chance + _LEAST_ERRORS * error:
        return []
    if order.num_errors >= _LEAST_ERRORS or len(case.rows) < _FEW_IMAGES:
        return []
    return [
        Finding(
            check="class-order",
            found=f"{percent(order.agreement)} of the images agree with the expert, which is "
            f"chance ({percent(chance)}), and no other order of the classes is clearly better",
            certainty="likely",
            advice="the pixels are in another space (see the check pixel-space), the expert is of "
            "another task, or its epoch is too early: look at a later one",
            commands=(command_line("doctor", case.name, "--expert", expert.run),),
        )
    ]


def _other_names(case: Case, expert: Expert) -> list[Finding]:
    """Return a finding if the classes of the bundle and of the expert have other names or order."""
    classes = case.bundle.classes
    if classes == expert.classes:
        return []
    is_same_set = set(classes) == set(expert.classes)
    what = "in another order" if is_same_set else "under other names"
    option = "--class-order" if is_same_set else "--class-names"
    return [
        Finding(
            check="class-order",
            found=f"the bundle has the expert's classes {what}, and its images fit them",
            certainty="certain" if is_same_set else "likely",
            advice="commands refuse the two together: give the bundle the expert's list",
            commands=(case.edit(option, expert.run),),
        )
    ]


@checks.add
def classes_of_test(case: Case, test: HeldOut) -> list[Finding]:
    """Whether the test set has the bundle's classes in their order."""
    classes, expected = case.bundle.classes, test.bundle.classes
    if classes == expected:
        return []
    is_same_set = set(classes) == set(expected)
    what = "the classes in another order" if is_same_set else "other classes"
    commands = (case.edit("--class-order", test.name),) if is_same_set else ()
    return [
        Finding(
            check="classes-of-test",
            found=f"the test set has {what}",
            certainty="certain",
            advice="evaluate refuses the two together: give both the same classes in one order",
            commands=commands,
        )
    ]
