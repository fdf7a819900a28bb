"""What `--help` says: which options go together, and an example that works."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from samples import make_bundle

from ddlabel.cli.command import app
from ddlabel.commands.command import MODULES, Command, load_command
from ddlabel.core.config import DescribeOptions, EvaluateOptions
from ddlabel.core.option import PANELS
from ddlabel.data import formats


@pytest.mark.parametrize(
    ("command", "text"),
    [
        ("evaluate", "(only with --select val)"),
        ("evaluate", "(only with --select val or best-on-test or --curve)"),
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


@pytest.mark.parametrize("command", MODULES)
def test_help_has_80_columns_and_panels_in_order(cli, monkeypatch, command):
    monkeypatch.setenv("COLUMNS", "80")
    lines = cli(command, "--help").out.decode().splitlines()
    assert max(map(len, lines)) <= 80
    titles = [line.removesuffix(":") for line in lines if re.fullmatch(r"[A-Z][a-z ]+:", line)]
    panels = [title for title in titles if title != "Arguments"]
    assert panels == [panel for panel in PANELS if panel in panels]
    assert panels[-1] == "Output"


def test_an_option_stands_in_the_panel_of_the_class_that_declares_it():
    panels = EvaluateOptions.panels()
    wanted = {"loss": "Labels", "net": "Training", "test": "Testing", "device": "Machine"}
    assert {name: panels[name] for name in wanted} == wanted
    # A class that names no panel does not take that of the class which it extends.
    assert DescribeOptions.panels()["field"] == "Options"


SEVERAL = ["--loss", "soft-ce,kl:temperature=4", "--net", "convnet-d1", "--seeds", "2", "--curve"]


@pytest.mark.parametrize("words", [["evaluate", *SEVERAL], ["relabel", "a", "b.h5"]])
def test_print_config_is_a_config_file_for_the_same_options(cli, words):
    printed = cli(*words, "--print-config").out
    Path("printed.toml").write_bytes(printed)
    arguments = [] if words[0] == "evaluate" else words[1:]
    again = cli(words[0], *arguments, "--config", "printed.toml", "--print-config").out
    assert again == printed
    assert b"kl:temperature=4" in printed or words[0] != "evaluate"


def test_print_config_leaves_to_the_protocol_what_depends_on_the_bundle(cli):
    words = ["evaluate", "--protocol", "rded", "--net", "vgg11", "--print-config"]
    lines = cli(*words).out.decode().splitlines()
    printed = {line.partition(" = ")[0] for line in lines}
    assert {"net", "loss", "mix", "seeds"} <= printed
    assert not {"batch-size", "optimizer", "augment"} & printed


class Reached(BaseException):
    """A command line has been read, and its command is about to run."""


def example_of(shown: str) -> list[str]:
    """The words of the line `Example: ddlabel …` that ends a command's description."""
    description = re.split(r"\n\n[A-Z][a-z ]+:\n", shown)[0]
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
