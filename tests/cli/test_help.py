"""What `--help` says about options."""

from __future__ import annotations

import pytest


@pytest.mark.parametrize(
    ("command", "text"),
    [
        ("evaluate", "(only with --select val)"),
        ("evaluate", "(only with --select val or best-on-test)"),
        ("evaluate", "(not with --labels hard or --dense-loss)"),
        ("evaluate", "(online only with --teacher)"),
        ("evaluate", "(only with BUNDLE)"),
        ("relabel", "(only with --epoch auto or --temperature auto)"),
        ("relabel", "(auto only with --real)"),
        ("sweep", "(only with --ray)"),
    ],
)
def test_help_says_which_options_go_together(cli, command, text):
    shown = cli(command, "--help").out.decode()
    assert text in " ".join(shown.split())
