"""The guide: its topics, how a topic is found, and what its pages may hold."""

from __future__ import annotations

import re

import pytest
from documents import PAGES

from ddlabel.commands.guide import read_page, topics
from ddlabel.core.errors import UsageError


def test_every_page_is_a_topic():
    assert sorted(topics()) == sorted([*(page.stem for page in PAGES), "reference"])


@pytest.mark.parametrize("topic", topics())
def test_a_topic_has_its_page_and_a_first_sentence(topic):
    page = read_page(topic)
    sentence = topics()[topic]
    assert page.startswith("# ")
    assert sentence.endswith(".")
    assert sentence.rstrip(".") in " ".join(page.split())


def test_an_unknown_topic_is_refused_with_the_nearest_one():
    with pytest.raises(UsageError, match="labels"):
        read_page("label")


@pytest.mark.parametrize("topic", ["../README", "labels.md", "", "."])
def test_a_topic_is_never_a_path(topic):
    with pytest.raises(UsageError):
        read_page(topic)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_pages_suit_a_terminal(page):
    """No HTML, which rich shows as text, and no picture; tables fit most terminals."""
    text = page.read_text()
    prose = re.sub(r"```.*?```|`[^`]*`", "", text, flags=re.S)
    assert re.findall(r"</?\w+[^>]*>|!\[", prose) == []
    assert [line for line in text.splitlines() if line.startswith("|") and len(line) > 92] == []
    assert [line for line in text.splitlines() if len(line) > 110] == []
    code = re.findall(r"```.*?```", text, re.S)
    # rich frames code with one blank on either side, and wraps it.
    assert [line for block in code for line in block.splitlines() if len(line) > 78] == []
