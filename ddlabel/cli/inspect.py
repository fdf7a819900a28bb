"""`info`, `check` and `list`: looking, not changing."""

import importlib
import json
from dataclasses import asdict
from typing import Annotated, Any

import typer

from ddlabel import formats, protocols
from ddlabel.cli.command import BundleIn, Say, command, figures_line, shapes
from ddlabel.errors import UsageError
from ddlabel.header import Header
from ddlabel.provenance import shell_lines

KINDS = {
    "losses": ("ddlabel.losses", "losses"),
    "optimizers": ("ddlabel.optim", "optimizers"),
    "schedules": ("ddlabel.optim", "schedules"),
    "augmentations": ("ddlabel.augment", "augmentations"),
    "mixes": ("ddlabel.mixing", "mixes"),
    "nets": ("ddlabel.nets", "nets"),
}
Stats = Annotated[bool, typer.Option("--stats", help="read the labels too: accuracy and entropy")]
Kind = Annotated[str, typer.Argument(metavar="KIND", help=f"one of: {', '.join(KINDS)}, protocols")]


@command("info")
def info(bundle: BundleIn, say: Say, stats: Stats = False) -> None:
    """Show a bundle's header: shapes, classes, label spaces, and the commands that made it."""
    figures = {}
    if stats:
        from ddlabel.steps.relabel import label_figures

        content, header = formats.load(bundle)
        figures = {field: label_figures(content, field) for field in ("soft", "dense") if getattr(header, field)}
    else:
        header = formats.read_header(bundle)
    value = {**json.loads(header.to_json()), "shapes": shapes(header), "shell": _shell(header)}
    say.data(_text(header, figures), value | ({"stats": figures} if figures else {}))


@command("check")
def check(bundle: BundleIn, say: Say) -> None:
    """Verify a bundle: container, header, every digest, every number."""
    _, header = formats.load(bundle)
    say.data(f"{bundle}: sound, {header.digest}", {"sound": True, "digest": header.digest})


@command("list")
def list_(kind: Kind, say: Say) -> None:
    """List what a spec can name, with options and their defaults."""
    if kind == "protocols":
        contents = {name: protocols.read(name) for name in protocols.names()}
        say.data(_side_by_side(contents), contents)
        return
    if kind not in KINDS:
        raise UsageError(f"cannot list {kind!r}: choose one of {', '.join(KINDS)}, protocols")
    module, name = KINDS[kind]
    entries = getattr(importlib.import_module(module), name).entries()
    lines = [f"{_spec(entry.name, entry.options)}\n    {entry.summary}" for entry in entries]
    say.data("\n".join(lines), [asdict(entry) for entry in entries])


def _side_by_side(contents: dict[str, dict[str, Any]]) -> str:
    """Protocols as columns, their options as rows; what a network has of its own stands below."""
    from rich.console import Console
    from rich.table import Column, Table

    console = Console(width=160)
    keys = dict.fromkeys(key for content in contents.values() for key in ("source", "note", *content["evaluate"]))
    with console.capture() as text:
        for four in (list(contents)[:4], list(contents)[4:]):
            table = Table("", *(Column(name, overflow="fold") for name in four))
            for key in keys:
                table.add_row(key, *(str((contents[n] | contents[n]["evaluate"]).get(key, "–")) for n in four))
            own = [contents[name].get("net", {}).items() for name in four]
            table.add_row("by network", *("\n".join(f"{net}: {o['optimizer']}" for net, o in nets) for nets in own))
            console.print(table)
    return text.get()


def _spec(name: str, options: dict[str, Any]) -> str:
    """A function's defaults in the form in which they can be given: `kl:temperature=1.0,scale=true`."""
    settings = ",".join(f"{key.replace('_', '-')}={_setting(value)}" for key, value in options.items())
    return f"{name}:{settings}" if settings else name


def _setting(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return "/".join(f"{part:.4g}" for part in value) if isinstance(value, tuple) else str(value)


def _text(header: Header, figures: dict[str, dict[str, Any]]) -> str:
    shape, pixels, names = header.arrays["images"].shape, header.pixels, header.classes
    mean, std = (" ".join(f"{value:.4f}" for value in values) for values in (pixels.mean, pixels.std))
    more = f", … {len(names) - 12} more" if len(names) > 12 else ""
    lines = [
        f"images       {shape[0]} of {' × '.join(map(str, shape[1:]))}, {pixels.space}",
        f"normalise    mean {mean}, std {std}",
        f"classes      {len(names)}: {', '.join(names[:12])}{more}",
    ]
    for field, label in (("soft", header.soft), ("dense", header.dense)):
        if label is not None:
            each = " × ".join(map(str, header.arrays[f"{field}_labels"].shape[1:]))
            lines.append(f"{field:<13}{each} {label.space}, temperature {label.temperature:g}, from {label.source}")
        if field in figures:
            lines.append(f"             {figures_line(**figures[field])}")
    return "\n".join([*lines, f"digest       {header.digest}", "made by", *(f"    {line}" for line in _shell(header))])


def _shell(header: Header) -> list[str]:
    lines = shell_lines(header.history)
    return [f"{line} |" for line in lines[:-1]] + lines[-1:]
