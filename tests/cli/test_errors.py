"""Which exit code an error gives that a command did not foresee, and what is a bug of ours."""

from __future__ import annotations

import sys

import pytest
import torch
from samples import make_bundle

from ddlabel.cli.app import main
from ddlabel.commands.command import Command
from ddlabel.data import formats


@pytest.fixture
def raising(cli, monkeypatch):
    """Let every command raise an error, and run one."""

    def run(error: BaseException, *, code: int) -> str:
        def fail(*args, **keywords):
            raise error

        monkeypatch.setattr(Command, "run", fail)
        return cli("guide", code=code).err.decode()

    return run


@pytest.mark.parametrize(
    ("error", "code", "named"),
    [
        (MemoryError(), 8, "memory"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate"), 8, "memory"),
        (RuntimeError("[../gloo/transport/tcp/pair.cc] Connection closed by peer"), 8, "rank"),
        (RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed."), 8, "--workers"),
        (OSError(28, "No space left on device", "out.h5"), 7, "out.h5: No space left on device"),
        (OSError("the network is gone"), 7, "the network is gone"),
    ],
)
def test_error_of_the_machine_is_one_line_with_its_code(raising, error, code, named):
    printed = raising(error, code=code)
    assert printed.startswith("error: ")
    assert printed.count("\n") == 1
    assert named in printed


@pytest.mark.parametrize("error", [RuntimeError("a shape does not fit"), KeyError("weights")])
def test_any_other_error_is_a_traceback(cli, monkeypatch, error):
    def fail(*args, **keywords):
        raise error

    monkeypatch.setattr(Command, "run", fail)
    monkeypatch.setattr(sys, "argv", ["ddlabel", "guide"])
    with pytest.raises(type(error)):
        main()


def test_bundle_is_not_written_to_a_terminal(cli, monkeypatch):
    formats.write("few.safetensors", make_bundle())
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert cli("select", "few.safetensors", "-", code=2).out == b""


def test_bundle_is_not_read_from_a_terminal(cli, monkeypatch):
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    cli("info", "-", code=3)
