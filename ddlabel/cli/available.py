"""`ddlabel list`."""

from typing import Annotated, Any

import typer

from ddlabel.cli.command import cli_command
from ddlabel.cli.reporter import TerminalReporter
from ddlabel.commands.available import KINDS, PROTOCOLS
from ddlabel.commands.command import load_command
from ddlabel.core.protocols import Protocol


def _complete(typed: str) -> list[str]:
    return [kind for kind in KINDS if kind.startswith(typed)]


_Kind = Annotated[
    str,
    typer.Argument(metavar="KIND", help=f"one of: {', '.join(KINDS)}", autocompletion=_complete),
]


@cli_command("list")
def available(kind: _Kind, *, reporter: TerminalReporter) -> None:
    """List the names that a spec can have, with their options and defaults.

    Example: ddlabel list losses
    """
    command = load_command("list")
    entries = command.run({"kind": kind}, None, reporter)
    value = command.json_value(entries)
    if kind == PROTOCOLS:
        lines = []
        for protocol in entries.values():
            lines += _protocol_lines(protocol)
        reporter.result(lines, value)
        return
    lines = []
    for entry in entries:
        lines += [_spec(entry.name, entry.options), f"    {entry.summary}"]
    reporter.result(lines, value)


def _spec(name: str, options: dict[str, Any]) -> str:
    """Return a spec with all defaults: `kl:temperature=1.0,scale=true`."""
    if not options:
        return name
    settings = [f"{key.replace('_', '-')}={_setting(value)}" for key, value in options.items()]
    return f"{name}:{','.join(settings)}"


def _setting(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return "/".join(f"{part:.4g}" for part in value)
    return str(value)


def _protocol_lines(protocol: Protocol) -> list[str]:
    """Return a protocol's source, its presets, those that depend on conditions, and its note."""
    lines = [f"{protocol.name}: {protocol.source}"]
    lines += [f"    {setting}" for setting in _settings(protocol.options)]
    for row in protocol.rows:
        lines.append(f"    with {row.condition()}: {' '.join(_settings(row.set))}")
    lines.append(f"    {protocol.note}")
    return lines


def _settings(options: dict[str, Any]) -> list[str]:
    """Return options as the command line takes them."""
    return [f"--{name.replace('_', '-')} {value}" for name, value in options.items()]
