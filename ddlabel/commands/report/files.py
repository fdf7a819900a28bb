"""The report as Markdown, LaTeX and CSV."""

from collections.abc import Sequence

from ddlabel.commands.compare.observations import FIGURES, Observation
from ddlabel.commands.compare.rows import flag_name, varying
from ddlabel.commands.report.content import Content, Fact
from ddlabel.commands.text_table import csv_lines, in_markdown
from ddlabel.core.text import printable


def markdown(content: Content) -> list[str]:
    """Return the lines of the report in Markdown."""
    lines = [f"# {in_markdown(content.title)}", "", *_facts(content.facts), "", "## Accuracy"]
    for table in content.tables:
        lines += ["", *table.markdown()]
    if content.pairs is not None:
        lines += ["", "## Paired comparisons", "", *content.pairs.markdown()]
    lines += ["", "## How the bundles were made"]
    for history in content.histories:
        lines += ["", f"### {in_markdown(history.name)}", "", *_facts(history.facts)]
        # Four blanks make code, in which nothing has a meaning.
        lines += ["", *(f"    {printable(line)}" for line in history.lines)]
    return [*lines, "", "## How to read this page", "", *content.help]


def latex(content: Content) -> list[str]:
    """Return the lines of the tables in LaTeX."""
    tables = [*content.tables, *([content.pairs] if content.pairs else [])]
    lines: list[str] = []
    for table in tables:
        lines += [*table.latex(), ""]
    return lines[:-1]


def csv(observations: Sequence[Observation]) -> list[str]:
    """Return the lines of a CSV file with a line for each student: what differs, and figures."""
    names = varying(observations)
    rows: list[list[object]] = []
    for observation in observations:
        values = [observation.values.get(name) for name in names]
        figures = [observation.figures.get(name) for name in FIGURES]
        rows.append([*values, observation.seed, *figures])
    return csv_lines([*map(flag_name, names), "seed", *FIGURES], rows)


def _facts(facts: Sequence[Fact]) -> list[str]:
    return [f"- {in_markdown(fact.name)}: {in_markdown(fact.text)}" for fact in facts]
