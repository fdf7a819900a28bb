"""`ddlabel/guide/reference.md` says what the code says."""

from __future__ import annotations

import re

import protocol_tables
from reference import KINDS, PAGE, commands, page


def test_reference_is_up_to_date():
    assert PAGE.read_text(encoding="utf-8") == page(), "run: python tests/reference.py"


def test_tables_of_protocols_are_up_to_date():
    written = protocol_tables.PAGE.read_text(encoding="utf-8")
    assert written == protocol_tables.page(), "run: python tests/reference.py"


def test_reference_lists_every_kind_of_name():
    (kind,) = [each for each in commands()["list"].params if each.name == "kind"]
    named = set(re.findall(r"[a-z]+", kind.help.partition(":")[2]))
    assert named == {*KINDS, "protocols"}


def test_reference_has_every_command_and_flag():
    text = PAGE.read_text(encoding="utf-8")
    sections = text.split("\n### ")
    for name, parser in commands().items():
        (section,) = [each for each in sections if each.startswith(f"`{name}`\n")]
        options = [each for each in parser.params if each.name != "help"]
        flags = [flag for each in options for flag in each.opts if flag.startswith("-")]
        assert [flag for flag in flags if f"`{flag}" not in section] == []
