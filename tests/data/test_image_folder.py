"""Streamed class folders: listing, sample, statistics, digest, and images on demand."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ddlabel.core import rng
from ddlabel.core.config import ImportOptions
from ddlabel.core.errors import InvalidInputError, UnsafeInputError
from ddlabel.data import image_folder, importers
from ddlabel.data.image_folder import ImageFolder

COUNTS = {"new10": 2, "new2": 3}


@pytest.fixture
def folder(tmp_path) -> Path:
    """Five grey and coloured images of several sizes in two classes."""
    generator = np.random.default_rng(0)
    for name, count in COUNTS.items():
        (tmp_path / "train" / name).mkdir(parents=True)
        for number in range(count):
            shape = (6 + number, 9, 3) if number else (6, 9)
            pixels = generator.integers(0, 256, shape, np.uint8)
            Image.fromarray(pixels).save(tmp_path / "train" / name / f"{number}.png")
    return tmp_path


@pytest.fixture
def imported(folder):
    return importers.load([folder], ImportOptions(size=4, rgb=True)).bundle


def test_images_classes_and_labels_are_those_of_import(folder, imported):
    streamed = ImageFolder.open(folder, 4)
    assert (len(streamed), streamed.size) == (5, 4)
    assert streamed.classes == imported.classes == ("new2", "new10")
    assert streamed.hard_labels.tolist() == imported.hard_labels.tolist() == [0, 0, 0, 1, 1]
    assert np.array_equal(streamed.read(range(5)), imported.images)


def test_blocks_are_all_images_in_their_order(folder, imported, monkeypatch):
    monkeypatch.setattr(image_folder, "_IMAGES_AT_ONCE", 2)
    blocks = list(ImageFolder.open(folder, 4).blocks())
    assert [len(block) for block in blocks] == [2, 2, 1]
    assert np.array_equal(np.concatenate(blocks), imported.images)


def test_read_gives_the_rows_in_their_order(folder, imported):
    images = ImageFolder.open(folder, 4).read([4, 0, 4])
    assert (images.dtype, images.shape) == (np.uint8, (3, 3, 4, 4))
    assert np.array_equal(images, imported.images[[4, 0, 4]])


def test_a_cut_gets_the_whole_image_and_the_size(folder, imported):
    seen = []

    def cut(image, size):
        seen.append((image.size, size))
        return image.crop((5, 1, 9, 5))

    streamed = ImageFolder.open(folder, 4)
    images = streamed.read([2, 2], [cut, None])
    pixels = np.asarray(Image.open(folder / "train" / "new2" / "2.png"))
    assert seen == [((9, 8), 4)]
    assert np.array_equal(images[0], pixels[1:5, 5:9].transpose(2, 0, 1))
    assert np.array_equal(images[1], imported.images[2])


def test_a_cut_for_each_row_is_expected(folder):
    with pytest.raises(ValueError, match="zip"):
        ImageFolder.open(folder, 4).read([0, 1], [None])


def test_the_sample_of_a_small_folder_is_all_of_it(folder, imported):
    streamed = ImageFolder.open(folder, 4)
    sample = streamed.sample()
    sample.check_values()
    assert sorted(streamed.sample_rows.tolist()) == [0, 1, 2, 3, 4]
    assert np.array_equal(sample.images, imported.images[streamed.sample_rows])
    assert np.array_equal(sample.hard_labels, imported.hard_labels[streamed.sample_rows])
    assert sample.pixels == streamed.pixels == imported.pixels


def test_the_sample_is_drawn_from_the_stream_of_its_name(folder, monkeypatch):
    monkeypatch.setattr(image_folder, "SAMPLE_SIZE", 2)
    order = np.random.default_rng(rng.stream(0, "sample")).permutation(5)
    streamed = ImageFolder.open(folder, 4)
    assert streamed.sample_rows.tolist() == order[:2].tolist()
    assert len(streamed.sample().images) == 2
    unit = streamed.sample().images / 255
    assert streamed.pixels.mean == pytest.approx(unit.mean((0, 2, 3)), abs=1e-6)
    assert streamed.pixels.std == pytest.approx(unit.std((0, 2, 3)), abs=1e-6)


def test_the_digest_is_of_names_and_sizes(folder):
    files = [f"train/{name}/{number}.png" for name in ("new2", "new10") for number in (0, 1, 2)]
    sizes = [[name, (folder / name).stat().st_size] for name in files[:5]]
    text = json.dumps(sizes, separators=(",", ":"))
    digest = ImageFolder.open(folder, 4).digest
    assert digest == hashlib.sha256(text.encode()).hexdigest()
    assert ImageFolder.open(folder, 8).digest == digest
    path = folder / files[3]
    os.truncate(path, path.stat().st_size + 1)
    assert ImageFolder.open(folder, 4).digest != digest


def test_an_image_outside_the_sample_is_read_only_when_it_is_asked_for(folder, monkeypatch):
    monkeypatch.setattr(image_folder, "SAMPLE_SIZE", 1)
    row = next(
        number for number in range(5) if number not in ImageFolder.open(folder, 4).sample_rows
    )
    path = folder / ImageFolder.open(folder, 4).members[row].path
    path.write_bytes(path.read_bytes()[:50])
    streamed = ImageFolder.open(folder, 4)
    with pytest.raises(InvalidInputError, match=path.name):
        streamed.read([row])


def test_an_image_of_absurd_size_is_unsafe(folder, monkeypatch):
    monkeypatch.setattr("ddlabel.data.importers.budget.MAX_IMAGE_PIXELS", 10)
    with pytest.raises(UnsafeInputError, match="png"):
        ImageFolder.open(folder, 4)


@pytest.mark.parametrize("name", ["nowhere", "file", "empty"])
def test_a_path_without_class_folders_is_refused(tmp_path, name):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(InvalidInputError, match=name):
        ImageFolder.open(tmp_path / name, 4)
