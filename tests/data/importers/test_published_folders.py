"""Folders as the code of SRe2L and RDED names them (METHODS, section 5)."""

from __future__ import annotations

import numpy as np
import pytest
from foreign_sources import load
from PIL import Image

from ddlabel.core.config import ImportOptions
from ddlabel.core.errors import InvalidInputError, UnsafeInputError, UsageError
from ddlabel.data import importers


def save_sre2l(root, classes=11, ipc=2, suffix="jpg"):
    """newCCC/classCCC_idIII, each image of one grey: ten times the class plus the number."""
    for number in range(classes):
        folder = root / f"new{number:03d}"
        folder.mkdir(parents=True)
        for image in range(ipc):
            path = folder / f"class{number:03d}_id{image:03d}.{suffix}"
            Image.new("RGB", (8, 8), (10 * number + image,) * 3).save(path, quality=95)
    return root


def save_rded(root, classes=3, ipc=2):
    """CCCCC/classCCCCC_idIIIII.jpg: 2 × 2 patches of 4 px."""
    for number in range(classes):
        folder = root / f"{number:05d}"
        folder.mkdir(parents=True)
        for image in range(ipc):
            patches = np.kron(np.array([[0, 80], [160, 240]]), np.ones((4, 4)))
            path = folder / f"class{number:05d}_id{image:05d}.jpg"
            Image.fromarray(np.uint8(patches)).convert("RGB").save(path, quality=95)
    return root


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_images_of_sre2l_have_the_class_of_their_folder(tmp_path, suffix):
    bundle = load(save_sre2l(tmp_path / "syn", suffix=suffix))
    assert bundle.classes[:2] == ("new000", "new001")
    assert bundle.hard_labels.tolist() == sorted([*range(11)] * 2)
    expected = [10 * number + image for number in range(11) for image in range(2)]
    assert bundle.images[:, 0, 0, 0].tolist() == expected


def test_images_of_rded_stay_whole_and_their_factor_is_kept(tmp_path):
    path = save_rded(tmp_path / "syn")
    bundle, facts = importers.load([path], ImportOptions(factor=2))
    assert bundle.images.shape == (6, 3, 8, 8)
    assert facts["factor"] == 2
    assert "factor" not in importers.load([path], ImportOptions()).facts
    with pytest.raises(UsageError, match="3 × 3 equal patches"):
        load(path, factor=3)


def test_damaged_images_are_counted_named_and_left_out_on_request(tmp_path):
    path = save_sre2l(tmp_path / "syn", classes=2, ipc=4)
    damaged = [path / "new000" / "class000_id001.jpg", path / "new001" / "class001_id003.jpg"]
    for file in damaged:
        file.write_bytes(file.read_bytes()[:200])
    with pytest.raises(InvalidInputError) as error:
        load(path)
    assert "2 of 8 images cannot be read" in str(error.value)
    assert "new000/class000_id001.jpg, new001/class001_id003.jpg" in str(error.value)
    assert "--skip-bad" in str(error.value)
    notes = []
    bundle, facts = importers.load([path], ImportOptions(skip_bad=True), notes.append)
    assert bundle.images[:, 0, 0, 0].tolist() == [0, 2, 3, 10, 11, 12]
    assert bundle.hard_labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert facts == {"images_left_out": 2}
    assert any("2 of 8" in note and "left out" in note for note in notes)


def test_damage_in_every_image_is_no_bundle(tmp_path):
    path = save_sre2l(tmp_path / "syn", classes=1)
    for file in path.rglob("*.jpg"):
        file.write_bytes(b"")
    with pytest.raises(InvalidInputError, match="class000_id000"):
        load(path, skip_bad=True)


def test_images_that_are_too_large_are_not_skipped(tmp_path, monkeypatch):
    path = save_sre2l(tmp_path / "syn", classes=1)
    monkeypatch.setattr("ddlabel.data.importers.budget.MAX_IMAGE_PIXELS", 63)
    with pytest.raises(UnsafeInputError):
        load(path, skip_bad=True)
