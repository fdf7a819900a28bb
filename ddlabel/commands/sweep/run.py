"""Running one cell of a sweep, in this process or in one of Ray's."""

import contextlib
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ddlabel.commands.execute import Call, prepare_call
from ddlabel.core.errors import DDLabelError, OutputExistsError
from ddlabel.data.provenance import canonical_json


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The result of a cell, or its error in one line, and how long it took in seconds.

    The seconds are None where another sweep, or an earlier one that was killed, made the output.
    """

    result: Any = None
    seconds: float | None = None
    error: str = ""

    @property
    def duration(self) -> str:
        """How long it took, for people."""
        if self.seconds is None:
            return "made by another sweep, or by an earlier one that was killed"
        return f"{self.seconds:.1f} s"

    @property
    def cost(self) -> dict[str, Any]:
        """The cost of a record."""
        return {} if self.seconds is None else {"seconds": self.seconds}


def run_cell(command: str, given: Mapping[str, Any], folder: str = ".") -> Outcome:
    """Run a cell in a folder, unless its output is there already. No exception leaves it."""
    started = time.perf_counter()
    try:
        with contextlib.chdir(folder):
            result, is_adopted = _run_or_adopt(prepare_call(command, given))
        # A result that cannot be written to the record is an error of this cell alone.
        canonical_json([dict(given), result])
    except Exception as error:
        return Outcome(error=error_line(error))
    return Outcome(result=result, seconds=None if is_adopted else time.perf_counter() - started)


def _run_or_adopt(call: Call) -> tuple[Any, bool]:
    """Return the result of a cell, and whether an earlier or another sweep had made its output."""
    adopted = call.adopt()
    if adopted is not None:
        return adopted, True
    try:
        return call.run(), False
    except OutputExistsError:
        # Another sweep over the same grid can have been faster.
        adopted = call.adopt()
        if adopted is None:
            raise
        return adopted, True


def error_line(error: Exception) -> str:
    """Return the first line of an error, after its type if it is not one of ours."""
    text = str(error) if isinstance(error, DDLabelError) else f"{type(error).__name__}: {error}"
    first_line = text.partition("\n")[0]
    # The message is written for the command line of the command.
    return first_line.replace("with --force", "with force = true in [options]")
