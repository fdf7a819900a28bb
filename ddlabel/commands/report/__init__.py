"""`report`: the students in results files as one page, or as Markdown, LaTeX or CSV.

Where to find what: `content` says what the report says, with the `diagnostics` of the students;
`page` makes HTML of it, with `page.css`
and `page.js`; `files` makes the other forms. It needs no torch.
"""

import os
from pathlib import Path, PurePath
from typing import Any

from ddlabel.commands.command import command
from ddlabel.commands.compare import ResultsLike, read_observations
from ddlabel.commands.report.content import make_content
from ddlabel.commands.report.files import csv, latex, markdown
from ddlabel.commands.report.page import page
from ddlabel.commands.reporter import Reporter
from ddlabel.core.config import ReportOptions
from ddlabel.core.errors import UsageError
from ddlabel.data import atomic

_FORMATS = {".html": "html", ".md": "md", ".tex": "latex", ".csv": "csv"}


@command("report", ReportOptions)
def report(
    results: ResultsLike | list[ResultsLike],
    force: bool = False,
    *,
    options: ReportOptions,
    reporter: Reporter,
) -> dict[str, Any]:
    """Write a report of the students in results files.

    `results` is one path or object, or a list of them, as for `compare`. The page has what was run,
    tables that can be sorted, paired comparisons with pictures, curves, confusion and reliability
    where the records have them (`evaluate --curve --confusion --reliability`), and how each bundle
    was made. It is
    one file that needs no network. The same results give the same bytes. With `force` an existing
    file is replaced. Returns the path `out` and the numbers of students, rows and pairs.

    Raises:
        InvalidInputError: A file cannot be read, or has no students.
        UsageError: An option names something that the records do not have, or the suffix of `out`
            is unknown.
        OutputExistsError: The file exists, and `force` is not set.
        StorageError: The operating system refuses.
    """
    form, out = _form_and_path(options)
    atomic.check_output(out, force=force)
    observations = read_observations(results, reporter)
    content = make_content(observations, _names_of(results), options, reporter)
    if form == "html":
        text = page(content)
    else:
        lines = {
            "md": lambda: markdown(content),
            "latex": lambda: latex(content),
            "csv": lambda: csv(observations),
        }[form]()
        text = "\n".join(lines) + "\n"
    encoded = text.encode()
    atomic.write(out, [encoded], size=len(encoded), force=force)
    return {
        "out": out,
        "students": len(observations),
        "rows": len(content.intervals),
        "pairs": len(content.differences),
    }


def _form_and_path(options: ReportOptions) -> tuple[str, str]:
    """Return the form of the report and its path: each decides the other if only one is given."""
    suffixes = {form: suffix for suffix, form in _FORMATS.items()}
    if options.out is None:
        form = options.format or "html"
        return form, f"report{suffixes[form]}"
    suffix = PurePath(options.out).suffix.lower()
    if suffix not in _FORMATS:
        raise UsageError(
            f"--out {options.out}: expected one of {', '.join(_FORMATS)} as the suffix"
        )
    form = _FORMATS[suffix]
    if options.format not in (None, form):
        raise UsageError(
            f"--format {options.format} makes a {suffixes[options.format]} file and --out is "
            f"{options.out}: leave one of them out"
        )
    return form, options.out


def _names_of(results: ResultsLike | list[ResultsLike]) -> list[str]:
    """Return the names of the results files, without folders."""
    sources = results if isinstance(results, list | tuple) else [results]
    return [Path(source).name for source in sources if isinstance(source, str | os.PathLike)]
