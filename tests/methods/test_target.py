"""Targets: what each label space gives a loss, worked by hand, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import log_softmax, softmax

from ddlabel.core.errors import IncompatibleError
from ddlabel.data.schema import LabelMeta
from ddlabel.methods.labels.target import Target, class_shares

LOGITS = torch.tensor([[2.0, 0.0, -1.0], [0.5, 0.5, 3.0]], dtype=torch.float64)
HARD = torch.tensor([0, 2])


def target(values, space, temperature=1.0, hard=HARD):
    return Target(hard=hard, values=values, meta=LabelMeta(space=space, temperature=temperature))


class TestProbs:
    def test_of_logits_are_their_softmax_at_both_temperatures(self):
        probs = target(LOGITS, "logits", temperature=2.0).probs(3.0)
        np.testing.assert_allclose(probs, softmax(LOGITS.numpy() / 6, axis=1))

    def test_of_probabilities_are_softened_by_powers(self):
        # √0.64 : √0.36 : √0 = 0.8 : 0.6 : 0, divided by 1.4.
        probs = target(torch.tensor([[0.64, 0.36, 0.0]]), "probs").probs(2.0)
        torch.testing.assert_close(probs, torch.tensor([[8.0, 6.0, 0.0]]) / 14)

    def test_of_mass_keep_their_sum(self):
        values = torch.tensor([[0.32, 0.18, 0.0], [0.0, 0.0, 0.0]])
        mass = target(values, "mass")
        assert torch.equal(mass.probs(), values)
        # Half of the mass is left, in the proportion 0.8 : 0.6; a label without mass stays empty.
        expected = torch.tensor([[4.0, 3.0, 0.0], [0.0, 0.0, 0.0]]) / 14
        torch.testing.assert_close(mass.probs(2.0), expected)

    def test_softening_equals_softening_the_logits_they_came_from(self):
        logits = target(LOGITS, "logits")
        from_probs = target(logits.probs(), "probs").probs(5.0)
        torch.testing.assert_close(logits.probs(5.0), from_probs)

    def test_of_classes_are_one_hot(self):
        one_hot = Target.of_classes(HARD, 3).probs()
        assert one_hot.tolist() == [[1, 0, 0], [0, 0, 1]]


def test_log_probs_of_logits_are_exact_where_probabilities_round_to_0():
    values = torch.tensor([[400.0, 0.0, -100.0]])
    log_probs = target(values, "logits", hard=torch.tensor([0])).log_probs(2.0)
    np.testing.assert_allclose(log_probs, log_softmax(values.numpy() / 2, axis=1))


def test_logits_are_divided_by_the_temperature():
    assert torch.equal(target(LOGITS, "logits", temperature=4.0).logits, LOGITS / 4)


def test_take_selects_rows_of_labels_and_classes():
    row = target(LOGITS, "logits").take(torch.tensor([1]))
    assert row.hard.tolist() == [2]
    assert torch.equal(row.values, LOGITS[1:])


class TestDirection:
    def test_of_directions_is_the_stored_vector(self):
        directions = target(LOGITS, "direction")
        assert torch.equal(directions.direction("probs"), LOGITS)
        assert torch.equal(directions.direction("logits"), LOGITS)

    def test_of_logits_is_in_the_space_asked_for(self):
        logits = target(LOGITS, "logits", temperature=2.0)
        assert torch.equal(logits.direction("logits"), LOGITS / 2)
        assert torch.equal(logits.direction("probs"), logits.probs())


class TestInCommonSpace:
    def test_directions_stay(self):
        directions = target(LOGITS, "direction")
        assert directions.in_common_space() is directions

    @pytest.mark.parametrize("temperature", [1.0, 2.0])
    def test_logits_become_probabilities(self, temperature):
        logits = target(LOGITS, "logits", temperature=temperature)
        common = logits.in_common_space()
        torch.testing.assert_close(common.values, torch.softmax(LOGITS / temperature, 1))
        torch.testing.assert_close(common.probs(3.0), logits.probs(3.0))


class TestBlended:
    def test_labels_and_classes_are_weighted_means(self):
        values = torch.tensor([[0.5, 0.5, 0.0], [0.0, 0.2, 0.8]])
        blended = target(values, "probs").blended(torch.tensor([1, 0]), torch.tensor([0.75, 0.5]))
        expected = torch.tensor([[0.375, 0.425, 0.2], [0.25, 0.35, 0.4]])
        torch.testing.assert_close(blended.probs(), expected)
        assert blended.hard.tolist() == [[0.75, 0, 0.25], [0.5, 0, 0.5]]

    def test_directions_are_refused(self):
        with pytest.raises(IncompatibleError, match="--mix"):
            target(LOGITS, "direction").blended(torch.tensor([1, 0]), torch.tensor([0.5, 0.5]))

    def test_blending_twice_is_refused(self):
        partner = torch.tensor([1, 0])
        share = torch.tensor([0.5, 0.5])
        blended = target(LOGITS, "logits").blended(partner, share)
        with pytest.raises(IncompatibleError, match="--mix"):
            blended.blended(partner, share)

    def test_shares_of_classes_sum_up_where_both_classes_are_the_same(self):
        first = torch.tensor([0, 1])
        second = torch.tensor([2, 1])
        weight = torch.tensor([0.25, 0.25])
        assert class_shares(first, second, weight, 3).tolist() == [[0.25, 0, 0.75], [0, 1, 0]]


class TestRefusals:
    @pytest.mark.parametrize("method", ["probs", "log_probs"])
    def test_directions_have_no_probabilities(self, method):
        with pytest.raises(IncompatibleError, match="direction"):
            getattr(target(LOGITS, "direction"), method)()

    @pytest.mark.parametrize("space", ["probs", "mass", "direction"])
    def test_only_logits_have_logits(self, space):
        with pytest.raises(IncompatibleError, match=space):
            _ = target(LOGITS.softmax(1), space).logits
