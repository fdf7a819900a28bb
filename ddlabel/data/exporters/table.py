"""Labels as a table of text."""

from ddlabel.core.config import ExportOptions
from ddlabel.data import atomic
from ddlabel.data.bundle import Bundle
from ddlabel.data.exporters.labels import csv_lines
from ddlabel.data.exporters.registry import exporters


@exporters.add("csv", keeps=("order", "class names", "hard", "soft"), suffixes=(".csv",))
def write(bundle: Bundle, path: str, options: ExportOptions) -> None:  # noqa: ARG001
    """A table of labels (CSV): a line for each image with its class and its probabilities."""
    atomic.write(path, csv_lines(bundle), size=0)
