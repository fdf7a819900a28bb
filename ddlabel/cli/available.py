"""`ddlabel list`."""

from typing import Annotated, Any

import typer

from ddlabel.cli.command import cli_command
from ddlabel.cli.reporter import TerminalReporter
from ddlabel.commands.available import KINDS, PROTOCOLS
from ddlabel.commands.command import load_command

_PROTOCOLS_PER_TABLE = 4
_TABLE_WIDTH = 160


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
        reporter.result(_protocol_tables(entries).split("\n"), value)
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


def _protocol_tables(contents: dict[str, dict[str, Any]]) -> str:
    """Return protocols as columns and their options as rows, a few protocols in each table."""
    from rich.console import Console

    rows = {name: _protocol_rows(content) for name, content in contents.items()}
    labels = list(dict.fromkeys(label for own in rows.values() for label in own))
    names = list(contents)
    console = Console(width=_TABLE_WIDTH)
    with console.capture() as text:
        for start in range(0, len(names), _PROTOCOLS_PER_TABLE):
            shown = names[start : start + _PROTOCOLS_PER_TABLE]
            console.print(_protocol_table(shown, rows, labels, contents))
    return text.get()


def _protocol_rows(content: dict[str, Any]) -> dict[str, Any]:
    """Return the source, the note and the options of a protocol."""
    texts = {name: content.get(name, "–") for name in ("source", "note")}
    options: dict[str, Any] = content.get("evaluate") or content["train-expert"]
    return texts | options


def _protocol_table(
    names: list[str], rows: dict[str, Any], labels: list[str], contents: dict[str, Any]
) -> Any:
    from rich.table import Column, Table

    table = Table("", *(Column(name, overflow="fold") for name in names))
    for label in labels:
        table.add_row(label, *(str(rows[name].get(label, "–")) for name in names))
    by_network = []
    for name in names:
        networks = contents[name].get("net", {})
        lines = [f"{network}: {options['optimizer']}" for network, options in networks.items()]
        by_network.append("\n".join(lines))
    table.add_row("by network", *by_network)
    return table
