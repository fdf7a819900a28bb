"""TOML files of users and of strangers."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ddlabel.core.errors import InvalidInputError, StorageError
from ddlabel.core.toml_file import read_toml


def test_the_content_is_that_of_the_file(tmp_path):
    (tmp_path / "x.toml").write_text('a = "é"\n[b]\nc = [1, 2.5]\n', encoding="utf-8")
    assert read_toml(tmp_path / "x.toml") == {"a": "é", "b": {"c": [1, 2.5]}}


BAD = {
    "no TOML": b"a =",
    "not UTF-8": b'a = "\xff"',
    "lists in lists": b"a = " + b"[" * 100_000,
    "a name twice": b"a = 1\na = 2",
    "larger than a mebibyte": b"#" * ((1 << 20) + 1),
}


@pytest.mark.parametrize("content", BAD)
def test_what_is_no_toml_is_refused_on_one_line(tmp_path, content):
    (tmp_path / "x.toml").write_bytes(BAD[content])
    with pytest.raises(InvalidInputError, match=r"x\.toml") as caught:
        read_toml(tmp_path / "x.toml")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["nowhere.toml", ".", "x.toml/y.toml"])
def test_a_missing_file_is_refused(tmp_path, name):
    (tmp_path / "x.toml").touch()
    with pytest.raises(InvalidInputError):
        read_toml(tmp_path / name)


def test_a_file_without_end_is_refused():
    with pytest.raises(InvalidInputError, match="/dev/zero"):
        read_toml(Path("/dev/zero"))


def test_a_file_that_the_system_refuses_to_read_is_no_invalid_one(tmp_path, monkeypatch):
    def refuse(*args, **options):
        raise PermissionError(13, os.strerror(13))

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(StorageError, match=r"x\.toml"):
        read_toml(tmp_path / "x.toml")
