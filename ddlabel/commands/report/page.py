"""The report as one page of HTML that needs no network."""

import base64
import hashlib
import re
from collections.abc import Sequence
from importlib import resources

from ddlabel.commands.report.content import Content, Fact, History
from ddlabel.commands.report.diagnostics import Diagnostics, confusion_table
from ddlabel.commands.text_table import TextTable
from ddlabel.figures.class_charts import MOST_CLASSES, matrix_chart, reliability_chart
from ddlabel.figures.interval_chart import Interval, interval_chart
from ddlabel.figures.line_chart import legend, line_chart
from ddlabel.figures.markup import Markup, element, joined

# The number of lines of a chart that a reader can take in.
_MOST_INTERVALS = 60
_CURVES = (
    "Means over the students of a row. An epoch at which one of them has no number interrupts the "
    "line. The axes of loss and gradient norm are logarithmic."
)
_CONFUSION = (
    "Each field has the per cent of the test images of its true class (line) that are taken for "
    "the predicted class (column), of all students of a row. A darker field has more."
)
_RELIABILITY = (
    "Bars show the share of right predictions by the confidence of the student; the dots are at "
    "the mean confidence of each bin. On the dashed line confidence is as large as accuracy."
)
_NUMBER = re.compile(r"[-+]?\d+(\.\d+)?(e[-+]?\d+)?")


def page(content: Content) -> str:
    """Return the whole page. The same content gives the same bytes.

    Its policy forbids every connection, and every style and script but those of the page.
    """
    style, script = _resource("page.css"), _resource("page.js")
    policy = (
        f"default-src 'none'; style-src '{_hash(style)}'; script-src '{_hash(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    # Elements without content have no end tag.
    metas = [
        '<meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
    ]
    head = element(
        "head",
        *map(Markup, metas),
        element("title", content.title),
        element("style", Markup(style)),
    )
    body = element("body", *_sections(content), element("script", Markup(script)))
    document = element("html", Markup("\n"), head, Markup("\n"), body, Markup("\n"), lang="en")
    return f"<!DOCTYPE html>\n{document}\n"


def _resource(name: str) -> str:
    """Return a file of this folder."""
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    """Return the hash by which a policy names a style or a script."""
    digest = hashlib.sha256(text.encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"


def _sections(content: Content) -> list[Markup]:
    parts = [
        element("h1", content.title),
        _section("What was run", _facts(content.facts)),
        _section("Accuracy", _chart(content.intervals, "accuracy %"), *map(_table, content.tables)),
    ]
    if content.pairs is not None:
        chart = _chart(content.differences, content.unit, with_zero=True)
        parts.append(_section("Paired comparisons", chart, _table(content.pairs)))
    parts += _diagnostics(content.diagnostics)
    histories = [_history(history) for history in content.histories]
    parts.append(_section("How the bundles were made", *histories))
    parts.append(_section("How to read this page", *(element("p", text) for text in content.help)))
    return [joined(Markup("\n"), part) for part in parts]


def _diagnostics(found: Diagnostics) -> list[Markup]:
    """Return sections of curves, confusion matrices and reliability diagrams that there are."""
    more = None
    if found.num_more:
        more = element("p", f"{found.num_more} more rows are not drawn", class_="note")
    sections = []
    if found.curves:
        charts = [
            line_chart(each.lines, title=each.title, is_log=each.is_log) for each in found.curves
        ]
        panels = element("div", *charts, class_="panels")
        sections.append(
            _section("Curves", element("p", _CURVES), legend(found.curves[0].lines), panels, more)
        )
    if found.confusions:
        matrices = [
            matrix_chart(counts, title=name)
            for name, counts in found.confusions.items()
            if len(counts) <= MOST_CLASSES
        ]
        table = confusion_table(found.confusions)
        panels = element("div", *matrices, class_="panels")
        about = element("p", _CONFUSION)
        parts = [about, panels, None if table is None else _table(table), more]
        sections.append(_section("Confusion", *parts))
    if found.reliabilities:
        diagrams = [
            reliability_chart(bins, title=name) for name, bins in found.reliabilities.items()
        ]
        panels = element("div", *diagrams, class_="panels")
        sections.append(_section("Reliability", element("p", _RELIABILITY), panels, more))
    return sections


def _section(title: str, *children: Markup | None) -> Markup:
    return element("section", element("h2", title), *children)


def _facts(facts: Sequence[Fact]) -> Markup:
    pairs = [joined(element("dt", fact.name), element("dd", fact.text)) for fact in facts]
    return element("dl", *pairs)


def _chart(intervals: Sequence[Interval], unit: str, *, with_zero: bool = False) -> Markup:
    chart = interval_chart(intervals[:_MOST_INTERVALS], unit=unit, with_zero=with_zero)
    num_more = len(intervals) - _MOST_INTERVALS
    if num_more <= 0:
        return chart
    return joined(chart, element("p", f"{num_more} more are in the table", class_="note"))


def _table(table: TextTable) -> Markup:
    """Return a table that the script makes sortable, with its title and its notes."""
    kinds = ["name" if number < table.num_names else "number" for number in range(len(table.heads))]
    heads = [
        element("th", head, class_=kind, scope="col")
        for head, kind in zip(table.heads, kinds, strict=True)
    ]
    rows = []
    for row in table.rows:
        cells = [
            _cell(text, kind, head)
            for text, kind, head in zip(row, kinds, table.heads, strict=True)
        ]
        rows.append(joined(Markup("\n"), element("tr", *cells)))
    grid = element(
        "table",
        element("thead", element("tr", *heads)),
        element("tbody", *rows),
        class_="sortable",
    )
    notes = [element("p", note, class_="note") for note in table.notes]
    return joined(element("h3", table.title), element("div", grid, class_="scroll"), *notes)


def _cell(text: str, kind: str, head: str) -> Markup:
    """Return a cell. It has its head, for narrow windows, and the number by which it is sorted."""
    number = _NUMBER.search(text) if kind == "number" else None
    value = number[0] if number else None
    return element("td", text, class_=kind, data_head=head, data_value=value)


def _history(history: History) -> Markup:
    return joined(
        element("h3", history.name),
        _facts(history.facts),
        element("pre", "") if not history.lines else _lines(history.lines),
    )


def _lines(lines: Sequence[str]) -> Markup:
    """Return lines of code. Words are kept whole: a line would break at the dash of an option."""
    parts: list[Markup] = []
    for line in lines:
        words = [element("span", word, class_="word") for word in line.split(" ")]
        parts += [Markup(" ".join(words)), Markup("\n")]
    return element("pre", *parts[:-1])
