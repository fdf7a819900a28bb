"""A table of texts, shown on a terminal or written as Markdown, LaTeX or CSV.

Names of files and classes are data of strangers: every form escapes what has a meaning in it.
"""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass

from rich.markup import escape
from rich.table import Table

from ddlabel.core.text import printable

_LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "±": r"$\pm$",
    "−": "$-$",
    "×": r"$\times$",
    "–": "--",
}
_MARKDOWN = set("\\`*_[]<>|~&$")
# A spreadsheet reads a cell that begins with one of these as a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True, kw_only=True)
class TextTable:
    """A table.

    Attributes:
        title: What it shows, in a line.
        heads: The heads of the columns.
        rows: The cells of each row.
        num_names: The number of columns, from the left, that have names and not figures.
        notes: Lines below the table.
    """

    title: str
    heads: Sequence[str]
    rows: Sequence[Sequence[str]]
    num_names: int
    notes: Sequence[str] = ()

    def rich(self) -> Table:
        """Return the table for a terminal."""
        table = Table(title=escape(printable(self.title)))
        for number, head in enumerate(self.heads):
            text = escape(printable(head))
            justify = "left" if number < self.num_names else "right"
            # rich's own type of `justify` is private.
            table.add_column(text, justify=justify, overflow="fold")  # type: ignore[arg-type]
        for row in self.rows:
            table.add_row(*[escape(printable(cell)) for cell in row])
        table.caption = "\n".join(escape(printable(note)) for note in self.notes) or None
        return table

    def markdown(self) -> list[str]:
        """Return the lines of the table in Markdown, with the title before and the notes after."""
        rules = ["---" if number < self.num_names else "---:" for number in range(len(self.heads))]
        cells = [self.heads, rules, *self.rows]
        lines = [f"**{in_markdown(self.title)}**", ""]
        for number, row in enumerate(cells):
            texts = row if number == 1 else [in_markdown(cell) for cell in row]
            lines.append(f"| {' | '.join(texts)} |")
        for note in self.notes:
            lines += ["", in_markdown(note)]
        return lines

    def latex(self) -> list[str]:
        """Return the lines of a LaTeX table, with the title and the notes in its caption."""
        columns = "l" * self.num_names + "r" * (len(self.heads) - self.num_names)
        caption = " ".join(f"{_in_latex(text).rstrip('.')}." for text in (self.title, *self.notes))
        lines = [r"\begin{table}", r"\centering", rf"\caption{{{caption}}}"]
        lines += [rf"\begin{{tabular}}{{{columns}}}", r"\hline"]
        for number, row in enumerate([self.heads, *self.rows]):
            lines.append(" & ".join(map(_in_latex, row)) + r" \\")
            if number == 0:
                lines.append(r"\hline")
        return [*lines, r"\hline", r"\end{tabular}", r"\end{table}"]


def csv_lines(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    """Return the lines of a CSV file: numbers with six digits, and None as an empty cell.

    A text that a spreadsheet would take for a formula gets an apostrophe before it.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    for row in (heads, *rows):
        writer.writerow([_in_csv(cell) for cell in row])
    return text.getvalue().splitlines()


def _in_csv(cell: object) -> object:
    if isinstance(cell, float):
        return f"{cell:.6g}"
    if not isinstance(cell, str):
        return cell
    text = printable(cell)
    return f"'{text}" if cell.startswith(_FORMULA) else text


def in_markdown(text: str) -> str:
    """Return text as Markdown shows it, without a meaning in it."""
    return "".join(f"\\{each}" if each in _MARKDOWN else each for each in printable(text))


def _in_latex(text: str) -> str:
    return "".join(_LATEX.get(each, each) for each in printable(text))
