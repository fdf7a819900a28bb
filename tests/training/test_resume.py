"""Files from which a killed run is resumed."""

from __future__ import annotations

import hashlib
import io
import zipfile

import pytest
import torch

from ddlabel.core.errors import IncompatibleError, InvalidInputError, UnsafeInputError
from ddlabel.training.resume import loaded_state, save_state


def test_a_loaded_state_is_the_one_that_was_saved(tmp_path):
    weights = torch.randn(3, 2, generator=torch.Generator().manual_seed(0))
    save_state(tmp_path / "resume.pt", {"weights": weights, "step": 7})
    with loaded_state(tmp_path / "resume.pt") as state:
        assert state.keys() == {"weights", "step"}
        assert torch.equal(state["weights"], weights)
        assert state["step"] == 7


def test_a_new_state_replaces_the_old_one_and_leaves_nothing_else(tmp_path):
    for step in (1, 2):
        save_state(tmp_path / "resume.pt", {"step": step})
    with loaded_state(tmp_path / "resume.pt") as state:
        assert state == {"step": 2}
    assert [path.name for path in tmp_path.iterdir()] == ["resume.pt"]


@pytest.mark.parametrize("num_bytes", [0, 10, 200])
def test_a_damaged_file_is_refused_by_name(tmp_path, num_bytes):
    path = tmp_path / "resume.pt"
    save_state(path, {"weights": torch.zeros(100)})
    path.write_bytes(path.read_bytes()[:num_bytes])
    with pytest.raises(InvalidInputError, match=r"resume\.pt"), loaded_state(path):
        pass


@pytest.mark.parametrize("place", [0, 70, 80, -1000, -300])
def test_a_changed_byte_is_refused_by_name(tmp_path, place):
    path = tmp_path / "resume.pt"
    save_state(path, {"weights": torch.zeros(1000)})
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)
    with pytest.raises(InvalidInputError, match=r"resume\.pt"), loaded_state(path):
        pass


def test_code_in_a_file_is_not_run(tmp_path):
    class Call:
        def __reduce__(self):
            return (open, (str(tmp_path / "made"), "w"))

    save_state(tmp_path / "resume.pt", {"step": Call()})
    with pytest.raises(InvalidInputError), loaded_state(tmp_path / "resume.pt"):
        pass
    assert not (tmp_path / "made").exists()


def test_a_state_that_cannot_be_used_is_refused_by_the_name_of_the_file(tmp_path):
    save_state(tmp_path / "resume.pt", {"step": 1})
    with (
        pytest.raises(InvalidInputError, match=r"resume\.pt"),
        loaded_state(tmp_path / "resume.pt") as state,
    ):
        state["weights"]


def test_an_error_of_ours_keeps_its_type_and_names_the_file(tmp_path):
    save_state(tmp_path / "resume.pt", {"step": 1})
    with (
        pytest.raises(IncompatibleError, match=r"resume\.pt"),
        loaded_state(tmp_path / "resume.pt"),
    ):
        raise IncompatibleError("another run")


def test_a_compressed_state_is_unsafe_though_its_sha256_is_right(tmp_path):
    """A digest is no proof of who wrote the file."""
    path = tmp_path / "resume.pt"
    save_state(path, {"weight": torch.zeros(1000)})
    _, _, content = path.read_bytes().partition(b"\n")
    packed = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(content)) as stored,
        zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive,
    ):
        for name in stored.namelist():
            archive.writestr(name, stored.read(name))
    sha256 = hashlib.sha256(packed.getvalue()).hexdigest()
    path.write_bytes(f"sha256 {sha256}\n".encode() + packed.getvalue())
    with pytest.raises(UnsafeInputError, match=r"resume\.pt"), loaded_state(path):
        pass
