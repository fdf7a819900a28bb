"""Every refusal of the command line: its exit code, its exact words, and that it leaves no file."""

from __future__ import annotations

import io
import json
import re
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
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
PYTHON = re.compile(
    r"<class|object at 0x|Traceback|\b(int|str|float|bool|tuple)\[|\w+\(.*=.*\)|\bNone\b"
)


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
    is_update = request.config.getoption("--update-refusals")
    # Workers would write one after another, each with its own part of the messages.
    assert not (is_update and hasattr(request.config, "workerinput")), "add -n 0"
    yield messages
    if is_update:
        refusals.write(replace(row, message=messages.get(row.id, row.message)) for row in ROWS)


def files_of(folder: Path) -> dict[str, tuple[int, int]]:
    """The time and the size of every file."""
    stats = {path: path.stat() for path in folder.rglob("*") if path.is_file()}
    return {
        str(path.relative_to(folder)): (stat.st_mtime_ns, stat.st_size)
        for path, stat in stats.items()
    }


@contextmanager
def same_files_after(folder: Path, row: Refusal) -> Iterator[None]:
    """Write the files of a row, and check that the folder is the same after the block."""
    before = files_of(folder)
    for name, content in row.files.items():
        Path(name).write_text(content, encoding="utf-8")
    try:
        yield
    finally:
        contents = {name: Path(name).read_text(encoding="utf-8") for name in row.files}
        for name in row.files:
            Path(name).unlink()
        after = files_of(folder)
        for name in after.keys() - before.keys():
            Path(name).unlink()
    assert contents == row.files
    left = {name for name in after if not row.leaves or not name.startswith(f"{row.leaves}/")}
    assert {name: after[name] for name in left} == before


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
    words = shlex.split(row.words)
    with same_files_after(room, row):
        printed = cli(*words, code=row.code).err.decode()
    message = message_of(printed, words).replace(str(room), "FOLDER")
    new_messages[row.id] = message
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
