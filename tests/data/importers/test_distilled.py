"""Dictionaries in `.pt` files: result files of DC, DSA and DM, and GIFT's `data.pt`."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from artefacts import save_dc, save_gift
from foreign_sources import UINT8, UNIT, Hostile, load

from ddlabel.core.config import ImportOptions
from ddlabel.core.errors import InvalidInputError, UnsafeInputError, UsageError
from ddlabel.data import importers

NORMALISED = {"pixels": "normalised", "mean": "0.5", "std": "0.25"}


def notes_of(path, **options) -> list[str]:
    notes: list[str] = []
    importers.load([path], ImportOptions(**options), notes.append)
    return notes


class TestDC:
    def test_the_last_set_is_read_and_brought_to_unit_space(self, tmp_path):
        """Set 1 has the images times 2: unit = 2·x·0.25 + 0.5."""
        bundle = load(save_dc(tmp_path, UNIT), **NORMALISED)
        assert bundle.images.tolist() == (UNIT * 0.5 + 0.5).tolist()
        assert bundle.hard_labels.tolist() == [0, 1]
        assert bundle.soft is None

    def test_another_set_can_be_chosen(self, tmp_path):
        bundle = load(save_dc(tmp_path, UNIT), set=0, **NORMALISED)
        assert bundle.images.tolist() == (UNIT * 0.25 + 0.5).tolist()

    def test_the_accuracies_go_into_the_history(self, tmp_path):
        path = save_dc(tmp_path, UNIT)
        facts = importers.load([path], ImportOptions(**NORMALISED)).facts
        assert facts == {"accuracies": {"ConvNet": [0.5, 0.25]}}

    def test_what_was_found_is_said(self, tmp_path):
        found, chosen = notes_of(save_dc(tmp_path, UNIT), **NORMALISED)
        assert "(DC, CIFAR10, ConvNet, IPC 1)" in found
        assert "2 sets (--format dc)" in found
        assert "set 1 of 0 … 1" in chosen
        assert len(notes_of(save_dc(tmp_path, UNIT, num_sets=1), **NORMALISED)) == 1

    def test_a_set_that_is_not_there_is_refused(self, tmp_path):
        with pytest.raises(UsageError, match="expected 0 to 1"):
            load(save_dc(tmp_path, UNIT), set=2, **NORMALISED)

    def test_pixels_have_to_be_stated(self, tmp_path):
        with pytest.raises(UsageError, match="--pixels"):
            load(save_dc(tmp_path, UNIT))

    @pytest.mark.parametrize(
        "data", [[], [[torch.zeros(2, 3, 2, 2)]], torch.zeros(2), [[1, 2]], None]
    )
    def test_a_file_without_sets_says_what_is_missing(self, tmp_path, data):
        with pytest.raises(InvalidInputError, match=r"without data = \[\[images"):
            load(save_dc(tmp_path, UNIT, data=data), **NORMALISED)

    @pytest.mark.parametrize(
        "accuracies", [{"a": ["x"]}, {"a": [float("nan")]}, [1], {"a": 1}, {"a": [0.5] * 10_001}]
    )
    def test_accuracies_that_are_no_numbers_are_refused(self, tmp_path, accuracies):
        with pytest.raises(InvalidInputError, match="accs_all_exps"):
            load(save_dc(tmp_path, UNIT, accs_all_exps=accuracies), **NORMALISED)

    def test_code_in_a_result_file_is_unsafe_and_does_not_run(self, tmp_path, marker):
        path = save_dc(tmp_path, UNIT, accs_all_exps={"ConvNet": [Hostile(marker)]})
        with pytest.raises(UnsafeInputError):
            load(path, **NORMALISED)
        assert not marker.exists()

    def test_a_tensor_larger_than_its_bytes_is_unsafe(self, tmp_path):
        bomb = torch.zeros(1).expand(1000, 3, 1000, 1000)
        with pytest.raises(UnsafeInputError):
            load(save_dc(tmp_path, UNIT, data=[[bomb, torch.arange(1000)]]), **NORMALISED)


class TestGIFT:
    @pytest.mark.parametrize("labels", [[1, 0], [[1], [0]]])
    def test_images_are_unit_pixels_and_labels_may_have_an_axis_more(self, tmp_path, labels):
        bundle = load(save_gift(tmp_path, UNIT, labels))
        assert bundle.images.tolist() == UNIT.tolist()
        assert bundle.pixels.space == "unit"
        assert bundle.hard_labels.tolist() == [1, 0]

    def test_soft_labels_are_kept_and_hard_ones_can_be_given(self, tmp_path):
        soft = [[0.25, 0.75], [0.5, 0.5]]
        np.save(tmp_path / "hard.npy", [0, 1])
        path = save_gift(tmp_path, UNIT, soft)
        bundle = load(path, hard_labels=str(tmp_path / "hard.npy"))
        assert (bundle.soft.values.tolist(), bundle.soft.meta.space) == (soft, "probs")
        assert bundle.hard_labels.tolist() == [0, 1]
        assert load(path).hard_labels.tolist() == [1, 0]

    def test_the_dataset_is_said(self, tmp_path):
        (found,) = notes_of(save_gift(tmp_path, UNIT, [0, 1]))
        assert "GIFT of cifar10 (--format gift)" in found

    def test_bytes_stay_bytes_and_other_keys_are_named(self, tmp_path):
        path = save_gift(tmp_path, UINT8, [0, 1], weights=torch.zeros(1))
        assert load(path).images.dtype == np.uint8
        assert notes_of(path)[-1].endswith("not read: weights")

    def test_normalised_images_are_refused_as_unit(self, tmp_path):
        with pytest.raises(InvalidInputError, match="too far from 0 … 1"):
            load(save_gift(tmp_path, UNIT * 9 - 4, [0, 1]))

    def test_a_file_without_labels_says_so(self, tmp_path):
        with pytest.raises(InvalidInputError, match="without 'label'"):
            load(save_gift(tmp_path, UNIT, [0, 1], label="none"))

    def test_labels_of_another_length_are_refused(self, tmp_path):
        with pytest.raises(InvalidInputError, match="with one N"):
            load(save_gift(tmp_path, UNIT, [0, 1, 2]))

    def test_code_is_unsafe_and_does_not_run(self, tmp_path, marker):
        with pytest.raises(UnsafeInputError):
            load(save_gift(tmp_path, UNIT, [0, 1], dataset=Hostile(marker)))
        assert not marker.exists()
