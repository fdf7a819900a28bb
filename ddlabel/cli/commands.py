"""Registers every command, in the order in which a bundle passes through them."""

from __future__ import annotations

import typer

from ddlabel.cli import data, demo, evaluate, experts, inspect, labels


def register(app: typer.Typer) -> None:
    """Add all commands to the app."""
    for module in (data, experts, labels, evaluate, inspect, demo):
        module.register(app)
