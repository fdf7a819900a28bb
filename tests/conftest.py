from __future__ import annotations

import functools
import gc
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from samples import FIXTURES, make_bundle

from ddlabel.cli.app import main
from ddlabel.data.bundle import Bundle

# The test processes share the cores: one thread each, in this process and in those it starts.
os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--pretend-bf16",
        choices=("here", "yes", "no", "other"),
        default="here",
        help="whether this process's devices are said to have bfloat16 units: as they do (here), "
        "yes, no, or the opposite of what the CPU has (other)",
    )
    parser.addoption(
        "--update-refusals",
        action="store_true",
        help="rewrite the messages of tests/cli/refusals.toml with those of this run",
    )


def pytest_collection_finish() -> None:
    """Let the garbage collector skip what stays to the end: modules, and thousands of tests."""
    gc.freeze()


def pytest_unconfigure() -> None:
    gc.unfreeze()


def pytest_terminal_summary(terminalreporter) -> None:
    """Print the figures that tests of the fault suite report, in worker processes too."""
    reports = terminalreporter.getreports("passed")
    properties = [pair for report in reports for pair in report.user_properties]
    figures = [value for name, value in properties if name == "figure"]
    if not figures:
        return
    terminalreporter.section("figures of the fault suite")
    width = max(len(name) for name, _ in figures)
    for name, text in figures:
        terminalreporter.write_line(f"{name:<{width}}  {text}")


@pytest.fixture(scope="session", autouse=True)
def pretended_bfloat16_units(request: pytest.FixtureRequest) -> Iterator[None]:
    """Run the whole session as on a machine with or without bfloat16 units: `--pretend-bf16`."""
    pretended = request.config.getoption("--pretend-bf16")
    if pretended == "here":
        yield
        return
    import torch

    from ddlabel.training import runtime

    units = pretended == "yes"
    if pretended == "other":
        units = not runtime.has_bfloat16_units(torch.device("cpu"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runtime, "has_bfloat16_units", lambda _: units)
        yield


@pytest.fixture(scope="session", autouse=True)
def parsers_made_once() -> Iterator[None]:
    """Typer makes the parsers of all commands again for each call, which takes 40 ms."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(typer.main, "get_command", functools.cache(typer.main.get_command))
        yield


@pytest.fixture
def bundle() -> Bundle:
    return make_bundle()


@pytest.fixture
def cli(tmp_path: Path, monkeypatch, capsysbinary):
    """Run the command in this process, in a new folder: `cli("info", "x.h5", code=3).err`."""
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
    """Run the real command in a folder of its own: `ddlabel("info", "x.h5", code=3).stderr`."""

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
    from ddlabel.commands.bundle_files import write
    from ddlabel.commands.import_images import import_images
    from ddlabel.commands.select import select
    from ddlabel.commands.train_expert import train_expert

    folder = tmp_path_factory.mktemp("digits")
    write(folder / "real.safetensors", import_images(FIXTURES / "digits.npz"))
    write(folder / "test.safetensors", import_images(FIXTURES / "digits.npz", split="test"))
    write(folder / "few.safetensors", select(folder / "real.safetensors", ipc=2))
    train_expert(
        folder / "real.safetensors",
        folder / "expert",
        net="convnet-d1:width=4",
        epochs=2,
        precision="fp32",
        save_every=0.5,
        batch_size=30,
    )
    return folder


@pytest.fixture
def digits(cli, made, tmp_path):
    """{real,test,few}.safetensors (`few` has 2 images per class) and an expert run `expert`."""
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    return tmp_path
