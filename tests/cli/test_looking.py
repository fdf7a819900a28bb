"""`ddlabel info`, `check`, `list` and `guide`: what they print."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from record_samples import student
from samples import make_bundle
from typer.testing import CliRunner

from ddlabel.cli import available as list_command
from ddlabel.cli import guide as guide_command
from ddlabel.cli.command import app
from ddlabel.commands.guide import read_page, topics
from ddlabel.data import formats


def test_info_shows_labels_and_the_commands_that_made_the_bundle(cli, digits):
    cli("relabel", "few.safetensors", "soft.safetensors", "--expert", "expert", "--epoch", 1)
    lines = cli("info", "soft.safetensors").out.decode().splitlines()
    assert lines[0] == "images       20 of 1 × 8 × 8, uint8"
    (soft,) = [line for line in lines if line.startswith("soft ")]
    assert "10 logits as float32" in soft
    assert "from expert@1" in soft
    commands = lines[lines.index("made by") + 1 :]
    assert [line.split()[1] for line in commands] == ["import", "select", "relabel"]


def test_info_shows_an_expert_run(cli, digits):
    lines = cli("info", "expert").out.decode().splitlines()
    assert lines[0] == "expert run   expert (complete)"
    assert lines[4] == "checkpoints  4"
    assert lines[5].startswith("    epoch 0.5: ")
    value = json.loads(cli("info", "expert", "--json").out)
    assert [each["epoch"] for each in value[0]["checkpoints"]] == [0.5, 1, 1.5, 2]


def test_info_shows_a_results_file(cli):
    first, second = student(), student(seed=1, result={"accuracy": 0.25})
    Path("r.jsonl").write_text(f"{first.to_json()}\n{second.to_json()}\n")
    printed = cli("info", "r.jsonl").out.decode()
    assert "2 records of kind student" in printed
    assert "37.5 % on average" in printed
    assert len(json.loads(cli("info", "r.jsonl", "--json").out)) == 2


def test_info_says_how_a_foreign_source_is_read(cli):
    np.savez("set.npz", images=np.zeros((2, 8, 8), np.uint8), labels=np.array([0, 1]))
    lines = cli("info", "set.npz").out.decode().splitlines()
    assert lines == [
        "a NumPy archive (--format npz)",
        "read it with  ddlabel import set.npz OUT",
        "it asks for --pixels and --normalise if the pixels are no bytes",
    ]


def test_info_shortens_a_long_list_of_classes(cli):
    formats.write("many.h5", make_bundle(images=15, classes=15))
    (classes,) = [
        line for line in cli("info", "many.h5").out.decode().splitlines() if "class 0" in line
    ]
    assert classes.startswith("classes      15: ")
    assert classes.endswith("class 11, … 3 more")


def test_names_of_classes_cannot_steer_the_terminal(cli):
    formats.write("red.h5", replace(make_bundle(), classes=("a", "\x1b[31mred", "c")))
    for words in (["info", "red.h5"], ["info", "red.h5", "--json"]):
        assert b"\x1b" not in cli(*words).out


def test_check_prints_the_digest(cli):
    header = formats.write("a.h5", make_bundle())
    assert cli("check", "a.h5").out.decode() == f"a.h5: sound, {header.digest}\n"
    expected = {"sound": True, "digest": header.digest}
    assert json.loads(cli("check", "a.h5", "--json").out) == expected


def test_list_shows_a_spec_with_all_defaults_and_a_summary(cli):
    lines = cli("list", "losses").out.decode().splitlines()
    assert "kl:temperature=1.0,scale=true" in lines
    entries = json.loads(cli("list", "losses", "--json").out)
    assert len(lines) == 2 * len(entries)
    assert {entry.keys() == {"name", "options", "summary"} for entry in entries} == {True}


def test_list_of_protocols_has_every_protocol(cli):
    contents = json.loads(cli("list", "protocols", "--json").out)
    shown = cli("list", "protocols").out.decode()
    assert all(name in shown for name in contents)


def test_list_of_an_unknown_kind_names_the_nearest(cli):
    assert b"losses" in cli("list", "loses", code=2).err


def test_guide_without_a_topic_lists_the_topics(cli):
    shown = cli("guide").out.decode()
    assert all(f"**{topic}**" in shown for topic in topics())


def test_guide_prints_plain_markdown_into_a_pipe(cli):
    assert cli("guide", "labels").out.decode() == f"{read_page('labels')}\n"
    assert json.loads(cli("guide", "labels", "--json").out) == read_page("labels")


def test_guide_draws_the_page_on_a_terminal(monkeypatch, capsys):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    app(["guide", "labels"], standalone_mode=False)
    shown = capsys.readouterr().out
    title = read_page("labels").partition("\n")[0]
    # Drawn, a title is a frame or bold, and no longer begins with its sign.
    assert title.removeprefix("# ") in shown
    assert title not in shown


def test_guide_of_an_unknown_topic_names_the_nearest(cli):
    assert b"labels" in cli("guide", "label", code=2).err


@pytest.mark.parametrize(
    ("words", "expected"),
    [("ddlabel guide sc", {"scale"}), ("ddlabel list los", {"losses"})],
)
def test_topics_and_kinds_are_completed_by_the_shell(words, expected):
    environment = {
        "_DDLABEL_COMPLETE": "complete_zsh",
        "_TYPER_COMPLETE_ARGS": words,
        "_TYPER_COMPLETE_TESTING": "True",
    }
    done = CliRunner().invoke(app, [], prog_name="ddlabel", env=environment)
    completed = {word for word in (*topics(), *list_command.KINDS) if f'"{word}"' in done.stdout}
    assert completed == expected


def test_completion_has_the_first_sentence_of_each_page():
    assert dict(guide_command._complete("")) == topics()
