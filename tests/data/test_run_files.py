"""The arrays of an expert run and of a saved student: what is written is read back."""

from __future__ import annotations

import numpy as np

from ddlabel.data.run_files import (
    read_arrays,
    read_signed_arrays,
    write_arrays,
    write_signed_arrays,
)

ARRAYS = {
    # Batch norm counts its batches in an array without an axis.
    "num_batches_tracked": np.array(7),
    "weight": np.arange(6, dtype=np.float32).reshape(2, 3).T,
}


def assert_same(arrays) -> None:
    assert arrays.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        assert arrays[name].dtype == array.dtype
        assert arrays[name].shape == array.shape
        np.testing.assert_array_equal(arrays[name], array)


def test_arrays_are_read_back_with_their_shapes(tmp_path):
    path = tmp_path / "step-00000001.safetensors"
    assert_same(read_arrays(path, write_arrays(path, ARRAYS)))


def test_signed_arrays_are_read_back_with_their_shapes_and_the_text(tmp_path):
    path = tmp_path / "student.safetensors"
    write_signed_arrays(path, ARRAYS, about="a student")
    arrays, about = read_signed_arrays(path)
    assert_same(arrays)
    assert about == "a student"


def test_equal_arrays_and_texts_give_equal_bytes(tmp_path):
    path = tmp_path / "student.safetensors"
    contents = set()
    for _ in range(10):
        write_signed_arrays(path, ARRAYS, about="a student")
        contents.add(path.read_bytes())
    assert len(contents) == 1
