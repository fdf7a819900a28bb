"""Reading Markdown pages in tests: code blocks, command lines, links."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
# The guide's pages that people write; reference.md is made from the code.
PAGES = sorted(
    path for path in (ROOT / "ddlabel" / "guide").glob("*.md") if path.name != "reference.md"
)
FIGURES = [ROOT / "ddlabel" / "recipes" / "RESULTS.md", ROOT / "tests" / "benchmarks" / "README.md"]


def code_blocks(page: str, language: str) -> list[str]:
    """Return the fenced code blocks of one language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", page, re.S | re.M)


def command_lines(page: str) -> Iterator[tuple[str, list[str]]]:
    """Give command and words of every `ddlabel` call in the shell blocks of a page."""
    for block in code_blocks(page, "sh") + code_blocks(page, "bash"):
        for line in block.replace("\\\n", " ").replace("|\n", "| ").splitlines():
            words = shlex.split(line, comments=True)
            starts = [place for place, word in enumerate(words) if word.endswith("ddlabel")]
            for start, end in pairwise([*starts, len(words)]):
                yield words[start + 1], words[start + 2 : end]


def flags(words: list[str]) -> set[str]:
    """Return the long options among the words of a command line."""
    return {word.partition("=")[0] for word in words if word.startswith("--")}


def links(page: str) -> list[str]:
    """Return the targets of links and pictures."""
    return re.findall(r"\]\(([^)\s]+)\)", page)


def anchors(page: str) -> set[str]:
    """Return the anchors of the headings, as GitHub makes them."""
    titles = re.findall(r"^#+ (.*)$", page, re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}
