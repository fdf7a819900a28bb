"""What README.md promises is there, and what is there stands in README.md."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from samples import make_bundle, with_arrays

from ddlabel.cli.app import app
from ddlabel.cli.inspect import KINDS
from ddlabel.data import formats
from ddlabel.data.schema import LabelMeta

README = (Path(__file__).parent.parent / "README.md").read_text()


def test_every_command_is_documented():
    commands = {command.name for command in app.registered_commands}
    assert len(commands) == 16
    assert {
        name for name in commands if f"`{name}" not in README and f"ddlabel {name}" not in README
    } == set()


@pytest.mark.parametrize("kind", KINDS)
def test_every_name_that_a_spec_can_have_is_documented(kind):
    import importlib

    module, name = KINDS[kind]
    names = list(getattr(importlib.import_module(module), name))
    assert [name for name in names if f"`{name}`" not in README] == []


def test_every_flag_in_the_readme_exists(cli):
    known = {"--nproc-per-node"}  # torchrun's
    for command in app.registered_commands:
        known |= set(re.findall(r"--[a-z][a-z-]+", cli(command.name, "--help").out.decode()))
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", README)) - known == set()


def test_the_library_snippet_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    formats.write("soft.safetensors", with_arrays(make_bundle(), soft=LabelMeta(space="logits")))
    snippet = re.search(r"```python\n(.*?)```", README, re.S)
    exec(compile(snippet[1], "README.md", "exec"), {})
    assert formats.read("refined.safetensors").soft.meta.space == "probs"
