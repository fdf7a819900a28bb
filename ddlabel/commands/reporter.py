"""Where commands report what they do."""

from collections.abc import Iterable, Mapping
from typing import TypeVar

T = TypeVar("T")


class Reporter:
    """Report the progress of a command to people. This one is silent."""

    def note(self, text: str) -> None:
        """Report a line, or several."""

    def warn(self, text: str) -> None:
        """Report a line that is shown with --quiet too."""

    def numbers(self, series: str, step: int, values: Mapping[str, float]) -> None:
        """Report numbers by name of a training, the `series`, after a step or an epoch of it."""

    def progress(self, steps: Iterable[T]) -> Iterable[T]:
        """Yield `steps` and show how many of them are done."""
        return steps


SILENT = Reporter()
