"""The user's guide: one Markdown page for each topic, shipped with the package."""

from importlib import resources

from ddlabel.core.errors import UsageError
from ddlabel.core.registry import nearest

# The order in which a new user reads them.
_TOPICS = (
    "labels",
    "students",
    "protocols",
    "bundles",
    "python",
    "scale",
    "errors",
    "reference",
)


def topics() -> dict[str, str]:
    """Return every topic with the first sentence of its page, in reading order."""
    return {topic: _first_sentence(read(topic)) for topic in _TOPICS}


def read(topic: str) -> str:
    """Return the page of a topic as Markdown text.

    Raises:
        UsageError: If there is no such topic. The message names the nearest one.
    """
    if topic not in _TOPICS:
        raise UsageError(f"there is no guide topic {topic!r}: {nearest(topic, _TOPICS)}")
    return resources.files(__name__).joinpath(f"{topic}.md").read_text(encoding="utf-8")


def _first_sentence(page: str) -> str:
    """Return the first sentence below the title of a page."""
    paragraph = page.split("\n\n")[1]
    words = " ".join(paragraph.split())
    return words.partition(". ")[0].rstrip(".") + "."
