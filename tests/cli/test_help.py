"""What `--help` says: which options go together, and an example that works."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from samples import make_bundle

from ddlabel.cli.command import app
from ddlabel.commands.command import MODULES, Command, load_command
from ddlabel.data import formats


@pytest.mark.parametrize(
    ("command", "text"),
    [
        ("evaluate", "(only with --select val)"),
        ("evaluate", "(only with --select val or best-on-test)"),
        ("evaluate", "(not with --labels hard or --dense-loss)"),
        ("evaluate", "(online only with --teacher)"),
        ("evaluate", "(only with BUNDLE)"),
        ("relabel", "(only with --epoch auto or --temperature auto)"),
        ("relabel", "(auto only with --real)"),
        ("sweep", "(only with --ray)"),
    ],
)
def test_help_says_which_options_go_together(cli, command, text):
    shown = cli(command, "--help").out.decode()
    assert text in " ".join(shown.split())


class Reached(BaseException):
    """A command line has been read, and its command is about to run."""


def example_of(shown: str) -> list[str]:
    """The words of the line `Example: ddlabel …` that ends a command's description."""
    description = re.split(r"\n\n(?:Arguments|Options):", shown)[0]
    (example,) = re.findall(r"Example: (ddlabel .*)\Z", " ".join(description.split()))
    return shlex.split(example)


@pytest.mark.parametrize("command", MODULES)
def test_example_is_a_command_line_that_can_be_read(cli, monkeypatch, command):
    program, name, *words = example_of(cli(command, "--help").out.decode())
    assert (program, name) == ("ddlabel", command)
    for path in ("few", "real", "soft", "dense", "test", "other"):
        formats.write(f"{path}.safetensors", make_bundle())
    Path("grid.toml").touch()

    def stop(*args, **keywords):
        raise Reached

    monkeypatch.setattr(Command, "run", stop)
    # The example may write one of the bundles that other examples read.
    force = ["--force"] if load_command(name).makes_bundle else []
    with pytest.raises(Reached):
        app([name, *words, *force], standalone_mode=False)
