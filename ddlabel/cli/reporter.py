"""How the command line reports: data on standard output, words for people on standard error."""

import json
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

from ddlabel.commands.reporter import Reporter
from ddlabel.core.errors import ClosedPipeError, StorageError
from ddlabel.core.ranks import RANK
from ddlabel.core.values import printable

T = TypeVar("T")
# Piped, rich would squeeze a table into 80 columns.
_PIPED_WIDTH = 120


@dataclass(frozen=True, kw_only=True)
class TerminalReporter(Reporter):
    """Report on the terminal. Under torchrun rank 0 alone reports."""

    quiet: bool = False
    as_json: bool = False

    def note(self, text: str) -> None:
        """Print a line for people."""
        if not self.quiet:
            self.warn(text)

    def warn(self, text: str) -> None:
        """Print a line for people, with --quiet too."""
        from rich.console import Console

        console = Console(stderr=True, highlight=False, soft_wrap=True)
        console.print(printable(text), markup=False)

    def show(self, renderable: Any) -> None:
        """Print a table or another rich object for people."""
        from rich.console import Console

        if not self.quiet:
            width = None if sys.stderr.isatty() else _PIPED_WIDTH
            Console(stderr=True, width=width).print(renderable)

    def progress(self, steps: Iterable[T]) -> Iterable[T]:
        """Yield `steps` with a progress bar, on a terminal only."""
        from tqdm import tqdm

        bar: Iterable[T] = tqdm(
            steps,
            file=sys.stderr,
            disable=True if self.quiet else None,
            leave=False,
            dynamic_ncols=True,
        )
        return bar

    def result(self, text: str | Iterable[str], value: Any) -> None:
        """Print the outcome: a line of text or several, or JSON with --json.

        Raises:
            ClosedPipeError: The reader of standard output is gone.
            StorageError: Standard output is closed, or its disk is full.
        """
        if RANK:
            return
        lines = [text] if isinstance(text, str) else text
        shown = json.dumps(value) if self.as_json else "\n".join(map(printable, lines))
        try:
            print(shown, flush=True)
        except BrokenPipeError:
            raise ClosedPipeError from None
        except OSError as error:
            reason = error.strerror or error
            raise StorageError(f"cannot write to standard output: {reason}") from error
