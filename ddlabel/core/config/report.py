"""Options of `report`."""

from dataclasses import dataclass

from ddlabel.core.config.compare import RowOptions
from ddlabel.core.option import OUTPUT, option


@dataclass(frozen=True, kw_only=True)
class ReportOptions(RowOptions):
    """`report`: the students in results files as a page, or in another form."""

    format: str | None = option(
        None,
        "form of the report (default: that of the suffix of --out, else html)",
        choices=("html", "md", "latex", "csv"),
        recorded=False,
        panel=OUTPUT,
    )
    out: str | None = option(
        None,
        "file to write: .html, .md, .tex or .csv (default: report.html, or as --format says)",
        recorded=False,
        panel=OUTPUT,
    )
