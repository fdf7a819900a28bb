"""Every refusal of the command line: its exit code, its exact words, and that it leaves no file."""

from __future__ import annotations

import io
import json
import re
import shlex
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import refusals
from refusal_files import save_all
from refusals import Refusal

from ddlabel.commands.command import MODULES
from ddlabel.core.errors import DDLabelError

ROWS = refusals.read()
# Traces of Python in a message: a name of a module or a class, an object, a traceback.
PYTHON = re.compile(r"<class|object at 0x|Traceback|\b(int|str|float|bool|tuple)\[|\w+\(.*=.*\)|\bNone\b")


@pytest.fixture(scope="session")
def room(tmp_path_factory) -> Path:
    """A folder with all files that the rows name."""
    folder = tmp_path_factory.mktemp("refusals")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        save_all()
    return folder


@pytest.fixture(scope="session")
def new_messages(request) -> Iterator[dict[str, str]]:
    """The messages of this run by row, which replace those of the table with --update-refusals."""
    messages: dict[str, str] = {}
    yield messages
    if request.config.getoption("--update-refusals"):
        refusals.write(replace(row, message=messages.get(row.id, row.message)) for row in ROWS)


def snapshot(folder: Path) -> dict[Path, tuple[int, int]]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in files}


def message_of(printed: str, words: list[str]) -> str:
    """The one line that says what is wrong."""
    last = printed.splitlines()[-1]
    if "--json" in words:
        return json.loads(last)["error"]
    assert last.startswith("error: ")
    assert printed.count("error: ") == 1
    return last.removeprefix("error: ")


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)
def test_refusal(row: Refusal, cli, room, monkeypatch, new_messages, request):
    monkeypatch.chdir(room)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(row.stdin.encode())))
    for name, content in row.files.items():
        Path(name).write_text(content, encoding="utf-8")
    before = snapshot(room)
    words = shlex.split(row.words)
    try:
        printed = cli(*words, code=row.code).err.decode()
        after = snapshot(room)
    finally:
        for name in row.files:
            Path(name).unlink()
    message = message_of(printed, words).replace(str(room), "FOLDER")
    new_messages[row.id] = message
    assert after == before
    if not request.config.getoption("--update-refusals"):
        assert message == row.message


def test_names_are_different():
    assert len({row.id for row in ROWS}) == len(ROWS)


def test_every_command_that_takes_an_argument_has_a_refusal():
    assert {row.command for row in ROWS} - {"ddlabel"} == set(MODULES)


def test_every_exit_code_of_an_error_has_a_refusal():
    codes = {error.exit_code for error in DDLabelError.__subclasses__()} - {0}
    assert {row.code for row in ROWS} == codes


def test_messages_are_one_line_without_traces_of_python():
    suspect = [
        row.id
        for row in ROWS
        if not row.message.isprintable() or not row.message or PYTHON.search(row.message)
    ]
    assert suspect == []
