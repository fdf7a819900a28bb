"""`info`: the header of a bundle. It needs no torch and reads no array."""

import json
from pathlib import Path
from typing import Any

from ddlabel.commands.command import command
from ddlabel.commands.execute import shapes_of
from ddlabel.data import formats
from ddlabel.data.bundle import Bundle
from ddlabel.data.provenance import shell_lines
from ddlabel.data.schema import Header


def header_value(header: Header) -> dict[str, Any]:
    """Return a header as JSON, with the shapes of the arrays and the commands of the history."""
    value: dict[str, Any] = json.loads(header.to_json())
    value["shapes"] = shapes_of(header)
    value["shell"] = shell_pipeline(header)
    return value


def shell_pipeline(header: Header) -> list[str]:
    """Return the command lines of a history, with a pipe at the end of all but the last."""
    lines = shell_lines(header.history)
    return [f"{line} |" for line in lines[:-1]] + lines[-1:]


@command("info", json_value=header_value)
def info(bundle: str | Path | Bundle) -> Header:
    """Return the header of a bundle: shapes, classes, label spaces and history.

    Raises:
        InvalidInputError: The file is missing, foreign, cut off or its header is damaged.
        UsageError: No format has its suffix.
    """
    if isinstance(bundle, Bundle):
        return bundle.header()
    return formats.read_header(str(bundle))
