"""Losses against numpy and scipy oracles and hand-worked numbers, and the contract that every registered loss keeps.

An oracle is the definition of a loss in float64, image by image, of the student's logits `z` and a `Label`. Gradients
are compared with finite differences of the oracle, never of the loss itself.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache, partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.spatial.distance import cosine as cosine_distance
from scipy.spatial.distance import jensenshannon
from scipy.special import entr, log_softmax, rel_entr, softmax
from scipy.stats import pearsonr

from ddlabel.core.errors import IncompatibleError
from ddlabel.data.schema import LabelMeta
from ddlabel.methods.labels.gift import gift as refine
from ddlabel.methods.labels.target import Target
from ddlabel.methods.losses import loss_of, losses

EPOCH = 5  # in the warm-up of dkd
# Every loss at its defaults and with every option at another value (a test sees to both).
SPECS = [
    "ce",
    "soft-ce",
    "kl",
    "kl:temperature=4",
    "kl:temperature=20,scale=false",
    "js",
    "js:temperature=3",
    "mse",
    "mse:space=probs",
    "cosine",
    "cosine:space=logits",
    "gift",
    "gift:space=logits",
    "gift:gamma=0.4,alpha=0.3",
    "kl+ce",
    "kl+ce:weight=0.5,temperature=4,scale=false",
    "mse+ce",
    "mse+ce:weight=1,space=probs",
    "soft-ce+ce",
    "soft-ce+ce:weight=0.7",
    "mse-gt",
    "mse-gt:weight=0.15",
    "kd",
    "kd:temperature=2,ce-weight=1,kd-weight=0.3",
    "wsld",
    "wsld:temperature=1,alpha=1",
    "wsld:temperature=5",
    "dkd",
    "dkd:temperature=1,alpha=2,beta=3,ce-weight=0.5,warm-up=7",
    "dkd:warm-up=0",
    "nkd",
    "nkd:temperature=4,gamma=0.5",
    "dist",
    "dist:temperature=4,ce-weight=0.5,inter=1,intra=3",
]
# Directions have no probabilities: only a loss that wants nothing but an angle, or no soft label at all, takes them.
TAKE_DIRECTIONS = {"ce", "cosine", "cosine:space=logits"}
# What needs the one class of an image refuses blended images, which have two.
NEED_ONE_CLASS = {"dkd", "nkd"}


def name_of(spec):
    return spec.partition(":")[0]


def needs_logits(spec):
    return "space=logits" in spec or (
        name_of(spec) in {"mse", "mse+ce", "mse-gt"} and "space=probs" not in spec
    )


TAKE_PROBS = [spec for spec in SPECS if not needs_logits(spec)]


def taken(spec, labels):
    """The names of the labels that a loss takes; they begin with the space."""
    return [kind for kind in labels if kind.startswith("logits") or not needs_logits(spec)]


generator = np.random.default_rng(0)
STUDENT, TEACHER = (torch.from_numpy(generator.normal(0, 2, (4, 5))) for _ in range(2))
HARD = torch.tensor([0, 2, 4, 2])


def target(values=TEACHER, space="logits", temperature=1.0, hard=HARD):
    return Target(hard=hard, values=values, label=LabelMeta(space=space, temperature=temperature))


def with_zeros(probs):
    """The distributions without their smallest class."""
    kept = np.where(probs == probs.min(1, keepdims=True), 0, probs)
    return kept / kept.sum(1, keepdims=True)


# ---------------------------------------------------------------------------------------------------------- oracles


@dataclass(frozen=True)
class Label:
    """Labels as an oracle takes them: distributions, the raw vectors that a cosine may take instead, the classes."""

    probs: np.ndarray
    raw: np.ndarray
    hard: np.ndarray

    def soft(self, temperature):
        powers = self.probs ** (1 / temperature)
        return powers / powers.sum(1, keepdims=True)


LABELS = {
    "logits": (target(), Label(softmax(TEACHER.numpy(), 1), TEACHER.numpy(), HARD.numpy())),
    "logits at temperature 2": (
        target(temperature=2.0),
        Label(softmax(TEACHER.numpy() / 2, 1), TEACHER.numpy() / 2, HARD.numpy()),
    ),
}
for kind, probs in {
    "probs": softmax(TEACHER.numpy(), 1),
    "probs with zeros": with_zeros(softmax(TEACHER.numpy(), 1)),
}.items():
    LABELS[kind] = (target(torch.from_numpy(probs), "probs"), Label(probs, probs, HARD.numpy()))


def of_ce(z, label):
    return np.mean([-log_softmax(row)[own] for row, own in zip(z, label.hard, strict=True)])


def of_kl(z, label, temperature=1.0, scale=True):
    divergence = rel_entr(label.soft(temperature), softmax(z / temperature, 1)).sum(1).mean()
    return divergence * temperature**2 if scale else divergence


def of_soft_ce(z, label):
    # Cross-entropy is the label's entropy and the divergence from it.
    return entr(label.probs).sum(1).mean() + of_kl(z, label)


def of_js(z, label, temperature=1.0):
    distance = jensenshannon(
        label.soft(temperature), softmax(z / temperature, 1), axis=1
    )  # the root of the divergence
    return np.mean(distance**2)


def of_mse(z, label, space="logits"):
    return np.mean(
        (z - label.raw) ** 2 if space == "logits" else (softmax(z, 1) - label.probs) ** 2
    )


def of_cosine(z, label, space="probs"):
    vectors = label.raw if space == "logits" else label.probs
    return np.mean([cosine_distance(a, b) for a, b in zip(z, vectors, strict=True)])


def of_gift(z, label, space="probs", gamma=0.1, alpha=0.1):
    distances = []
    for row, soft, own in zip(
        z, label.raw if space == "logits" else label.probs, label.hard, strict=True
    ):
        smooth = np.full(len(row), alpha / (len(row) - 1))
        smooth[own] = 1 - alpha
        refined = gamma * smooth / np.linalg.norm(smooth) + (1 - gamma) * soft / np.linalg.norm(
            soft
        )
        distances.append(cosine_distance(row, refined))
    return np.mean(distances)


def of_kl_ce(z, label, weight=0.1, temperature=1.0, scale=True):
    return of_kl(z, label, temperature, scale) + weight * of_ce(z, label)


def of_mse_ce(z, label, weight=0.1, space="logits"):
    return of_mse(z, label, space) + weight * of_ce(z, label)


def of_soft_ce_ce(z, label, weight=0.1):
    return of_soft_ce(z, label) + weight * of_ce(z, label)


def of_mse_gt(z, label, weight=0.025):
    return of_mse(z, label) + weight * of_ce(z, label)


def of_kd(z, label, temperature=4.0, ce_weight=0.1, kd_weight=0.9):
    divergence = rel_entr(label.soft(temperature), softmax(z / temperature, 1)).sum(1).mean()
    return ce_weight * of_ce(z, label) + kd_weight * temperature**2 * divergence


def of_wsld(z, label, temperature=2.0, alpha=2.5, weights_of=None):
    """`weights_of` are the logits that the weights are made of: a gradient leaves them out."""
    weights_of, soft, total = z if weights_of is None else weights_of, label.soft(temperature), 0.0
    for i, own in enumerate(label.hard):
        student = -log_softmax(weights_of[i])[own]
        # A teacher that gives the class no chance has a cross-entropy of 69, not an endless one.
        weight = 1 - np.exp(student / np.log(max(label.probs[i, own], 1e-30)))
        total += -log_softmax(z[i])[own] - alpha * temperature**2 * weight * soft[i] @ log_softmax(
            z[i] / temperature
        )
    return total / len(z)


def of_dkd(z, label, temperature=4.0, alpha=1.0, beta=8.0, ce_weight=1.0, warm_up=20, epoch=EPOCH):
    total = 0.0
    for row, p, own in zip(z, label.soft(temperature), label.hard, strict=True):
        q = softmax(row / temperature)
        target_class = rel_entr([p[own], 1 - p[own]], [q[own], 1 - q[own]]).sum()
        p, q = np.delete(p, own), np.delete(q, own)
        total += alpha * target_class + beta * rel_entr(p / p.sum(), q / q.sum()).sum()
    grown = min(epoch / warm_up, 1) if warm_up else 1
    return ce_weight * of_ce(z, label) + grown * temperature**2 * total / len(z)


def of_nkd(z, label, temperature=1.0, gamma=1.5):
    total, soft = 0.0, label.soft(temperature)
    for row, p, softened, own in zip(z, label.probs, soft, label.hard, strict=True):
        others = np.delete(softened, own)
        rest = -others / others.sum() @ log_softmax(np.delete(row, own) / temperature)
        total += -p[own] * log_softmax(row)[own] + gamma * temperature**2 * rest
    return of_ce(z, label) + total / len(z)


def of_dist(z, label, temperature=1.0, ce_weight=1.0, inter=2.0, intra=2.0):
    q, p = softmax(z / temperature, 1), label.soft(temperature)
    rows = np.mean([1 - pearsonr(a, b).statistic for a, b in zip(q, p, strict=True)])
    columns = np.mean([1 - pearsonr(a, b).statistic for a, b in zip(q.T, p.T, strict=True)])
    return ce_weight * of_ce(z, label) + temperature**2 * (inter * rows + intra * columns)


ORACLES = {
    "ce": of_ce,
    "soft-ce": of_soft_ce,
    "kl": of_kl,
    "js": of_js,
    "mse": of_mse,
    "cosine": of_cosine,
    "gift": of_gift,
    "kl+ce": of_kl_ce,
    "mse+ce": of_mse_ce,
    "soft-ce+ce": of_soft_ce_ce,
    "mse-gt": of_mse_gt,
    "kd": of_kd,
    "wsld": of_wsld,
    "dkd": of_dkd,
    "nkd": of_nkd,
    "dist": of_dist,
}


def oracle_of(spec, label):
    return partial(ORACLES[name_of(spec)], label=label, **losses.resolve(spec).keywords)


def differences(function, z, step=1e-5):
    """The gradient of a function of a matrix by central differences."""
    gradient = np.empty_like(z)
    for at in np.ndindex(z.shape):
        aside = np.zeros_like(z)
        aside[at] = step
        gradient[at] = (function(z + aside) - function(z - aside)) / (2 * step)
    return gradient


loss = cache(loss_of)  # of a spec, with one step an epoch


def value_of(spec, logits, of):
    """A loss in epoch EPOCH."""
    return loss(spec)(logits, of, EPOCH - 1).item()


def value_and_gradient(spec, logits, of):
    leaf = logits.clone().requires_grad_()
    value = loss(spec)(leaf, of, EPOCH - 1)
    value.backward()
    return value.detach(), leaf.grad


def test_every_loss_has_an_oracle():
    assert set(ORACLES) == set(losses)


def test_every_loss_is_tried_at_its_defaults_and_with_every_option():
    tried = {name: set() for name in losses}
    for spec in SPECS:
        tried[name_of(spec)] |= set(losses.resolve(spec).keywords)
    assert tried == {entry.name: set(entry.options) for entry in losses.entries()}
    assert set(losses) <= set(SPECS)


@pytest.mark.parametrize(
    ("spec", "kind"), [(spec, kind) for spec in SPECS for kind in taken(spec, LABELS)]
)
def test_value_and_gradient_are_the_oracles(spec, kind):
    ours, label = LABELS[kind]
    oracle, z = oracle_of(spec, label), STUDENT.numpy()
    value, gradient = value_and_gradient(spec, STUDENT, ours)
    # gift's smoothed labels are float32.
    assert value.item() == pytest.approx(oracle(z), rel=1e-7 if name_of(spec) == "gift" else 1e-10)
    moved = partial(oracle, weights_of=z) if name_of(spec) == "wsld" else oracle
    np.testing.assert_allclose(gradient, differences(moved, z), rtol=1e-6, atol=1e-8)


# -------------------------------------------------------------------------------------------------- worked by hand


def by_hand(spec, student, label, hard, space="probs"):
    """Of student logits and labels as lists."""
    values = torch.tensor(label, dtype=torch.float64)
    return value_of(
        spec,
        torch.tensor(student, dtype=torch.float64),
        target(values, space, hard=torch.tensor(hard)),
    )


LN2 = math.log(2)


def test_js_by_hand():
    # p = (1, 0), q = (½, ½), m = (¾, ¼): ½·ln 4/3 + ½·(½·ln 2/3 + ½·ln 2) = ¾·ln 4/3.
    assert by_hand("js", [[0, 0]], [[1, 0]], [0]) == pytest.approx(0.75 * math.log(4 / 3))


def test_cosine_by_hand():
    # (1, 0) against (3, 4): cos = 3/5, so the loss is 2/5.
    assert by_hand("cosine", [[1, 0]], [[3, 4]], [0], "direction") == pytest.approx(0.4)


def test_gift_by_hand():
    # α = 0 on class 0: (1, 0). Soft (0.6, 0.8)/1.4. γ = ½: (0.8, 0.4), whose angle with (1, 0) has the cosine 2/√5.
    value = by_hand("gift:gamma=0.5,alpha=0", [[1, 0]], [[0.6 / 1.4, 0.8 / 1.4]], [0])
    assert value == pytest.approx(1 - 2 / math.sqrt(5))


def test_wsld_by_hand():
    # The student is even: its cross-entropies are ln 2, at any temperature. The teacher's is ln 4: w = 1 − exp(−½).
    value = by_hand("wsld", [[0, 0]], [[0.25, 0.75]], [0])
    assert value == pytest.approx(LN2 + 2.5 * 2**2 * (1 - math.exp(-0.5)) * LN2)


def test_dkd_by_hand():
    # q = (½, ¼, ¼), p = (¾, 3/16, 1/16): class against rest is (¾, ¼) from (½, ½), and so are the other classes.
    value = by_hand("dkd:temperature=1,warm-up=0", [[LN2, 0, 0]], [[3 / 4, 3 / 16, 1 / 16]], [0])
    assert value == pytest.approx(LN2 + (1 + 8) * (0.75 * math.log(1.5) - 0.25 * LN2))


def test_nkd_by_hand():
    # q = (½, 3/8, 1/8), p = (¾, 3/16, 1/16): −¾·ln ½ for the class; both have (¾, ¼) among the others.
    value = by_hand("nkd", [[math.log(4), math.log(3), 0]], [[3 / 4, 3 / 16, 1 / 16]], [0])
    assert value == pytest.approx(
        LN2 + 0.75 * LN2 + 1.5 * (0.75 * math.log(4 / 3) + 0.25 * math.log(4))
    )


def test_dist_by_hand():
    # Rows: (½, ¼, ¼) and (¼, ½, ¼) correlate by −½, the second ones are equal: ¼ in the mean.
    # Columns of two correlate by ±1: the first falls in one and rises in the other, the others agree: ⅓ in the mean.
    q, p = (
        [[1 / 2, 1 / 4, 1 / 4], [3 / 8, 1 / 8, 1 / 2]],
        [[1 / 4, 1 / 2, 1 / 4], [3 / 8, 1 / 8, 1 / 2]],
    )
    value = by_hand("dist", np.log(q).tolist(), p, [0, 2])
    assert value == pytest.approx(LN2 + 2 * (1 - 1 / 4) + 2 * (1 - 1 / 3))


# ------------------------------------------------------------------------------------------------ extremes, float32

CORNERS = torch.eye(3) * 2e4 - 1e4
STUDENTS = {
    "right, by 20,000": CORNERS,
    "wrong, by 20,000": CORNERS.roll(1, 1),
    "against all, by 20,000": -CORNERS,
    "all 0": torch.zeros(3, 3),
    "all 10,000": torch.full((3, 3), 1e4),
    "all −10,000": torch.full((3, 3), -1e4),
    "very small": torch.eye(3) * 1e-30,
    "usual": torch.tensor([[1.0, 2.0, -0.5], [0.3, -1.0, 0.8], [0.0, 1.0, -1.0]]),
}
EXTREME_LABELS = {
    "logits right": ("logits", CORNERS),
    "logits wrong": ("logits", CORNERS.roll(1, 1)),
    "logits ±100": ("logits", torch.eye(3) * 200 - 100),
    "logits ±20": ("logits", torch.eye(3) * 40 - 20),
    "logits even": ("logits", torch.zeros(3, 3)),
    "logits all −10,000": ("logits", torch.full((3, 3), -1e4)),
    "probs one-hot": ("probs", torch.eye(3)),
    "probs one-hot and wrong": ("probs", torch.eye(3).roll(1, 1)),
    "probs even": ("probs", torch.full((3, 3), 1 / 3)),
    "probs with a 0": (
        "probs",
        torch.tensor([[0.7, 0.3, 0.0], [0.5, 0.0, 0.5], [0.0, 1e-30, 1.0]]),
    ),
}


@pytest.mark.parametrize("spec", SPECS)
class TestExtremes:
    def test_value_and_gradient_are_finite(self, spec):
        for kind in taken(spec, EXTREME_LABELS):
            space, values = EXTREME_LABELS[kind]
            whole = target(values, space, hard=torch.arange(3))
            for name, student in STUDENTS.items():
                for rows in (torch.arange(3), torch.arange(1)):  # a last batch may be of one image
                    value, gradient = value_and_gradient(spec, student[rows], whole.take(rows))
                    assert math.isfinite(value), (kind, name)
                    assert gradient.isfinite().all(), (kind, name)

    def test_float32_is_as_good_as_float64(self, spec):
        for kind in taken(spec, ["logits ±20", "logits even", "probs one-hot", "probs with a 0"]):
            space, values = EXTREME_LABELS[kind]
            of, finer = (
                target(each, space, hard=torch.arange(3)) for each in (values, values.double())
            )
            for student in (STUDENTS["usual"], STUDENTS["usual"] * 100):
                value, gradient = value_and_gradient(spec, student, of)
                exact, expected = value_and_gradient(spec, student.double(), finer)
                assert value.item() == pytest.approx(exact.item(), rel=1e-4, abs=1e-5), kind
                np.testing.assert_allclose(gradient, expected, rtol=1e-3, atol=1e-4, err_msg=kind)


@pytest.mark.parametrize("spec", ["dkd:temperature=1,warm-up=0", "nkd"])
def test_a_teacher_sure_by_200_still_tells_the_other_classes_apart(spec):
    student, label, hard = (
        torch.tensor([[1.0, 0.0, 0.0]]),
        torch.tensor([[200.0, 1.0, 0.0]]),
        torch.tensor([0]),
    )
    exact = value_of(spec, student.double(), target(label.double(), hard=hard))
    assert value_of(spec, student, target(label, hard=hard)) == pytest.approx(exact, rel=1e-4)


def test_dkd_bears_a_probability_of_a_hair_over_one():
    assert math.isfinite(by_hand("dkd:temperature=1", [[1, 0]], [[1.00005, 0]], [0]))


# ---------------------------------------------------------------------------------------------------- invariances


@pytest.mark.parametrize("spec", SPECS)
class TestInvariance:
    def test_names_of_classes_do_not_matter(self, spec):
        order = torch.tensor([2, 0, 4, 1, 3])
        renamed = target(TEACHER[:, order], hard=torch.argsort(order)[HARD])
        value, gradient = value_and_gradient(spec, STUDENT, target())
        same, permuted = value_and_gradient(spec, STUDENT[:, order], renamed)
        assert same.item() == pytest.approx(value.item())
        torch.testing.assert_close(permuted, gradient[:, order])

    def test_order_of_images_does_not_matter(self, spec):
        order = torch.tensor([3, 1, 0, 2])
        value, gradient = value_and_gradient(spec, STUDENT, target())
        same, permuted = value_and_gradient(spec, STUDENT[order], target().take(order))
        assert same.item() == pytest.approx(value.item())
        torch.testing.assert_close(permuted, gradient[order])


@pytest.mark.parametrize("spec", ["cosine", "cosine:space=logits", "gift", "gift:space=logits"])
def test_scale_of_the_logits_does_not_matter_to_an_angle(spec):
    for factor in (1e-3, 7.0, 1e4):
        assert value_of(spec, STUDENT * factor, target()) == pytest.approx(
            value_of(spec, STUDENT, target())
        )


def test_a_labels_own_temperature_and_the_losss_multiply():
    soft = value_of("kl:temperature=3", STUDENT, target(temperature=2.0))
    assert soft == pytest.approx(value_of("kl:temperature=3", STUDENT, target(TEACHER / 2)))


def test_probabilities_soften_as_the_logits_they_came_from():
    from_probs = target(target().probs(), "probs").probs(5.0)
    torch.testing.assert_close(target().probs(5.0), from_probs)


# --------------------------------------------------------------------------------------------- where a loss is least

# Specs without a hard term, and the student that is the label to them.
PURE = {
    "soft-ce": TEACHER,
    "kl": TEACHER,
    "kl:temperature=20,scale=false": TEACHER,
    "js": TEACHER,
    "js:temperature=3": TEACHER,
    "mse": TEACHER,
    "mse:space=probs": TEACHER,
    "cosine": target().probs() * 3,
    "cosine:space=logits": TEACHER * 3,
    "gift": refine(TEACHER, LabelMeta(space="logits"), HARD, space="probs", gamma=0.1, alpha=0.1)
    * 3,
    "kl+ce:weight=0": TEACHER,
    "mse+ce:weight=0": TEACHER,
    "soft-ce+ce:weight=0": TEACHER,
    "mse-gt:weight=0": TEACHER,
    "kd:ce-weight=0": TEACHER,
    "dkd:ce-weight=0": TEACHER,
    "dist:ce-weight=0": TEACHER,
}
# How much of ce's gradient [B, 1] is all that is left of a loss's where the student equals a label of logits.
HARD_WEIGHT = dict.fromkeys(losses, 1.0) | {
    "soft-ce": 0.0,
    "kl": 0.0,
    "js": 0.0,
    "mse": 0.0,
    "kl+ce": 0.1,
    "mse+ce": 0.1,
    "soft-ce+ce": 0.1,
    "mse-gt": 0.025,
    "kd": 0.1,
    "nkd": 1
    + target()
    .probs()
    .gather(1, HARD[:, None]),  # its own term is ce, weighted by the teacher's probability
}


@pytest.mark.parametrize("spec", PURE)
def test_a_loss_without_a_hard_term_is_least_where_the_student_equals_the_label(spec):
    least, gradient = value_and_gradient(spec, PURE[spec], target())
    assert gradient.abs().max() < 1e-7
    if not spec.startswith("soft-ce"):  # whose least value is the label's entropy
        assert least.item() == pytest.approx(0, abs=1e-7)
    aside = torch.from_numpy(np.random.default_rng(1).normal(size=(20, *TEACHER.shape)))
    for size in (0.01, 1, 10):
        assert min(value_of(spec, PURE[spec] + size * each, target()) for each in aside) > least


@pytest.mark.parametrize("name", sorted(set(losses) - {"cosine", "gift"}))
def test_only_the_hard_term_pulls_where_the_student_equals_the_label(name):
    _, gradient = value_and_gradient(name, TEACHER, target())
    _, of_the_class = value_and_gradient("ce", TEACHER, target())
    torch.testing.assert_close(gradient, HARD_WEIGHT[name] * of_the_class)


logit_matrices = arrays(np.float32, (3, 4), elements=st.floats(-200, 200, width=32)).map(
    torch.from_numpy
)


class TestJs:
    @settings(max_examples=50)
    @given(logit_matrices, logit_matrices)
    def test_is_symmetric_and_from_0_to_log_2(self, one, other):
        there, back = (
            value_of("js", a, target(b, hard=HARD[:3])) for a, b in ((one, other), (other, one))
        )
        assert there == pytest.approx(back, abs=1e-6)
        assert -1e-6 <= there <= LN2 + 1e-6

    def test_is_log_2_between_distributions_that_share_nothing(self):
        assert by_hand("js", [[1e4, -1e4]], [[0, 1]], [0]) == pytest.approx(LN2)


class TestSums:
    def test_kd_is_a_tenth_of_ce_and_nine_of_softened_kl(self):
        ce, kl = (
            value_of(spec, STUDENT, target()) for spec in ("ce", "kl:temperature=4,scale=false")
        )
        assert value_of("kd", STUDENT, target()) == pytest.approx(0.1 * ce + 0.9 * 4**2 * kl)

    @pytest.mark.parametrize("name", ["kl", "mse", "soft-ce"])
    def test_the_hard_term_of_gifts_table_9_weighs_a_tenth(self, name):
        soft, ce = (value_of(spec, STUDENT, target()) for spec in (name, "ce"))
        assert value_of(f"{name}+ce", STUDENT, target()) == pytest.approx(soft + 0.1 * ce)


@pytest.mark.parametrize("space", ["probs", "logits"])
@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_gift_is_the_cosine_loss_on_refined_labels(space, temperature):
    stored = target(temperature=temperature)
    values = refine(stored.values, stored.label, HARD, space=space, gamma=0.3, alpha=0.2)
    refined = target(values, "probs" if space == "probs" else "direction")
    on_the_fly = value_of(f"gift:space={space},gamma=0.3,alpha=0.2", STUDENT, stored)
    assert on_the_fly == pytest.approx(value_of("cosine", STUDENT, refined))


class TestWsld:
    """With one image, so that what is left of the soft term is its weight."""

    @staticmethod
    def weight(student, teacher):
        student, of = (
            torch.tensor([[each, 0.0]], dtype=torch.float64) for each in (student, teacher)
        )
        of = target(of, hard=torch.tensor([0]))
        soft = value_of("wsld:temperature=1,alpha=1", student, of) - value_of("ce", student, of)
        return soft / value_of("soft-ce", student, of)

    def test_a_student_far_better_than_the_teacher_is_left_alone(self):
        assert self.weight(student=20, teacher=-3) == pytest.approx(0, abs=1e-8)

    def test_a_student_far_worse_than_the_teacher_takes_all_of_the_soft_label(self):
        assert self.weight(student=-3, teacher=20) == pytest.approx(1)

    def test_a_student_as_good_as_the_teacher_takes_1_minus_1_over_e(self):
        assert self.weight(student=1.3, teacher=1.3) == pytest.approx(1 - 1 / math.e)

    def test_weights_fall_as_the_student_gets_better(self):
        weights = [self.weight(student, teacher=1) for student in np.linspace(-5, 5, 11)]
        assert (np.diff(weights) < 0).all()


class TestDkd:
    @pytest.mark.parametrize("row", range(4))
    @pytest.mark.parametrize("temperature", [1.0, 4.0])
    def test_kl_is_the_class_against_rest_and_the_rest_by_its_share(self, row, temperature):
        # Zhao et al. 2022, equation 5: KD = TCKD + (1 − p_t)·NCKD.
        student, of = STUDENT[[row]], target().take(torch.tensor([row]))
        rest = 1 - of.probs(temperature)[0, HARD[row]].item()
        decoupled = losses.get("dkd")(
            student,
            of,
            epoch=1,
            temperature=temperature,
            alpha=1.0,
            beta=rest,
            ce_weight=0.0,
            warm_up=0,
        )
        assert decoupled.item() == pytest.approx(
            value_of(f"kl:temperature={temperature}", student, of)
        )

    def test_its_soft_part_grows_in_line_with_the_epoch_and_then_stays(self):
        steps_per_epoch = 3
        dkd, ce = (
            loss_of("dkd:warm-up=20", steps_per_epoch=steps_per_epoch),
            value_of("ce", STUDENT, target()),
        )
        soft = [dkd(STUDENT, target(), step).item() - ce for step in range(30 * steps_per_epoch)]
        expected = np.repeat([min(epoch / 20, 1) for epoch in range(1, 31)], steps_per_epoch)
        assert np.array(soft) / soft[-1] == pytest.approx(expected)

    def test_a_nearly_certain_student_keeps_its_gradient(self):
        # 1 − q would round to 0 at a logit of 40, and the gradient with it.
        student = torch.tensor([[40.0, 0.0, 0.0]])
        _, gradient = value_and_gradient(
            "dkd:temperature=1,ce-weight=0,warm-up=0",
            student,
            target(torch.zeros(1, 3), hard=torch.tensor([0])),
        )
        torch.testing.assert_close(gradient, torch.tensor([[2 / 3, -1 / 3, -1 / 3]]))


@pytest.mark.parametrize(
    "spec", sorted(set(SPECS) - {spec for spec in SPECS if name_of(spec) == "dkd"})
)
def test_every_loss_but_dkd_is_the_same_in_every_epoch(spec):
    every = loss_of(spec, steps_per_epoch=2)
    assert len({every(STUDENT, target(), step).item() for step in (0, 1, 2, 50)}) == 1


# -------------------------------------------------------------------------------------------------- blended targets

PARTNER, SHARE = (
    torch.tensor([1, 2, 3, 0]),
    torch.tensor([0.7, 1.0, 0.25, 0.0], dtype=torch.float64),
)
BLENDED = target().blended(PARTNER, SHARE)


class TestBlended:
    def test_ce_weighs_the_ce_of_both_classes_by_their_shares(self):
        both = [-log_softmax(STUDENT.numpy(), 1)[range(4), hard] for hard in (HARD, HARD[PARTNER])]
        share = SHARE.numpy()
        expected = np.mean(share * both[0] + (1 - share) * both[1])
        assert value_of("ce", STUDENT, BLENDED) == pytest.approx(expected)

    def test_soft_ce_weighs_the_soft_ce_of_both_labels_by_their_shares(self):
        own = softmax(TEACHER.numpy(), 1)
        both = [-(label * log_softmax(STUDENT.numpy(), 1)).sum(1) for label in (own, own[PARTNER])]
        share = SHARE.numpy()
        expected = np.mean(share * both[0] + (1 - share) * both[1])
        assert value_of("soft-ce", STUDENT, BLENDED) == pytest.approx(expected)

    def test_gift_refines_the_mixture_towards_the_mixture_of_smoothed_labels(self):
        share, soft = SHARE.numpy()[:, None], softmax(TEACHER.numpy(), 1)
        smooth = np.eye(5)[HARD] * (0.9 - 0.1 / 4) + 0.1 / 4
        smooth, soft = (share * each + (1 - share) * each[PARTNER] for each in (smooth, soft))
        refined = sum(
            weight * each / np.linalg.norm(each, axis=1, keepdims=True)
            for weight, each in ((0.1, smooth), (0.9, soft))
        )
        expected = np.mean(
            [cosine_distance(a, b) for a, b in zip(STUDENT.numpy(), refined, strict=True)]
        )
        assert value_of("gift", STUDENT, BLENDED) == pytest.approx(expected, rel=1e-7)

    @pytest.mark.parametrize(
        "spec", [spec for spec in TAKE_PROBS if name_of(spec) not in NEED_ONE_CLASS]
    )
    def test_a_share_of_1_is_the_image_by_itself_and_0_its_partner(self, spec):
        for share, rows in ((torch.ones(4), torch.arange(4)), (torch.zeros(4), PARTNER)):
            blended = target().blended(PARTNER, share.double())
            value, gradient = value_and_gradient(spec, STUDENT, blended)
            same, expected = value_and_gradient(spec, STUDENT, target().take(rows))
            assert value.item() == pytest.approx(same.item(), rel=1e-7)
            torch.testing.assert_close(gradient, expected, rtol=1e-6, atol=1e-8)

    @pytest.mark.parametrize(
        "spec", [spec for spec in TAKE_PROBS if name_of(spec) not in NEED_ONE_CLASS]
    )
    def test_value_and_gradient_are_finite(self, spec):
        hard = Target.of_classes(torch.arange(3), 3).blended(
            torch.tensor([1, 2, 0]), torch.tensor([0.0, 1.0, 0.4])
        )
        for name, student in STUDENTS.items():
            value, gradient = value_and_gradient(spec, student, hard)
            assert math.isfinite(value), name
            assert gradient.isfinite().all(), name

    @pytest.mark.parametrize("spec", [spec for spec in SPECS if name_of(spec) in NEED_ONE_CLASS])
    def test_refused_where_one_class_is_needed(self, spec):
        with pytest.raises(IncompatibleError, match="one class"):
            value_of(spec, STUDENT, BLENDED)

    @pytest.mark.parametrize("spec", [spec for spec in SPECS if needs_logits(spec)])
    def test_refused_where_logits_are_needed(self, spec):
        with pytest.raises(IncompatibleError, match="logits"):
            value_of(spec, STUDENT, BLENDED)

    def test_directions_refuse_to_blend(self):
        with pytest.raises(IncompatibleError, match="directions"):
            target(space="direction").blended(PARTNER, SHARE)

    def test_what_is_blended_is_not_blended_again(self):
        with pytest.raises(IncompatibleError, match="one class"):
            BLENDED.blended(PARTNER, SHARE)


# --------------------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize("spec", sorted(set(SPECS) - TAKE_DIRECTIONS))
def test_directions_are_refused_where_they_make_no_sense(spec):
    with pytest.raises(IncompatibleError, match="direction"):
        value_of(spec, STUDENT, target(space="direction"))


@pytest.mark.parametrize("spec", sorted(TAKE_DIRECTIONS))
def test_directions_are_taken_as_they_are(spec):
    expected = value_of(
        spec, STUDENT, target() if spec == "ce" else target(TEACHER.abs() / 9, "direction")
    )
    assert value_of(spec, STUDENT, target(TEACHER.abs(), "direction")) == pytest.approx(expected)


@pytest.mark.parametrize("spec", [spec for spec in SPECS if needs_logits(spec)])
def test_probabilities_are_refused_where_logits_are_needed(spec):
    with pytest.raises(IncompatibleError, match=r"logits.* are probs"):
        value_of(spec, STUDENT, target(target().probs(), "probs"))
