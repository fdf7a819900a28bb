"""Pairs of `.pt` tensors, in both containers of torch.save, and hostile ones."""

from __future__ import annotations

import zipfile

import numpy as np
import pytest
import torch
from foreign_sources import UNIT, Hostile, load, save_pair, save_pt

from ddlabel.core.errors import (
    DDLabelError,
    InvalidInputError,
    UnsafeInputError,
)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("flip", [1, -1])
def test_pt_pairs_are_read_in_either_order_and_both_containers(tmp_path, flip, zipped):
    paths = save_pair(tmp_path, _use_new_zipfile_serialization=zipped)
    bundle = load(*paths[::flip], pixels="unit")
    assert bundle.images.tolist() == UNIT.tolist()
    assert bundle.pixels.space == "unit"
    assert bundle.hard_labels.tolist() == [2, 0]
    assert bundle.classes == ("0", "1", "2")


def test_pt_logits_that_require_gradients_are_soft_labels(tmp_path):
    logits = torch.tensor([[0.5, -1.0, 2.0], [4.0, 3.0, -2.0]], requires_grad=True)
    images = torch.nn.Parameter(torch.tensor(UNIT))
    bundle = load(*save_pair(tmp_path, images, logits), pixels="unit")
    assert bundle.soft.values.tolist() == [[0.5, -1.0, 2.0], [4.0, 3.0, -2.0]]
    assert (bundle.soft.meta.space, bundle.soft.meta.temperature) == ("logits", 1.0)
    assert bundle.hard_labels.tolist() == [2, 0]
    assert bundle.images.tolist() == UNIT.tolist()


@pytest.mark.parametrize("scalar", [np.float64(0.01), np.float32(0.5), 0.01])
def test_pt_with_numpy_scalars_inside_is_read(tmp_path, scalar):
    images = torch.tensor(UNIT)
    images.learning_rate = scalar
    bundle = load(*save_pair(tmp_path, images), pixels="unit")
    assert bundle.images.tolist() == UNIT.tolist()


def test_numpy_1_wrote_the_same_scalars_under_another_name(tmp_path):
    images = torch.tensor(UNIT)
    images.learning_rate = np.float64(0.01)
    paths = save_pair(tmp_path, images)
    with zipfile.ZipFile(paths[0]) as archive:
        members = {info.filename: archive.read(info) for info in archive.infolist()}
    name = next(name for name in members if name.endswith("data.pkl"))
    assert b"numpy._core.multiarray\nscalar" in members[name]
    members[name] = members[name].replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n")
    with zipfile.ZipFile(paths[0], "w") as archive:
        for member, content in members.items():
            archive.writestr(member, content)
    assert load(*paths, pixels="unit").images.tolist() == UNIT.tolist()


def test_a_pt_tensor_that_is_not_contiguous_is_read_by_value(tmp_path):
    images = torch.tensor(UNIT).permute(0, 1, 3, 2)
    bundle = load(*save_pair(tmp_path, images), pixels="unit")
    assert bundle.images.tolist() == UNIT.transpose(0, 1, 3, 2).tolist()


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("which", ["images.pt", "labels.pt"])
@pytest.mark.parametrize(
    "wrap", [lambda x: x, lambda x: {"images": x}, lambda x: [torch.zeros(1), x]]
)
def test_a_pt_file_with_code_is_unsafe_and_does_not_run(tmp_path, marker, which, zipped, wrap):
    paths = save_pair(tmp_path)
    save_pt(tmp_path / which, wrap(Hostile(marker)), _use_new_zipfile_serialization=zipped)
    with pytest.raises(UnsafeInputError, match=which):
        load(*paths, pixels="unit")
    assert not marker.exists()


def test_a_whole_module_in_a_pt_file_is_unsafe(tmp_path):
    paths = save_pair(tmp_path)
    save_pt(paths[0], torch.nn.Linear(2, 2))
    with pytest.raises(UnsafeInputError):
        load(*paths, pixels="unit")


