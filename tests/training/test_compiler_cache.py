"""The folder of compiled code: the user's alone, and none other is trusted."""

from __future__ import annotations

import logging
import os
import stat
import subprocess
import sys

import pytest

from ddlabel.training import compilation, compiler_cache
from ddlabel.training.warning import warn_once


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """The user's cache folder, which is not there yet."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def warnings(caplog):
    warn_once.cache_clear()
    with caplog.at_level(logging.WARNING, logger="ddlabel"):
        yield lambda: [record.message for record in caplog.records]


def cache_folder():
    return compiler_cache.private_cache_folder.__wrapped__()


def test_the_folder_is_the_users_alone(cache, warnings):
    folder = cache_folder()
    assert folder == cache / "ddlabel" / "torch"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert cache_folder() == folder
    assert warnings() == []


@pytest.mark.parametrize("named", ["", "relative/folder"])
def test_without_a_named_cache_folder_it_is_in_the_home_folder(tmp_path, monkeypatch, named):
    monkeypatch.setenv("XDG_CACHE_HOME", named)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "ddlabel" / "torch"


def test_a_folder_that_others_can_write_to_is_not_trusted(cache, warnings):
    folder = cache / "ddlabel" / "torch"
    folder.mkdir(parents=True)
    folder.chmod(0o777)
    assert cache not in cache_folder().parents
    (message,) = warnings()
    assert "other users can write to it" in message


def test_a_folder_of_another_user_is_not_trusted(cache, warnings, monkeypatch):
    cache_folder()
    monkeypatch.setattr("os.getuid", lambda: 12345)
    assert cache not in cache_folder().parents


def test_where_no_folder_can_be_made_code_is_kept_for_the_process(cache, warnings):
    cache.write_text("a file")
    for _ in range(2):
        folder = cache_folder()
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    (message,) = warnings()
    assert "not kept for the next run" in message


@pytest.mark.parametrize("is_named", [True, False])
def test_a_folder_that_the_user_names_is_torchs(cache, tmp_path, monkeypatch, is_named):
    monkeypatch.setattr(compilation, "private_cache_folder", cache_folder)
    monkeypatch.setattr(compilation, "_USER_NAMES_CACHE", is_named)
    # torch sets the variable too, to a folder of its own choice.
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "named"))
    compilation._configure_torch()
    expected = tmp_path / "named" if is_named else cache / "ddlabel" / "torch"
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == str(expected)


@pytest.mark.slow
def test_compiled_code_lies_in_the_folder(cache, tmp_path):
    program = """
import torch
from ddlabel.training.compilation import compiled
torch.optim.SGD([torch.zeros(1)], lr=0.1)
forward = compiled(lambda images: images.sin() + 1, torch.device("cpu"), required=True)
forward(torch.zeros(1, 8))
"""
    environment = os.environ | {"XDG_CACHE_HOME": str(cache)}
    environment.pop("TORCHINDUCTOR_CACHE_DIR", None)
    subprocess.run([sys.executable, "-c", program], env=environment, check=True)
    assert list((cache / "ddlabel" / "torch").iterdir()) != []
