"""Class folders and zips with damaged, foreign or hostile images."""

from __future__ import annotations

import os
import re
import warnings
import zipfile

import numpy as np
import pytest
from foreign_sources import load, png_that_declares, save_png, zip_folder
from PIL import Image

from ddlabel.core.errors import (
    InvalidInputError,
    UnsafeInputError,
)


@pytest.mark.parametrize("options", [{}, {"format": "folder"}])
def test_folders_without_class_folders_of_images_are_refused(tmp_path, options):
    with pytest.raises(InvalidInputError):
        load(tmp_path, **options)
    (tmp_path / "cat").mkdir()
    with pytest.raises(InvalidInputError):
        load(tmp_path, **options)
    (tmp_path / "cat" / "x.txt").write_text("x")
    with pytest.raises(InvalidInputError):
        load(tmp_path, **options)
    save_png(tmp_path / "x.png", np.zeros((2, 2)))
    with pytest.raises(InvalidInputError):
        load(tmp_path, **options)


def test_an_image_beside_the_class_folders_is_refused(animals):
    save_png(animals / "stray.png", np.zeros((2, 3)))
    with pytest.raises(InvalidInputError, match="animals"):
        load(animals)


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_a_truncated_image_is_refused_by_name(tmp_path, suffix):
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    path = tmp_path / "x" / "a" / f"broken.{suffix}"
    save_png(path, pixels)
    assert load(tmp_path / "x").images.shape == (1, 3, 32, 32)
    path.write_bytes(path.read_bytes()[:-400])
    with pytest.raises(InvalidInputError, match="broken"):
        load(tmp_path / "x")


def test_formats_that_could_start_a_program_are_not_even_tried(tmp_path):
    """Pillow hands PostScript to an interpreter, whatever the suffix."""
    (tmp_path / "x" / "a").mkdir(parents=True)
    Image.new("L", (2, 2)).save(tmp_path / "x" / "a" / "x.png", "EPS")
    with pytest.raises(InvalidInputError, match=r"x\.png"):
        load(tmp_path / "x")


@pytest.mark.parametrize("content", [b"", b"not an image", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"])
def test_a_file_that_is_no_image_is_refused(tmp_path, content):
    (tmp_path / "x" / "a").mkdir(parents=True)
    (tmp_path / "x" / "a" / "x.png").write_bytes(content)
    with pytest.raises(InvalidInputError, match=r"x\.png"):
        load(tmp_path / "x")


@pytest.mark.parametrize("side", [9_000, 12_000, 40_000])
def test_an_image_of_absurd_size_is_unsafe(tmp_path, side):
    # Pillow is silent about the first, warns of the second and refuses the third.
    (tmp_path / "x" / "a").mkdir(parents=True)
    (tmp_path / "x" / "a" / "x.png").write_bytes(png_that_declares(side, side))
    with pytest.raises(UnsafeInputError):
        load(tmp_path / "x")


@pytest.mark.parametrize(
    "name", ["../cat/x.png", "cat/../../x.png", "/cat/x.png", "a/b/../../../x.jpg"]
)
@pytest.mark.parametrize("options", [{}, {"format": "folder"}])
def test_a_member_outside_its_archive_is_unsafe(animals, name, options):
    path = zip_folder(animals)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(name, (animals / "ant" / "a.png").read_bytes())
    with pytest.raises(UnsafeInputError, match=re.escape(name)):
        load(path, **options)


def test_a_member_that_declares_too_much_is_unsafe(animals, monkeypatch):
    path = zip_folder(animals)
    monkeypatch.setattr("ddlabel.data.importers.budget.MAX_FILE_BYTES", 60)
    with pytest.raises(UnsafeInputError, match=r"\.png"):
        load(path, format="folder")


def test_both_images_of_one_name_in_an_archive_are_read(animals):
    path = zip_folder(animals)
    with warnings.catch_warnings(action="ignore"), zipfile.ZipFile(path, "a") as archive:
        archive.write(animals / "bee" / "2.png", "animals/ant/a.png")
    assert load(path).images[:, 0, 0, 0].tolist() == [20, 11, 33, 12, 31, 32, 33]


def test_what_macos_adds_to_an_archive_is_left_out(animals):
    path = zip_folder(animals)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("__MACOSX/animals/ant/._a.png", b"not an image")
    assert load(path).hard_labels.tolist() == [0, 1, 1, 2, 2, 2]


def test_a_class_folder_whose_name_is_no_text_is_refused(tmp_path):
    save_png(tmp_path / "x" / "a" / "x.png", np.zeros((2, 2)))
    (tmp_path / "x" / "a").rename(os.fsdecode(os.fsencode(tmp_path / "x") + b"/\xff"))
    with pytest.raises(InvalidInputError):
        load(tmp_path / "x")
