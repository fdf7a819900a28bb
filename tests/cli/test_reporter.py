"""What people read on standard error while a command works, and at its end."""

from __future__ import annotations

import json

import pytest
from samples import make_bundle

from ddlabel.cli import reporter
from ddlabel.cli.command import shown_shapes
from ddlabel.cli.reporter import TerminalReporter, duration, progress_line
from ddlabel.data import formats


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0.04, "0.0 s"),
        (9.94, "9.9 s"),
        (42.4, "42 s"),
        (59.6, "1 min 0 s"),
        (725, "12 min 5 s"),
        (12_000, "3 h 20 min"),
    ],
)
def test_duration_is_written_for_people(seconds, shown):
    assert duration(seconds) == shown


def test_progress_line_has_share_rate_and_time_left():
    line = progress_line("relabel", 25, 100, 50.0)
    assert line == "relabel: 25 of 100 steps (25%), 0.5 a second, 2 min 30 s left"


def test_a_line_comes_every_30_seconds_where_there_is_no_terminal(capsys, monkeypatch):
    clock = iter(range(0, 1000, 10))
    monkeypatch.setattr(reporter.time, "monotonic", lambda: next(clock))
    told = TerminalReporter(command="densify", started=0)
    assert list(told.progress(range(8))) == list(range(8))
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "densify: 2 of 8 steps (25%), 0.0667 a second, 1 min 30 s left",
        "densify: 5 of 8 steps (62%), 0.0833 a second, 36 s left",
    ]


def test_quiet_steps_have_no_lines(capsys, monkeypatch):
    monkeypatch.setattr(reporter, "_SECONDS_BETWEEN_LINES", 0)
    assert list(TerminalReporter(quiet=True).progress(range(3))) == [0, 1, 2]
    assert capsys.readouterr().err == ""


def test_last_line_says_what_was_made_where_and_how_long_it_took(cli):
    formats.write("few.h5", make_bundle())
    printed = cli("select", "few.h5", "two.h5", "--ipc", 2)
    last = printed.err.decode().splitlines()[-1]
    assert last.startswith("select: wrote 6 images with soft labels to two.h5 in ")
    assert printed.out == b"two.h5\n"
    assert cli("select", "few.h5", "one.h5", "--ipc", 1, "--quiet").err == b""
    json.loads(cli("select", "few.h5", "more.h5", "--ipc", 1, "--json").out)


@pytest.mark.parametrize(
    ("shapes", "shown"),
    [
        ({"images": [5, 3, 8, 8]}, "5 images with hard labels"),
        ({"images": [5, 3, 8, 8], "soft_labels": [5, 3]}, "5 images with soft labels"),
        (
            {"images": [5, 3, 8, 8], "soft_labels": [5, 3], "dense_labels": [5, 25, 3]},
            "5 images with soft labels and 25 dense labels each",
        ),
    ],
)
def test_shapes_are_told_in_words(shapes, shown):
    assert shown_shapes(shapes) == shown
