"""`guide`: the user's guide. It needs no torch."""

from ddlabel import guide as pages
from ddlabel.commands.command import command


@command("guide")
def guide(topic: str | None = None) -> str:
    """Return a page of the guide as Markdown; without a topic, the list of topics.

    Raises:
        UsageError: There is no such topic.
    """
    if topic is not None:
        return pages.read(topic)
    lines = [f"- **{name}**: {summary}" for name, summary in pages.topics().items()]
    return "\n".join(["# Topics of the guide", "", *lines, ""])
