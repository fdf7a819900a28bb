"""The fault suite: its figures are printed at the end of the run, see tests/conftest.py."""

from __future__ import annotations

import pytest


@pytest.fixture
def figure(record_property):
    """Report how often something was tried: `figure("append, the n-th call fails", tried=40)`."""

    def report(name: str, **counts: int) -> None:
        text = ", ".join(f"{count} {word.replace('_', ' ')}" for word, count in counts.items())
        record_property("figure", (name, text))

    return report
