"""Running one cell of a sweep, in this process or in one of Ray's."""

import contextlib
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ddlabel.commands.execute import run_command
from ddlabel.core.errors import DDLabelError
from ddlabel.data.provenance import canonical_json


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The result of a cell, or its error in one line, and how long it took in seconds."""

    result: Any = None
    seconds: float = 0.0
    error: str = ""


def run_cell(command: str, given: Mapping[str, Any], folder: str = ".") -> Outcome:
    """Run a cell in a folder. No exception leaves it."""
    started = time.perf_counter()
    try:
        with contextlib.chdir(folder):
            result = run_command(command, given)
        # A result that cannot be written to the record is an error of this cell alone.
        canonical_json([dict(given), result])
    except Exception as error:
        return Outcome(error=error_line(error))
    return Outcome(result=result, seconds=time.perf_counter() - started)


def error_line(error: Exception) -> str:
    """Return the first line of an error, after its type if it is not one of ours."""
    text = str(error) if isinstance(error, DDLabelError) else f"{type(error).__name__}: {error}"
    first_line = text.partition("\n")[0]
    # The message is written for the command line of the command.
    return first_line.replace("with --force", "with force = true in [options]")
