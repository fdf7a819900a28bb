"""Freed memory is kept; chunks that do not fit into memory are halved, and no value changes."""

from __future__ import annotations

import functools
import logging
import multiprocessing
import platform
import resource
import sys

import pytest
import torch
from torch import Tensor

from ddlabel.methods.nets import build
from ddlabel.methods.nets.prepare import normalisation
from ddlabel.training import memory
from ddlabel.training.memory import ChunkedFunction, keep_freed_memory
from ddlabel.training.warning import warn_once

NO_MACHINE_HAS = 1 << 60


class Limited:
    """A function of images that has memory for a number of images only, and notes every size."""

    def __init__(self, function, most_images: int) -> None:
        self.function = function
        self.most_images = most_images
        self.sizes: list[int] = []

    def __call__(self, images: Tensor) -> Tensor:
        self.sizes.append(len(images))
        if len(images) > self.most_images:
            torch.empty(NO_MACHINE_HAS)
        return self.function(images)


@functools.cache
def net() -> torch.nn.Module:
    return build(
        "convnet-d2:width=8",
        normalisation((0.5,) * 3, (0.2,) * 3),
        channels=3,
        size=16,
        num_classes=5,
        seed=0,
    ).eval()


def network(images: Tensor) -> Tensor:
    with torch.no_grad():
        return net()(images)


def random_images(num_images: int) -> Tensor:
    return torch.rand(num_images, 3, 16, 16, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("num_images", [2, 3, 37, 64, 300])
@pytest.mark.parametrize("most_images", [2, 5, 16])
def test_values_are_the_same_bytes_in_smaller_chunks(num_images, most_images):
    images = random_images(num_images)
    values = ChunkedFunction(Limited(network, most_images))(images)
    assert torch.equal(values, ChunkedFunction(network)(images))


def test_a_smaller_size_is_kept_for_later_calls_and_said_once(caplog):
    function = Limited(lambda images: images.sum((1, 2, 3)), most_images=16)
    chunked = ChunkedFunction(function)
    warn_once.cache_clear()
    with caplog.at_level(logging.WARNING, logger="ddlabel"):
        chunked(random_images(64))
        assert function.sizes == [64, 32, 16, 16, 16, 16]
        chunked(random_images(64))
    assert function.sizes[6:] == [16, 16, 16, 16]
    assert len(caplog.records) == 1


def test_an_error_is_raised_when_nothing_fits():
    with pytest.raises(RuntimeError, match="allocate"):
        ChunkedFunction(Limited(network, most_images=1))(random_images(8))


def test_other_errors_are_raised_at_once():
    sizes = []

    def fail(images: Tensor) -> Tensor:
        sizes.append(len(images))
        return images @ torch.ones(3, 3)

    with pytest.raises(RuntimeError):
        ChunkedFunction(fail)(random_images(8))
    assert sizes == [8]


def new_pages() -> int:
    """Return how many new pages ten arrays of 64 MB wait for, one after another."""
    torch.ones(1 << 24)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        torch.ones(1 << 24)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def report_new_pages(pipe) -> None:
    before = new_pages()
    keep_freed_memory()
    pipe.send((before, new_pages()))


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has this setting")
def test_freed_memory_is_kept_for_the_next_array():
    """In a process of its own: the setting cannot be undone."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe()
    process = context.Process(target=report_new_pages, args=(sender,))
    process.start()
    before, after = receiver.recv()
    process.join()
    # A new array of 64 MB takes pages of 4 KiB, or of 2 MiB.
    assert before >= 10 * 32
    # Some of the ten may meet a heap that the process has not grown yet.
    assert after < before / 2


def test_a_c_library_without_the_setting_is_reported_once(monkeypatch, caplog):
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(memory.ctypes, "CDLL", lambda name: object())
    for name in memory._ALLOCATOR_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    warn_once.cache_clear()
    with caplog.at_level(logging.WARNING, "ddlabel"):
        answers = [keep_freed_memory.__wrapped__() for _ in range(2)]
    assert answers == [False, False]
    assert len(caplog.records) == 1


def test_the_users_own_setting_of_the_allocator_wins(monkeypatch):
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "0")
    monkeypatch.setattr(memory.ctypes, "CDLL", lambda name: pytest.fail("it was changed"))
    assert not keep_freed_memory.__wrapped__()