def test_a_compressed_pt_archive_is_unsafe(tmp_path):
    paths = save_pair(tmp_path, np.zeros((2, 3, 100, 100), np.float32))
    with zipfile.ZipFile(paths[0]) as archive:
        members = {info.filename: archive.read(info) for info in archive.infolist()}
    with zipfile.ZipFile(paths[0], "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    with pytest.raises(UnsafeInputError, match=r"images\.pt"):
        load(*paths, pixels="unit")


@pytest.mark.parametrize(
    "tensor",
    [
        torch.zeros(1).expand(1000, 3, 1000, 1000),
        torch.zeros(2, 1, 2, 1).expand(2, 3, 2, 2),
        torch.zeros(9).unfold(0, 4, 1),
    ],
    ids=["bomb", "broadcast", "overlapping"],
)
def test_a_pt_tensor_larger_than_its_bytes_is_unsafe(tmp_path, tensor):
    paths = save_pair(tmp_path, tensor)
    assert paths[0].stat().st_size < 4096
    with pytest.raises(UnsafeInputError, match=r"images\.pt"):
        load(*paths, pixels="unit")


def test_a_pt_archive_that_declares_too_much_is_unsafe(tmp_path, monkeypatch):
    monkeypatch.setattr("ddlabel.data.importers.budget.MAX_TOTAL_BYTES", 100)
    for zipped in (True, False):
        paths = save_pair(tmp_path, _use_new_zipfile_serialization=zipped)
        with pytest.raises(UnsafeInputError, match=r"images\.pt"):
            load(*paths, pixels="unit")


ODD_TENSORS = {
    "sparse": lambda: torch.eye(4).to_sparse(),
    "sparse rows": lambda: torch.eye(4).to_sparse_csr(),
    "without numbers": lambda: torch.empty(2, 3, 2, 2, device="meta"),
    "complex": lambda: torch.ones(2, 3, 2, 2, dtype=torch.complex64),
    "conjugate": lambda: torch.ones(2, 3, 2, 2, dtype=torch.complex64).conj(),
    "a number": lambda: torch.tensor(1.0),
    "a string": lambda: "hello",
    "a dictionary": lambda: {"images": torch.zeros(2, 3, 2, 2)},
    "a list": lambda: [torch.zeros(3, 2, 2)] * 2,
    "None": lambda: None,
    "another tensor of labels": lambda: torch.tensor([0, 1]),
}


@pytest.mark.filterwarnings("ignore:.*[Ss]parse.*", "ignore:.*ComplexWarning.*")
@pytest.mark.parametrize("odd", ODD_TENSORS)
def test_a_pt_file_without_plain_images_is_refused(tmp_path, odd):
    paths = save_pair(tmp_path)
    save_pt(paths[0], ODD_TENSORS[odd]())
    with pytest.raises((InvalidInputError, UnsafeInputError)):
        load(*paths, pixels="unit")


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_floating_point_of_any_width_is_read(tmp_path, dtype):
    bundle = load(*save_pair(tmp_path, torch.tensor(UNIT).to(dtype)), pixels="unit")
    assert bundle.images.tolist() == UNIT.tolist()


@pytest.mark.parametrize("numbers", [[0], [0, 0], [1, 1], [0, 1, 1], [0, 1, 0]])
def test_pt_needs_one_file_of_images_and_one_of_labels(tmp_path, numbers):
    paths = save_pair(tmp_path)
    with pytest.raises(InvalidInputError, match=r"images\.pt|labels\.pt"):
        load(*(paths[number] for number in numbers), pixels="unit")


@pytest.mark.parametrize(
    "content", [b"", b"hello", b"PK\x05\x06" + bytes(18), b"PK\x03\x04", b"\x80\x02."]
)
def test_a_file_that_is_no_pt_is_invalid_and_not_unsafe(tmp_path, content):
    paths = save_pair(tmp_path)
    paths[0].write_bytes(content)
    with pytest.raises(InvalidInputError):
        load(*paths, pixels="unit")


# The old container cut off within a name seems to ask for that half of a name.
@pytest.mark.parametrize(("zipped", "expected"), [(True, InvalidInputError), (False, DDLabelError)])
def test_a_truncated_pt_file_is_refused(tmp_path, zipped, expected):
    paths = save_pair(tmp_path, _use_new_zipfile_serialization=zipped)
    content = paths[0].read_bytes()
    for length in range(1, len(content), len(content) // 15):
        paths[0].write_bytes(content[:length])
        with pytest.raises(expected):
            load(*paths, pixels="unit")
