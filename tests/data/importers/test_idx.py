"""IDX files, packed and unpacked."""

from __future__ import annotations

import gzip

import numpy as np
import pytest
from foreign_sources import PIXELS, idx_bytes, load, save_mnist

from ddlabel.core.errors import (
    InvalidInputError,
    UnsafeInputError,
)


@pytest.mark.parametrize("packed", [False, True])
def test_idx_folders_hold_both_parts(tmp_path, packed):
    folder = save_mnist(tmp_path / "mnist", packed)
    train, test = load(folder), load(folder, split="test")
    assert train.images.tolist() == PIXELS[:, None].tolist()
    assert train.hard_labels.tolist() == [2, 0]
    assert train.classes == ("0", "1", "2")
    assert test.images.tolist() == (PIXELS[:, None] + 100).tolist()
    with pytest.raises(InvalidInputError, match="--split val"):
        load(folder, split="val")


def test_of_a_packed_and_an_unpacked_idx_file_the_unpacked_one_is_read(tmp_path):
    folder = save_mnist(tmp_path / "mnist", packed=False)
    (folder / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx_bytes(PIXELS + 50)))
    assert load(folder).images.tolist() == PIXELS[:, None].tolist()
    (folder / "train-images-idx3-ubyte").unlink()
    assert load(folder).images.tolist() == (PIXELS[:, None] + 50).tolist()


def test_idx_pairs_come_in_either_order(tmp_path):
    folder = save_mnist(tmp_path / "mnist", packed=False)
    pair = sorted(folder.glob("t10k*"))
    assert (
        load(*pair).images.tolist()
        == load(*pair[::-1]).images.tolist()
        == (PIXELS[:, None] + 100).tolist()
    )


@pytest.mark.parametrize("channels_last", [False, True])
def test_idx_of_four_axes_is_in_colour(tmp_path, channels_last):
    images = np.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5)
    (tmp_path / "a-idx4-ubyte").write_bytes(
        idx_bytes(images.transpose(0, 2, 3, 1) if channels_last else images)
    )
    (tmp_path / "b-idx1-ubyte").write_bytes(idx_bytes([0, 1]))
    assert (
        load(tmp_path / "a-idx4-ubyte", tmp_path / "b-idx1-ubyte").images.tolist()
        == images.tolist()
    )


GOOD_IDX = idx_bytes(PIXELS)


BAD_IDX = {
    "cut off": GOOD_IDX[:-1],
    "too long": GOOD_IDX + b"\0",
    "cut off in its head": GOOD_IDX[:9],
    "only a magic": GOOD_IDX[:4],
    "three bytes": GOOD_IDX[:3],
    "empty": b"",
    "of signed bytes": GOOD_IDX[:2] + b"\x09" + GOOD_IDX[3:],
    "of no axes": b"\0\0\x08\0",
    "of five axes": idx_bytes(np.zeros((2, 1, 1, 1, 1))),
    "no images": idx_bytes(np.zeros((0, 2, 3))),
    "another number of images": idx_bytes(np.zeros((3, 2, 3))),
    "labels": idx_bytes([0, 1]),
}


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("bad", BAD_IDX)
def test_idx_that_is_damaged_is_refused(tmp_path, bad, packed):
    folder = save_mnist(tmp_path / "mnist", packed)
    path = next(folder.glob("train-images*"))
    path.write_bytes(gzip.compress(BAD_IDX[bad]) if packed else BAD_IDX[bad])
    with pytest.raises(InvalidInputError):
        load(folder)


def test_idx_that_declares_too_much_is_unsafe(tmp_path):
    folder = save_mnist(tmp_path / "mnist", packed=False)
    (folder / "train-images-idx3-ubyte").write_bytes(b"\0\0\x08\x03" + b"\xff" * 12)
    with pytest.raises(UnsafeInputError, match="train-images"):
        load(folder)
