"""README.md, guide and figures: what they name exists, and what exists is named."""

from __future__ import annotations

import re

import pytest
from documents import (
    FIGURES,
    PAGES,
    README,
    ROOT,
    anchors,
    code_blocks,
    command_lines,
    flags,
    links,
)
from reference import KINDS, commands, names

from ddlabel.core import protocols

DOCUMENTS = [README, *PAGES, *FIGURES]
GUIDE = "\n".join(page.read_text() for page in PAGES)
TORCHRUN = {"--nproc-per-node"}
BENCHMARKS = {"--out", "--help", "--data", "--dry", "--minutes"}
# Small enough for a test; the README's own numbers take minutes.
QUICK = 'seeds=2, epochs=1, net="convnet-d1:width=4", precision="fp32"'
by_document = pytest.mark.parametrize(
    "path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT))
)


def known_flags(command: str) -> set[str]:
    parser = commands()[command]
    names = [name for each in parser.params for name in (*each.opts, *each.secondary_opts)]
    return {name for name in names if name.startswith("--")} | {"--help"}


def test_readme_has_at_most_150_lines():
    assert len(README.read_text().splitlines()) <= 150


def test_readme_has_the_test_command_between_its_markers():
    text = README.read_text()
    marked = re.search(r"<!-- test-command -->\n```sh\n(.*?)\n```\n<!-- /test-command -->", text)
    assert marked is not None
    assert marked[1].endswith(".venv/bin/pip install -e '.[test]' && .venv/bin/pytest")


def test_every_command_is_documented():
    text = README.read_text() + GUIDE
    missing = [
        name for name in commands() if f"`{name}`" not in text and f"ddlabel {name}" not in text
    ]
    assert missing == []


@by_document
def test_every_command_line_names_a_command_and_its_flags(path):
    for command, words in command_lines(path.read_text()):
        assert command in commands(), command
        assert flags(words) <= known_flags(command), (command, words)


@by_document
def test_every_flag_in_the_text_exists(path):
    known = TORCHRUN | BENCHMARKS
    for command in commands():
        known |= known_flags(command)
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", path.read_text()))
    assert named <= known


@pytest.mark.parametrize("name", protocols.names())
def test_every_flag_in_a_protocols_notes_exists(name):
    protocol = protocols.read(name)
    texts = [protocol.note]
    for difference in protocol.differences:
        texts += [difference.ours, difference.why]
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", " ".join(texts)))
    known = set().union(*(known_flags(command) for command in commands()))
    assert named <= known


@pytest.mark.parametrize("kind", KINDS)
def test_every_name_that_a_spec_can_have_is_in_the_guide(kind):
    assert [name for name in names(kind) if f"`{name}`" not in GUIDE] == []


@by_document
def test_links_point_to_existing_files_and_headings(path):
    for target in links(path.read_text()):
        if target.startswith("https://"):
            continue
        file, _, anchor = target.partition("#")
        linked = path.parent / file if file else path
        assert linked.exists(), target
        assert not anchor or anchor in anchors(linked.read_text()), target


def test_the_python_lines_of_the_readme_run(digits, monkeypatch):
    monkeypatch.chdir(digits)
    (block,) = code_blocks(README.read_text(), "python")
    # Digits of 8 px have no room for 25 views.
    lines = block.replace("seeds=5", QUICK).replace("n=5,r=0.625", "n=2,r=0.75")
    assert lines != block
    variables: dict = {}
    exec(compile(lines, "README.md", "exec"), variables)
    assert len(variables["result"].cells) == 2
    assert (digits / "views.safetensors").exists()
    # An item for each image, and one for each of its views, four here.
    assert len(variables["dataset"]) == len(variables["few"]) * 5
