"""Every option in Python, on the command line and in a TOML file: one name, default and value."""

from __future__ import annotations

import inspect
import re
from dataclasses import fields
from pathlib import Path

import pytest
from options import as_toml, as_words, value_of, with_companions
from samples import make_bundle

import ddlabel
from ddlabel.cli.command import app
from ddlabel.commands.command import MODULES, Command, load_command
from ddlabel.core import config_file
from ddlabel.core.options import Options
from ddlabel.data import formats

# What the public functions have beside their inputs and options.
SHARED_KEYWORDS = {"config", "options", "reporter"}
# The flags that are not options of a config.
SHARED_FLAGS = {"--config", "--print-config", "--quiet", "--json", "--help", "--force"}
# Flags of some commands that are not options of their configs.
OWN_FLAGS = {
    "train-expert": {"--plan"},
    "relabel": {"--plan"},
    "densify": {"--plan"},
    "evaluate": {"--plan"},
    "show": {"--out"},
}
# The inputs of each command that has options, in Python and as words.
INPUTS = {
    "import": ("few.safetensors", "out.safetensors"),
    "select": ("few.safetensors", "out.safetensors"),
    "train-expert": ("few.safetensors", "run"),
    "import-expert": ("weights.pth", "run"),
    "relabel": ("few.safetensors", "out.safetensors"),
    "densify": ("few.safetensors", "out.safetensors"),
    "learn": ("few.safetensors", "out.safetensors"),
    "refine": ("few.safetensors", "out.safetensors"),
    "edit": ("few.safetensors", "out.safetensors"),
    "compress": ("few.safetensors", "out.safetensors"),
    "describe": ("few.safetensors",),
    "compare": ("results.jsonl",),
    "report": ("results.jsonl",),
    "show": ("few.safetensors",),
    "doctor": ("few.safetensors",),
    "export": ("few.safetensors", "out"),
    "import-labels": ("few.safetensors", "labels.npy", "out.safetensors"),
    "evaluate": (),
    "sweep": ("grid.toml",),
}


def config_of(command: str) -> type[Options]:
    return load_command(command).config


def cases() -> list[tuple[str, str]]:
    return [
        (command, declared.name) for command in INPUTS for declared in fields(config_of(command))
    ]


class Captured(BaseException):
    """Carries the options of a command out of a call, before the command does anything."""


@pytest.fixture
def captured(tmp_path, monkeypatch):
    """Call something and return the options that the command would have been run with."""

    def stop(self, inputs, options, *args, **keywords):
        raise Captured(options)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Command, "run", stop)
    formats.write("few.safetensors", make_bundle())

    def call(function, *args, **keywords):
        with pytest.raises(Captured) as caught:
            function(*args, **keywords)
        return caught.value.args[0]

    return call


def shell(*words: str) -> None:
    app([*words], standalone_mode=False)


def option_names_of(function) -> dict[str, object]:
    """The defaults of a public function's keyword arguments that are options."""
    inputs = function.command.inputs
    return {
        name: parameter.default
        for name, parameter in inspect.signature(function).parameters.items()
        if name not in inputs and name not in SHARED_KEYWORDS
    }


def help_of(cli, command: str) -> dict[str, str]:
    """The text of every flag and argument in `ddlabel COMMAND --help`."""
    texts: dict[str, str] = {}
    name = ""
    for line in cli(command, "--help").out.decode().splitlines():
        entry = re.match(r"  (?:-\w, )?(--[\w-]+|[A-Z]+\b|\[[A-Z]+\])", line)
        if entry:
            name = entry[1].strip("[]")
            texts[name] = ""
        if name:
            texts[name] += f" {line.strip()}"
    return texts


def test_every_command_with_options_is_here():
    with_options = {command for command in MODULES if fields(config_of(command))}
    assert set(INPUTS) == with_options == set(config_file.commands())


def unspaced(text: str) -> str:
    """The text without spaces: help breaks lines at spaces and hyphens."""
    return "".join(text.split())


@pytest.mark.parametrize("command", INPUTS)
class TestNames:
    def test_python_has_the_options_of_the_config_with_their_defaults(self, command):
        function = getattr(ddlabel, MODULES[command])
        defaults = {declared.name: declared.default for declared in fields(config_of(command))}
        assert option_names_of(function) == defaults

    def test_help_has_the_flags_of_the_config(self, cli, command):
        config = config_of(command)
        texts = help_of(cli, command)
        flags = {name for name in texts if name.startswith("--")}
        arguments = {flag for flag in config.flags().values() if not flag.startswith("--")}
        assert (
            flags - SHARED_FLAGS - OWN_FLAGS.get(command, set())
            == set(config.flags().values()) - arguments
        )
        assert arguments <= texts.keys()

    def test_help_has_the_defaults_of_the_config(self, cli, command):
        config = config_of(command)
        texts = help_of(cli, command)
        for declared in fields(config):
            text = unspaced(texts[config.flags()[declared.name]])
            assert unspaced(declared.metadata["help"]) in text
            is_shown = (
                declared.default not in (None, ()) and config.types()[declared.name] is not bool
            )
            if is_shown:
                assert unspaced(f"(default: {declared.default})") in text


@pytest.mark.parametrize(("command", "name"), cases())
def test_value_gives_the_same_config_in_python_on_the_command_line_and_in_toml(
    captured, command, name
):
    config = config_of(command)
    declared = config.__dataclass_fields__[name]
    value = value_of(config, declared)
    given = with_companions(config, declared, value)
    inputs = INPUTS[command]
    function = getattr(ddlabel, MODULES[command])
    has_out = load_command(command).makes_bundle
    from_python = captured(function, *(inputs[:1] if has_out else inputs), **given)
    from_words = captured(shell, command, *inputs, *as_words(config, given))
    Path("run.toml").write_text(as_toml(command, given))
    from_toml = captured(shell, command, *inputs, "--config", "run.toml")
    configs = from_python if config.AXES else [from_python]
    assert [getattr(one, name) for one in configs] == [value]
    assert from_python == from_words == from_toml
