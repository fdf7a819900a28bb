"""How the command line reports: data on standard output, words for people on standard error."""

import json
import sys
import time
from collections.abc import Iterable, Iterator, Sized
from dataclasses import dataclass, field
from typing import Any, TypeVar

from ddlabel.commands.reporter import Reporter
from ddlabel.core.errors import ClosedPipeError, StorageError
from ddlabel.core.ranks import RANK
from ddlabel.core.text import printable

T = TypeVar("T")
_SECONDS_BETWEEN_LINES = 30
# Piped, rich would squeeze a table into 80 columns.
_PIPED_WIDTH = 120


def progress_line(command: str, num_done: int, total: int | None, seconds: float) -> str:
    """Return how much is done after some seconds, at which rate, and how long the rest takes."""
    if total is None or not num_done:
        return f"{command}: {num_done} steps after {duration(seconds)}"
    rate = num_done / seconds
    rest = duration((total - num_done) / rate)
    return (
        f"{command}: {num_done} of {total} steps ({num_done / total:.0%}), {rate:.3g} a second, "
        f"{rest} left"
    )


def duration(seconds: float) -> str:
    """Return a duration for people: `0.3 s`, `42 s`, `12 min 5 s`, `3 h 20 min`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if not minutes:
        return f"{rest} s"
    hours, minutes_of_hour = divmod(minutes, 60)
    return f"{hours} h {minutes_of_hour} min" if hours else f"{minutes} min {rest} s"


@dataclass(frozen=True, kw_only=True)
class TerminalReporter(Reporter):
    """Report on the terminal. Under torchrun rank 0 alone reports."""

    command: str = ""
    quiet: bool = False
    as_json: bool = False
    started: float = field(default_factory=time.monotonic)

    def note(self, text: str) -> None:
        """Print a line for people."""
        if not self.quiet:
            self.warn(text)

    def warn(self, text: str) -> None:
        """Print a line for people, with --quiet too."""
        from rich.console import Console

        console = Console(stderr=True, highlight=False, soft_wrap=True)
        console.print(printable(text), markup=False)

    def done(self, what: str) -> None:
        """Print the last line for people: what was made, where, and how long it took."""
        self.note(f"{self.command}: {what} in {duration(time.monotonic() - self.started)}")

    def show(self, renderable: Any) -> None:
        """Print a table or another rich object for people."""
        from rich.console import Console

        if not self.quiet:
            width = None if sys.stderr.isatty() else _PIPED_WIDTH
            Console(stderr=True, width=width).print(renderable)

    def draw(self, text: str) -> None:
        """Print a text that draws a picture on the terminal, with its escape codes."""
        if not self.quiet and not self.as_json:
            print(text, file=sys.stderr, flush=True)

    def progress(self, steps: Iterable[T]) -> Iterable[T]:
        """Yield `steps` with a bar on a terminal, and with a line every 30 seconds elsewhere."""
        if self.quiet:
            return steps
        if not sys.stderr.isatty():
            return self._with_lines(steps)
        from tqdm import tqdm

        bar: Iterable[T] = tqdm(
            steps, desc=self.command, file=sys.stderr, leave=False, dynamic_ncols=True
        )
        return bar

    def _with_lines(self, steps: Iterable[T]) -> Iterator[T]:
        """Yield `steps`, and print how many of them are done every 30 seconds."""
        total = len(steps) if isinstance(steps, Sized) else None
        started = last_line = time.monotonic()
        for num_done, step in enumerate(steps):
            now = time.monotonic()
            if now - last_line >= _SECONDS_BETWEEN_LINES:
                last_line = now
                self.note(progress_line(self.command, num_done, total, now - started))
            yield step

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
