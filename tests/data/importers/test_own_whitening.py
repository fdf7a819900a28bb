"""KIP and RaT-BPTT: labels shifted or unnormalised, and a whitening of their own."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
from artefacts import layer_normed, own_whitening, save_kip, save_rat_bptt
from foreign_sources import correlated, load

from ddlabel.core.config import ImportOptions
from ddlabel.core.errors import InvalidInputError, UnsafeInputError, UsageError
from ddlabel.data import importers

REAL = correlated()  # [200, 3, 3, 3] in unit space
IMAGES = correlated(count=4, seed=1)
SHIFTED = np.eye(4, dtype=np.float32)[[2, 0, 3, 1]] - 0.25


def expected(images, real):
    """Images with the mean brightness and the mean norm of the real ones, all else their own."""
    _, means, norms = layer_normed(real)
    normed, _, _ = layer_normed(images)
    return (normed * norms.mean() + means.mean()).reshape(images.shape)


class TestRatBptt:
    LABELS = np.array([[0.5, 1.5], [3, 1], [0, 2], [1, 1]], np.float32)

    def test_the_whitening_is_undone_but_for_brightness_and_contrast(self, tmp_path, real):
        path = save_rat_bptt(tmp_path, own_whitening(IMAGES, REAL), self.LABELS)
        bundle = load(path, pixels="zca", zca_from=str(real))
        assert bundle.images == pytest.approx(expected(IMAGES, REAL), abs=1e-4)

    def test_labels_keep_their_sums(self, tmp_path, real):
        path = save_rat_bptt(tmp_path, own_whitening(IMAGES, REAL), self.LABELS)
        options = ImportOptions(pixels="zca", zca_from=str(real))
        notes: list[str] = []
        bundle = importers.load([path], options, notes.append).bundle
        assert bundle.soft.values.tolist() == self.LABELS.tolist()
        assert bundle.soft.meta.space == "mass"
        assert bundle.hard_labels.tolist() == [1, 0, 1, 0]
        assert "brightness" in notes[1]

    def test_the_space_of_the_pixels_has_to_be_stated(self, tmp_path):
        with pytest.raises(UsageError, match="--pixels zca --zca-from REAL"):
            load(save_rat_bptt(tmp_path, IMAGES, self.LABELS))

    def test_hard_labels_can_be_given_where_there_are_none(self, tmp_path, real):
        path = save_rat_bptt(tmp_path, IMAGES, None)
        with pytest.raises(InvalidInputError, match="--hard-labels FILE"):
            load(path)
        np.save(tmp_path / "hard.npy", [0, 1, 2, 3])
        hard = str(tmp_path / "hard.npy")
        bundle = load(path, format="rat-bptt", pixels="zca", zca_from=str(real), hard_labels=hard)
        assert bundle.hard_labels.tolist() == [0, 1, 2, 3]

    def test_other_sizes_than_those_of_the_real_images_are_refused(self, tmp_path, real):
        path = save_rat_bptt(tmp_path, np.zeros((4, 3, 2, 2), np.float32), self.LABELS)
        with pytest.raises(InvalidInputError, match=r"\[3, 2, 2\].*expected \[3, 3, 3\]"):
            load(path, pixels="zca", zca_from=str(real))

    @pytest.mark.parametrize(("bad", "message"), [(np.nan, "finite"), (-1, "at least 0")])
    def test_labels_that_are_no_weights_are_refused(self, tmp_path, bad, message):
        labels = self.LABELS.copy()
        labels[1] = bad
        with pytest.raises(InvalidInputError, match=message):
            load(save_rat_bptt(tmp_path, IMAGES, labels), pixels="unit")

    def test_compressed_datasets_are_refused(self, tmp_path):
        path = save_rat_bptt(tmp_path, IMAGES, self.LABELS, compression="gzip")
        with pytest.raises(InvalidInputError, match="chunked or compressed"):
            load(path, pixels="unit")

    def test_links_to_other_files_are_unsafe(self, tmp_path):
        path = save_rat_bptt(tmp_path, IMAGES, None)
        with h5py.File(path, "a") as file:
            file["label"] = h5py.ExternalLink("/etc/passwd", "x")
        with pytest.raises(UnsafeInputError, match="link"):
            load(path, pixels="unit")

    def test_an_hdf5_file_of_others_says_what_it_lacks(self, tmp_path):
        with h5py.File(tmp_path / "x.h5", "w") as file:
            file["pictures"] = IMAGES
        with pytest.raises(InvalidInputError, match="HDF5 file with pictures without data"):
            load(tmp_path / "x.h5")


class TestKip:
    def test_shifted_one_hot_labels_are_hard_labels(self, tmp_path, real):
        bundle = load(save_kip(tmp_path, IMAGES, SHIFTED), pixels="zca", zca_from=str(real))
        assert bundle.hard_labels.tolist() == [2, 0, 3, 1]
        assert bundle.soft is None

    def test_the_whitening_is_undone_in_normalised_channels(self, tmp_path, real):
        mean = REAL.mean((0, 2, 3), dtype=np.float64).reshape(-1, 1, 1)
        std = REAL.std((0, 2, 3), dtype=np.float64).reshape(-1, 1, 1)
        images = (IMAGES - mean) / std
        normalised = (REAL - mean) / std
        path = save_kip(tmp_path, own_whitening(images, normalised), SHIFTED)
        bundle = load(path, pixels="zca", zca_from=str(real))
        undone = expected(images, normalised) * std + mean
        assert bundle.images == pytest.approx(undone, abs=1e-4)

    def test_learned_labels_have_two_readings(self, tmp_path):
        """Rows that sum to 0 may be labels of KIP or centred logits."""
        learned = SHIFTED + np.float32(0.125) * (np.arange(4, dtype=np.float32) - 1.5)
        path = save_kip(tmp_path, IMAGES, learned)
        with pytest.raises(InvalidInputError, match=r"--format kip\), or .*--format npz"):
            load(path, pixels="unit")
        bundle = load(path, format="kip", pixels="unit", label_space="logits")
        assert bundle.soft.values == pytest.approx(learned + 0.25)

    def test_the_space_of_the_pixels_has_to_be_stated(self, tmp_path):
        with pytest.raises(UsageError, match="--zca-from REAL"):
            load(save_kip(tmp_path, IMAGES, SHIFTED))

    def test_logits_beside_images_in_channels_last_are_no_kip(self, tmp_path):
        logits = SHIFTED + 1
        notes: list[str] = []
        path = save_kip(tmp_path, IMAGES, logits)
        options = ImportOptions(pixels="unit", label_space="logits")
        importers.load([path], options, notes.append)
        assert "--format npz" in notes[0]

    def test_pickled_objects_are_unsafe(self, tmp_path):
        path = save_kip(tmp_path, np.full((2, 1, 1, 1), None), SHIFTED[:2])
        with pytest.raises(UnsafeInputError):
            load(path, format="kip", pixels="unit")
