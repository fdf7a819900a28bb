"""Errors that say that memory is exhausted: torch's own, numpy's, and the operating system's."""

from __future__ import annotations

import errno

import numpy as np
import pytest
import torch

from ddlabel.core.errors import UsageError
from ddlabel.core.memory import is_out_of_memory, out_of_memory_error
from ddlabel.core.registry import as_usage_error

# More than any machine has: 4 EB, and more than an address can say.
NO_MACHINE_HAS = 1 << 60


def error_of(function, *arguments) -> Exception:
    with pytest.raises(Exception) as caught:
        function(*arguments)
    return caught.value


@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        (torch.empty, (NO_MACHINE_HAS,)),
        (torch.empty, (1 << 40, 1 << 40)),
        (np.empty, (NO_MACHINE_HAS >> 3,)),
        (bytearray, (NO_MACHINE_HAS,)),
    ],
    ids=["torch", "torch-overflow", "numpy", "python"],
)
def test_errors_of_allocators_are_recognised(function, arguments):
    assert is_out_of_memory(error_of(function, *arguments))


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("GET was unable to find an engine to execute this computation"),
        RuntimeError("Triton Error [CUDA]: out of memory"),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
        RuntimeError("could not create a primitive"),
        RuntimeError("can't start new thread"),
        ImportError("a.so: failed to map segment from shared object"),
    ],
)
def test_errors_of_devices_and_systems_are_recognised(error):
    assert is_out_of_memory(error)


def test_other_errors_are_not_taken_for_it():
    wrong_shape = error_of(torch.ones(2, 3).matmul, torch.ones(2, 3))
    assert isinstance(wrong_shape, RuntimeError)
    for error in (wrong_shape, OSError(errno.ENOSPC, "full"), ValueError("Cannot allocate memory")):
        assert not is_out_of_memory(error)


def test_the_batch_size_is_named_where_there_is_one():
    assert "--batch-size" in str(out_of_memory_error({"batch_size", "net"}))
    assert "--batch-size" not in str(out_of_memory_error({"device"}))
    assert out_of_memory_error().exit_code == 8


def test_a_value_that_needs_too_much_memory_is_no_usage_error():
    with pytest.raises(RuntimeError) as caught, as_usage_error("network"):
        torch.empty(NO_MACHINE_HAS)
    assert is_out_of_memory(caught.value)
    with pytest.raises(UsageError), as_usage_error("network"):
        torch.ones(2, 3).matmul(torch.ones(2, 3))
