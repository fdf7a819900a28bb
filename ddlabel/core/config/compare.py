"""Options of `compare`."""

from dataclasses import dataclass

from ddlabel.core.option import option
from ddlabel.core.options import Options


@dataclass(frozen=True, kw_only=True)
class RowOptions(Options):
    """Options of commands that show the students of results files."""

    by: str | None = option(
        None,
        "what makes a row, e.g. bundle,loss,net: bundle, ipc, test, teacher, role, any option of "
        "evaluate (default: all that differs between the records)",
    )
    baseline: tuple[str, ...] = option(
        (),
        "compare rows with this one only: NAME=VALUE, e.g. bundle=soft.safetensors; each row is "
        "paired with the row that has this value and is the same otherwise",
    )
    table: str | None = option(
        None, "show accuracies by two of these too, rows,columns, e.g. loss,optimizer"
    )


@dataclass(frozen=True, kw_only=True)
class CompareOptions(RowOptions):
    """`compare`: tables and paired differences of the students in results files."""

    table: str | None = option(
        None,
        "show accuracies by two of these instead, rows,columns, e.g. loss,optimizer",
        not_with="by",
    )
    paired: bool = option(
        default=False, help="compare every two rows, student by student of the same seed"
    )
    format: str | None = option(
        None,
        "print the tables as Markdown, LaTeX or CSV",
        choices=("md", "latex", "csv"),
    )
