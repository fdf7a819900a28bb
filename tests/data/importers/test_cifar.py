"""CIFAR archives, packed and unpacked, of Python 2 and 3, and hostile pickles."""

from __future__ import annotations

import pickle
import struct

import numpy as np
import pytest
from foreign_sources import Hostile, cifar10, cifar100, cifar_row, load, save_cifar

from ddlabel.core.errors import (
    InvalidInputError,
    UnsafeInputError,
)


@pytest.mark.parametrize("how", ["folder", "tar", "tar.gz"])
def test_cifar10_is_read_in_the_order_of_its_files_with_classes_in_that_of_their_names(
    tmp_path, how
):
    path = save_cifar(tmp_path, cifar10(), how)
    train, test = load(path), load(path, split="test")
    assert train.classes == test.classes == ("ant", "bee", "zebra")
    # Stored labels 0 (zebra), 1 (ant), 2 (bee), 1 (ant).
    assert train.hard_labels.tolist() == [2, 0, 1, 0]
    assert train.images[:, :, 5, 5].tolist() == [
        [0, 100, 200],
        [1, 101, 201],
        [2, 102, 202],
        [1, 101, 201],
    ]
    assert train.images[0, 0, :2, :2].tolist() == [[0, 255], [0, 0]]
    assert train.images.shape == (4, 3, 32, 32)
    assert test.hard_labels.tolist() == [1, 2]


@pytest.mark.parametrize("how", ["folder", "tar"])
def test_cifar100_is_read_with_its_fine_labels(tmp_path, how):
    path = save_cifar(tmp_path, cifar100(), how)
    assert load(path).classes == ("a", "b")
    assert load(path).hard_labels.tolist() == [1, 0]
    assert load(path, split="test").hard_labels.tolist() == [0, 1]


def python2_batch(data: np.ndarray, labels: list[int]) -> bytes:
    """The opcodes that Python 2 and numpy 1 wrote into the archive that everyone downloads."""
    array = (
        b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\0\x85U\x01b\x87R(K\x01"
        + (
            b"J"
            + struct.pack("<i", data.shape[0])
            + b"J"
            + struct.pack("<i", data.shape[1])
            + b"\x86"
        )
        + b"cnumpy\ndtype\n(U\x02u1K\0K\x01tR(K\x03U\x01|NNNJ\xff\xff\xff\xff"
        + b"J\xff\xff\xff\xffK\0tb\x89"
        + (b"T" + struct.pack("<i", data.nbytes) + data.tobytes())
        + b"tb"
    )
    numbers = b"".join(b"K" + bytes([label]) for label in labels)
    return b"\x80\x02}(U\x04data" + array + b"U\x06labels](" + numbers + b"eu."


def test_pickles_of_python_2_are_read(tmp_path):
    members = cifar10() | {"data_batch_1": python2_batch(np.stack([cifar_row(9, 8, 7)]), [1])}
    bundle = load(save_cifar(tmp_path, members, "tar.gz"))
    assert bundle.images[0, :, 5, 5].tolist() == [9, 8, 7]
    assert bundle.hard_labels.tolist() == [0, 1, 0]


@pytest.mark.parametrize("how", ["folder", "tar.gz"])
@pytest.mark.parametrize("member", ["data_batch_2", "batches.meta"])
@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_a_pickle_with_code_in_a_cifar_archive_is_unsafe_and_does_not_run(
    tmp_path, marker, how, member, protocol
):
    hostile = pickle.dumps({b"data": Hostile(marker)}, protocol=protocol)
    path = save_cifar(tmp_path, cifar10() | {member: hostile}, how)
    with pytest.raises(UnsafeInputError, match="system"):
        load(path)
    assert not marker.exists()


def test_builtins_and_other_parts_of_numpy_are_not_allowed_either(tmp_path):
    for word in (
        b"cbuiltins\neval\n.",
        b"cnumpy\nload\n.",
        b"cnumpy\nndarray.dump\n.",
        b"\x80\x04\x8c\x02os\x8c\x06system\x93.",
    ):
        folder = tmp_path / str(len(word)) / word[1:3].hex()
        folder.mkdir(parents=True)
        with pytest.raises(UnsafeInputError):
            load(save_cifar(folder, cifar10() | {"data_batch_1": word}, "folder"))


BAD_CIFAR = {
    "no meta": lambda m: m.pop("batches.meta"),
    "no batch": lambda m: [m.pop(name) for name in list(m) if name.startswith("data_batch")],
    "cut off": lambda m: m.update(data_batch_1=m["data_batch_1"][:-500]),
    "empty": lambda m: m.update(data_batch_1=b""),
    "not a pickle": lambda m: m.update(data_batch_1=b"hello"),
    "not a dictionary": lambda m: m.update(data_batch_1=pickle.dumps([1, 2])),
    "no labels": lambda m: m.update(
        data_batch_1=pickle.dumps({b"data": np.zeros((1, 3072), np.uint8)})
    ),
    "no data": lambda m: m.update(data_batch_1=pickle.dumps({b"labels": [0]})),
    "rows of another length": lambda m: m.update(data_batch_1=odd_rows()),
    "a label too many": lambda m: m.update(data_batch_1=batch_of([0, 1], [0, 1, 2])),
    "a label too few": lambda m: m.update(data_batch_1=batch_of([0, 1], [0])),
    "label K": lambda m: m.update(data_batch_1=batch_of([0, 1], [0, 3])),
    "label -1": lambda m: m.update(data_batch_1=batch_of([0, 1], [0, -1])),
    "labels of half": lambda m: m.update(data_batch_1=batch_of([0, 1], [0, 0.5])),
    "labels of text": lambda m: m.update(data_batch_1=batch_of([0, 1], [b"a", b"b"])),
    "pixels of double": lambda m: m.update(
        data_batch_1=pickle.dumps({b"data": np.zeros((1, 3072)), b"labels": [0]})
    ),
    "pixels of objects": lambda m: m.update(
        data_batch_1=pickle.dumps({b"data": np.full((1, 3072), None), b"labels": [0]})
    ),
    "names of numbers": lambda m: m.update(
        {"batches.meta": pickle.dumps({b"label_names": [1, 2, 3]})}
    ),
    "a name twice": lambda m: m.update(
        {"batches.meta": pickle.dumps({b"label_names": [b"a", b"a", b"b"]})}
    ),
}


def odd_rows() -> bytes:
    return pickle.dumps({b"data": np.zeros((1, 3071), np.uint8), b"labels": [0]})


def batch_of(rows, labels) -> bytes:
    return pickle.dumps(
        {b"data": np.stack([cifar_row(value, 0, 0) for value in rows]), b"labels": labels},
        protocol=2,
    )


@pytest.mark.parametrize("change", BAD_CIFAR)
def test_a_cifar_archive_without_meaning_is_refused(tmp_path, change):
    members = cifar10()
    BAD_CIFAR[change](members)
    path = save_cifar(tmp_path, members, "tar")
    with pytest.raises(InvalidInputError):
        load(path, format="cifar")


def test_cifar_has_no_validation_part(tmp_path):
    with pytest.raises(InvalidInputError, match="--split"):
        load(save_cifar(tmp_path, cifar10(), "folder"), split="val")
