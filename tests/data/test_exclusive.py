"""Giving a file a name that must not be taken, on file systems with and without hard links."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path

import pytest

from ddlabel.data import exclusive
from ddlabel.data.exclusive import move_to_free_name


def refuse_links(monkeypatch, code: int = errno.EPERM) -> None:
    def refuse(*paths, **options):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "link", refuse)


def refuse_renames(monkeypatch) -> None:
    monkeypatch.setattr(exclusive, "_rename_exclusively", lambda *_: False)


@pytest.fixture(params=["exclusive rename", "hard link", "placeholder"])
def way(request, monkeypatch) -> str:
    """One of the three ways; on Linux each of them works on the file system of the tests."""
    if request.param != "exclusive rename":
        refuse_renames(monkeypatch)
    if request.param == "placeholder":
        refuse_links(monkeypatch)
    return request.param


@pytest.fixture
def part(tmp_path) -> Path:
    path = tmp_path / "part"
    path.write_bytes(b"new")
    return path


def test_a_free_name_is_taken(way, part):
    target = part.with_name("target")
    move_to_free_name(part, target)
    assert target.read_bytes() == b"new"


def test_a_taken_name_is_left_as_it_is(way, part):
    target = part.with_name("target")
    target.write_bytes(b"old")
    with pytest.raises(FileExistsError):
        move_to_free_name(part, target)
    assert (target.read_bytes(), part.read_bytes()) == (b"old", b"new")


@pytest.mark.skipif(sys.platform != "linux", reason="the system call is Linux's")
def test_on_linux_the_file_never_has_two_names(part, monkeypatch):
    """A kill between a link and the removal of the first name would leave it behind."""
    monkeypatch.setattr(os, "link", pytest.fail)
    move_to_free_name(part, part.with_name("target"))
    assert [path.name for path in part.parent.iterdir()] == ["target"]


def test_a_dangling_symbolic_link_is_a_taken_name(way, part):
    target = part.with_name("target")
    target.symlink_to("nowhere")
    with pytest.raises(FileExistsError):
        move_to_free_name(part, target)
    assert target.is_symlink()


def test_a_placeholder_is_removed_if_it_cannot_be_replaced(part, monkeypatch):
    refuse_links(monkeypatch)
    refuse_renames(monkeypatch)

    def fail(*paths):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        move_to_free_name(part, part.with_name("target"))
    assert [path.name for path in part.parent.iterdir()] == ["part"]


def test_a_link_that_was_made_although_it_was_refused_counts(part, monkeypatch):
    """NFS repeats a request whose answer was lost, and then finds the name taken by itself."""
    refuse_renames(monkeypatch)
    link = os.link

    def link_and_fail(*paths, **options):
        link(*paths)
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))

    monkeypatch.setattr(os, "link", link_and_fail)
    target = part.with_name("target")
    move_to_free_name(part, target)
    assert target.read_bytes() == b"new"


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EACCES, errno.EIO])
def test_other_errors_are_no_reason_to_try_another_way(part, monkeypatch, code):
    refuse_renames(monkeypatch)
    refuse_links(monkeypatch, code)
    with pytest.raises(OSError, match=os.strerror(code)):
        move_to_free_name(part, part.with_name("target"))
    assert [path.name for path in part.parent.iterdir()] == ["part"]
