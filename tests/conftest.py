from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from samples import FIXTURES, TINY, make_bundle

from ddlabel.cli.app import main
from ddlabel.data.bundle import Bundle


@pytest.fixture
def bundle() -> Bundle:
    return make_bundle()


@pytest.fixture
def cli(tmp_path: Path, monkeypatch, capsysbinary):
    """The command in this process, in a folder of its own: `cli("info", "x.safetensors", code=3).err`."""
    monkeypatch.chdir(tmp_path)

    def run(*words: str | Path, code: int = 0):
        monkeypatch.setattr(sys, "argv", ["ddlabel", *map(str, words)])
        with pytest.raises(SystemExit) as left:
            main()
        done = capsysbinary.readouterr()
        assert (left.value.code or 0) == code, done.err.decode()
        return done

    return run


@pytest.fixture
def ddlabel(tmp_path: Path):
    """Run the real command in a folder of its own: `ddlabel("info", "x.safetensors", code=3).stderr`."""

    def run(*words: str | Path, code: int = 0, stdin: bytes | None = None, cwd: Path = tmp_path):
        done = subprocess.run(
            [sys.executable, "-m", "ddlabel", *map(str, words)],
            cwd=cwd,
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            check=False,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
        assert done.returncode == code, (done.returncode, done.stderr.decode())
        return done

    return run


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """The files of `digits`, made once."""
    folder = tmp_path_factory.mktemp("digits")
    for line in (
        f"import {FIXTURES}/digits.npz real.safetensors",
        f"import {FIXTURES}/digits.npz test.safetensors --split test",
        "select real.safetensors few.safetensors --ipc 2",
        f"train-expert real.safetensors expert {' '.join(TINY)} --save-every 0.5 --batch-size 30",
    ):
        subprocess.run(
            [sys.executable, "-m", "ddlabel", *line.split(), "--quiet"], cwd=folder, check=True
        )
    return folder


@pytest.fixture
def digits(cli, made, tmp_path):
    """real.safetensors, test.safetensors, few.safetensors (2 a class) and an expert run `expert`."""
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    return tmp_path
