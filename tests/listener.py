"""A reporter for tests."""

from __future__ import annotations

from ddlabel.commands.reporter import Reporter


class Listener(Reporter):
    """Keep what is reported."""

    def __init__(self):
        self.notes: list[str] = []
        self.warnings: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)

    def warn(self, text: str) -> None:
        self.warnings.append(text)
