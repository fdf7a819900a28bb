"""The fault suite: its figures, printed at the end of the run."""

from __future__ import annotations

import pytest

FIGURES: list[tuple[str, str]] = []


@pytest.fixture
def figure():
    """Report how often something was tried: `figure("append, the n-th call fails", tried=40)`."""

    def report(name: str, **counts: int) -> None:
        text = ", ".join(f"{count} {word.replace('_', ' ')}" for word, count in counts.items())
        FIGURES.append((name, text))

    return report


def pytest_terminal_summary(terminalreporter) -> None:
    if not FIGURES:
        return
    terminalreporter.section("figures of the fault suite")
    width = max(len(name) for name, _ in FIGURES)
    for name, text in FIGURES:
        terminalreporter.write_line(f"{name:<{width}}  {text}")
