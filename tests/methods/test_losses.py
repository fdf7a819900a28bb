"""Losses against their oracles, hand-worked numbers, and the student at which each is least."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from loss_oracles import (
    HARD,
    LABELS,
    ORACLES,
    SPECS,
    STUDENT,
    TEACHER,
    accepted_labels,
    finite_differences,
    name_of,
    oracle_of,
    target,
    value_and_gradient,
    value_of,
    value_of_lists,
)

from ddlabel.data.schema import LabelMeta
from ddlabel.methods.labels.gift import gift as refine
from ddlabel.methods.losses import loss_of, losses

LN2 = math.log(2)


def test_every_loss_has_an_oracle():
    assert set(ORACLES) == set(losses)


def test_specs_try_every_loss_at_its_defaults_and_with_every_option():
    tried = {name: set() for name in losses}
    for spec in SPECS:
        tried[name_of(spec)] |= set(losses.resolve(spec).keywords)
    assert tried == {entry.name: set(entry.options) for entry in losses.entries()}
    assert set(losses) <= set(SPECS)


@pytest.mark.parametrize(
    ("spec", "kind"), [(spec, kind) for spec in SPECS for kind in accepted_labels(spec, LABELS)]
)
def test_value_and_gradient_equal_the_oracle(spec, kind):
    labels, label = LABELS[kind]
    oracle = oracle_of(spec, label)
    z = STUDENT.numpy()
    value, gradient = value_and_gradient(spec, STUDENT, labels)
    tolerance = 1e-7 if name_of(spec) == "gift" else 1e-10  # gift's smoothed labels are float32
    assert value.item() == pytest.approx(oracle(z), rel=tolerance)
    if name_of(spec) == "wsld":  # its weights carry no gradient
        oracle = partial(oracle, weights_from=z)
    np.testing.assert_allclose(gradient, finite_differences(oracle, z), rtol=1e-6, atol=1e-8)


def test_js_equals_the_value_worked_by_hand():
    # p = (1, 0), q = (½, ½), m = (¾, ¼): ½·ln 4/3 + ½·(½·ln 2/3 + ½·ln 2) = ¾·ln 4/3.
    assert value_of_lists("js", [[0, 0]], [[1, 0]], [0]) == pytest.approx(0.75 * math.log(4 / 3))


def test_cosine_equals_the_value_worked_by_hand():
    # (1, 0) against (3, 4): cos = 3/5, so the loss is 2/5.
    assert value_of_lists("cosine", [[1, 0]], [[3, 4]], [0], "direction") == pytest.approx(0.4)


def test_gift_equals_the_value_worked_by_hand():
    # Smoothed with α = 0: (1, 0). Soft label: (0.6, 0.8)/1.4. With γ = ½ the refined label is
    # (0.8, 0.4), whose angle with (1, 0) has the cosine 2/√5.
    value = value_of_lists("gift:gamma=0.5,alpha=0", [[1, 0]], [[0.6 / 1.4, 0.8 / 1.4]], [0])
    assert value == pytest.approx(1 - 2 / math.sqrt(5))


def test_wsld_equals_the_value_worked_by_hand():
    # The student is uniform: its cross-entropies are ln 2 at any temperature.
    # The teacher's cross-entropy is ln 4: w = 1 − exp(−½).
    value = value_of_lists("wsld", [[0, 0]], [[0.25, 0.75]], [0])
    assert value == pytest.approx(LN2 + 2.5 * 2**2 * (1 - math.exp(-0.5)) * LN2)


def test_dkd_equals_the_value_worked_by_hand():
    # q = (½, ¼, ¼), p = (¾, 3/16, 1/16). Both the class against the rest and the other classes
    # among themselves are (¾, ¼) for the label and (½, ½) for the student.
    value = value_of_lists(
        "dkd:temperature=1,warm-up=0", [[LN2, 0, 0]], [[3 / 4, 3 / 16, 1 / 16]], [0]
    )
    assert value == pytest.approx(LN2 + (1 + 8) * (0.75 * math.log(1.5) - 0.25 * LN2))


def test_nkd_equals_the_value_worked_by_hand():
    # q = (½, 3/8, 1/8), p = (¾, 3/16, 1/16): −¾·ln ½ for the class, and (¾, ¼) among the others.
    value = value_of_lists("nkd", [[math.log(4), math.log(3), 0]], [[3 / 4, 3 / 16, 1 / 16]], [0])
    assert value == pytest.approx(
        LN2 + 0.75 * LN2 + 1.5 * (0.75 * math.log(4 / 3) + 0.25 * math.log(4))
    )


def test_dist_equals_the_value_worked_by_hand():
    # Rows: (½, ¼, ¼) and (¼, ½, ¼) correlate by −½, the second rows are equal: ¼ on average.
    # Columns have two entries: the first correlate by −1, the others by 1: ⅓ on average.
    q = [[1 / 2, 1 / 4, 1 / 4], [3 / 8, 1 / 8, 1 / 2]]
    p = [[1 / 4, 1 / 2, 1 / 4], [3 / 8, 1 / 8, 1 / 2]]
    value = value_of_lists("dist", np.log(q).tolist(), p, [0, 2])
    assert value == pytest.approx(LN2 + 2 * (1 - 1 / 4) + 2 * (1 - 1 / 3))


# Specs without a hard term, and the student logits that equal the label for them.
_REFINED = refine(TEACHER, LabelMeta(space="logits"), HARD, space="probs", gamma=0.1, alpha=0.1)
PURE = {
    "soft-ce": TEACHER,
    "kl": TEACHER,
    "kl:temperature=20,scale=false": TEACHER,
    "js": TEACHER,
    "js:temperature=3": TEACHER,
    "mse": TEACHER,
    "mse:space=probs": TEACHER,
    "mse:space=logits-to-probs": target().probs(),
    "cosine": target().probs() * 3,
    "cosine:space=logits": TEACHER * 3,
    "gift": _REFINED * 3,
    "kl+ce:weight=0": TEACHER,
    "mse+ce:weight=0": TEACHER,
    "soft-ce+ce:weight=0": TEACHER,
    "mse-gt:weight=0": TEACHER,
    "kd:ce-weight=0": TEACHER,
    "dkd:ce-weight=0": TEACHER,
    "dist:ce-weight=0": TEACHER,
}
# The gradient of each loss, as a multiple of ce's, where the student equals the teacher's logits.
_TEACHER_PROBS_OF_CLASS = target().probs().gather(1, HARD[:, None])
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
    "nkd": 1 + _TEACHER_PROBS_OF_CLASS,  # one of its terms is ce weighted by that probability
}


@pytest.mark.parametrize("spec", PURE)
def test_a_loss_without_a_hard_term_is_least_where_the_student_equals_the_label(spec):
    least, gradient = value_and_gradient(spec, PURE[spec], target())
    assert gradient.abs().max() < 1e-7
    if not spec.startswith("soft-ce"):  # whose least value is the label's entropy
        assert least.item() == pytest.approx(0, abs=1e-7)
    offsets = torch.from_numpy(np.random.default_rng(1).normal(size=(20, *TEACHER.shape)))
    for size in (0.01, 1, 10):
        for offset in offsets:
            assert value_of(spec, PURE[spec] + size * offset, target()) > least


@pytest.mark.parametrize("name", sorted(set(losses) - {"cosine", "gift"}))
def test_only_the_hard_term_has_a_gradient_where_the_student_equals_the_label(name):
    _, gradient = value_and_gradient(name, TEACHER, target())
    _, ce_gradient = value_and_gradient("ce", TEACHER, target())
    torch.testing.assert_close(gradient, HARD_WEIGHT[name] * ce_gradient)


logit_matrices = arrays(np.float32, (3, 4), elements=st.floats(-200, 200, width=32)).map(
    torch.from_numpy
)


class TestJs:
    @settings(max_examples=50)
    @given(logit_matrices, logit_matrices)
    def test_is_symmetric_and_from_0_to_log_2(self, first, second):
        forward = value_of("js", first, target(second, hard=HARD[:3]))
        backward = value_of("js", second, target(first, hard=HARD[:3]))
        assert forward == pytest.approx(backward, abs=1e-6)
        assert -1e-6 <= forward <= LN2 + 1e-6

    def test_is_log_2_between_disjoint_distributions(self):
        assert value_of_lists("js", [[1e4, -1e4]], [[0, 1]], [0]) == pytest.approx(LN2)


class TestSums:
    def test_kd_is_a_tenth_of_ce_and_nine_tenths_of_softened_kl(self):
        ce = value_of("ce", STUDENT, target())
        kl = value_of("kl:temperature=4,scale=false", STUDENT, target())
        assert value_of("kd", STUDENT, target()) == pytest.approx(0.1 * ce + 0.9 * 4**2 * kl)

    @pytest.mark.parametrize("name", ["kl", "mse", "soft-ce"])
    def test_the_hard_term_of_gifts_table_9_weighs_a_tenth(self, name):
        soft = value_of(name, STUDENT, target())
        ce = value_of("ce", STUDENT, target())
        assert value_of(f"{name}+ce", STUDENT, target()) == pytest.approx(soft + 0.1 * ce)


@pytest.mark.parametrize("space", ["probs", "logits"])
@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_gift_is_the_cosine_loss_on_refined_labels(space, temperature):
    stored = target(temperature=temperature)
    meta = LabelMeta(space="logits", temperature=temperature)
    values = refine(stored.values, meta, HARD, space=space, gamma=0.3, alpha=0.2)
    refined = target(values, "probs" if space == "probs" else "direction")
    on_the_fly = value_of(f"gift:space={space},gamma=0.3,alpha=0.2", STUDENT, stored)
    assert on_the_fly == pytest.approx(value_of("cosine", STUDENT, refined))


class TestWsld:
    """One image: the soft term divided by the soft cross-entropy is the image's weight."""

    @staticmethod
    def weight(student, teacher):
        """The weight for logits (student, 0) and (teacher, 0) of an image of class 0."""
        logits = torch.tensor([[student, 0.0]], dtype=torch.float64)
        teacher_logits = torch.tensor([[teacher, 0.0]], dtype=torch.float64)
        label = target(teacher_logits, hard=torch.tensor([0]))
        both_terms = value_of("wsld:temperature=1,alpha=1", logits, label)
        soft_term = both_terms - value_of("ce", logits, label)
        return soft_term / value_of("soft-ce", logits, label)

    def test_weight_is_0_for_a_student_far_better_than_the_teacher(self):
        assert self.weight(student=20, teacher=-3) == pytest.approx(0, abs=1e-8)

    def test_weight_is_1_for_a_student_far_worse_than_the_teacher(self):
        assert self.weight(student=-3, teacher=20) == pytest.approx(1)

    def test_weight_is_1_minus_1_over_e_for_a_student_as_good_as_the_teacher(self):
        assert self.weight(student=1.3, teacher=1.3) == pytest.approx(1 - 1 / math.e)

    def test_weight_falls_as_the_student_improves(self):
        weights = [self.weight(student, teacher=1) for student in np.linspace(-5, 5, 11)]
        assert (np.diff(weights) < 0).all()


class TestDkd:
    @pytest.mark.parametrize("row", range(4))
    @pytest.mark.parametrize("temperature", [1.0, 4.0])
    def test_kl_is_tckd_plus_nckd_times_the_mass_of_the_other_classes(self, row, temperature):
        # Zhao et al. 2022, equation 5: KD = TCKD + (1 − p_t)·NCKD.
        student = STUDENT[[row]]
        label = target().take(torch.tensor([row]))
        other_mass = 1 - label.probs(temperature)[0, HARD[row]].item()
        spec = f"dkd:temperature={temperature},alpha=1,beta={other_mass!r},ce-weight=0,warm-up=0"
        kl = value_of(f"kl:temperature={temperature}", student, label)
        assert value_of(spec, student, label) == pytest.approx(kl)

    def test_soft_term_grows_linearly_over_the_warm_up_and_then_stays(self):
        steps_per_epoch = 3
        dkd = loss_of("dkd:warm-up=20", steps_per_epoch=steps_per_epoch)
        ce = value_of("ce", STUDENT, target())
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
