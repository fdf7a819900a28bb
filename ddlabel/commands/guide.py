"""`guide`: the user's guide. It needs no torch."""

import re
from importlib import resources

from ddlabel.commands.command import command
from ddlabel.core.errors import UsageError
from ddlabel.core.registry import nearest

# The order in which a new user reads them.
_TOPICS = (
    "labels",
    "students",
    "results",
    "figures",
    "protocols",
    "import",
    "bundles",
    "doctor",
    "python",
    "scale",
    "errors",
    "security",
    "reference",
)


@command("guide")
def guide(topic: str | None = None) -> str:
    """Return a page of the guide as Markdown; without a topic, the list of topics.

    Raises:
        UsageError: There is no such topic.
    """
    if topic is not None:
        return read_page(topic)
    lines = [f"- **{name}**: {summary}" for name, summary in topics().items()]
    return "\n".join(["# Topics of the guide", "", *lines, ""])


def topics() -> dict[str, str]:
    """Return every topic with the first sentence of its page, in reading order."""
    return {topic: _first_sentence(read_page(topic)) for topic in _TOPICS}


def read_page(topic: str) -> str:
    """Return the page of a topic as Markdown text.

    Raises:
        UsageError: There is no such topic.
    """
    if topic not in _TOPICS:
        raise UsageError(f"there is no guide topic {topic!r}: {nearest(topic, _TOPICS)}")
    return (resources.files("ddlabel") / "guide" / f"{topic}.md").read_text(encoding="utf-8")


def names_in_specs(kind: str) -> list[str]:
    """Return the names of a kind of `ddlabel list`, such as `losses`.

    They are read from the page of all names, without importing torch as `list` does: a test
    compares the page with the code.
    """
    _, _, section = read_page("reference").partition(f"\n### {kind.capitalize()}\n")
    lines = section.partition("\n### ")[0].splitlines()
    return [re.split("[`:]", line)[1] for line in lines if line.startswith("- `")]


def _first_sentence(page: str) -> str:
    """Return the first sentence below the title of a page."""
    paragraph = page.split("\n\n")[1]
    words = " ".join(paragraph.split())
    return words.partition(". ")[0].rstrip(".") + "."
