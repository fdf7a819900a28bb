"""`info`, `describe`, `check` and `list`: looking, not changing."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated, Any

import typer

from ddlabel.cli import torchless
from ddlabel.cli.old_command import (
    BundleIn,
    Reporter,
    command,
    figures_line,
    one_standard_input,
    printable,
    shapes,
)
from ddlabel.core import protocols
from ddlabel.core.config import DescribeOptions
from ddlabel.core.errors import UsageError
from ddlabel.data import formats
from ddlabel.data.provenance import shell_lines
from ddlabel.data.schema import Header

KINDS = {
    "losses": ("ddlabel.methods.losses", "losses"),
    "optimizers": ("ddlabel.methods.optimizers", "optimizers"),
    "schedules": ("ddlabel.methods.schedules", "schedules"),
    "augmentations": ("ddlabel.methods.augmentations", "augmentations"),
    "mixes": ("ddlabel.methods.mixing", "mixes"),
    "nets": ("ddlabel.methods.nets", "nets"),
    "selectors": ("ddlabel.commands.select", "selectors"),
    "views": ("ddlabel.methods.labels.views", "layouts"),
    "edits": ("ddlabel.methods.labels.edits", "edits"),
    "codecs": ("ddlabel.data.codecs", "codecs"),
    "prunings": ("ddlabel.methods.labels.pruning", "prunings"),
    "learners": ("ddlabel.commands.learn", "learners"),
}
Kind = Annotated[str, typer.Argument(metavar="KIND", help=f"one of: {', '.join(KINDS)}, protocols")]


@command("info")
def info(bundle: BundleIn, reporter: Reporter) -> None:
    """Show a bundle's header: shapes, classes, label spaces, and the commands that made it."""
    header = formats.read_header(bundle)
    reporter.data(
        _text(header),
        {**json.loads(header.to_json()), "shapes": shapes(header), "shell": _shell(header)},
    )


@command("describe", DescribeOptions)
def describe(bundle: BundleIn, options: DescribeOptions, reporter: Reporter) -> None:
    """Show figures of labels, and compare them with another bundle's or with those of every checkpoint of an expert."""
    one_standard_input([bundle, options.against or ""])
    source = formats.read(bundle)
    other = None if options.against is None else formats.read(options.against)
    from ddlabel.cli.make import runs_of
    from ddlabel.commands import describe as steps

    runs = runs_of(options.expert, reporter)
    value = steps.describe(source, options.field)
    if other is not None:
        value["against"] = steps.compare(source, other, options.field)
    if runs:
        value["experts"] = steps.by_epoch(source, runs, options, reporter.bar)
    if len(source.classes) <= 12 and "class_similarity" in value:
        reporter.show(_similarity(source.classes, value["class_similarity"]))
    reporter.data("\n".join(_description(value)), value)


@command("check")
def check(bundle: BundleIn, reporter: Reporter) -> None:
    """Verify a bundle: container, header, every digest, every number."""
    _, header = formats.load(bundle)
    reporter.data(f"{bundle}: sound, {header.digest}", {"sound": True, "digest": header.digest})


@command("list")
def list_(kind: Kind, reporter: Reporter) -> None:
    """List what a spec can name, with options and their defaults."""
    if kind == "protocols":
        contents = {name: protocols.read(name) for name in protocols.names()}
        reporter.data(_side_by_side(contents), contents)
        return
    if kind not in KINDS:
        raise UsageError(f"cannot list {kind!r}: choose one of {', '.join(KINDS)}, protocols")
    module, name = KINDS[kind]
    entries = getattr(torchless.load(module), name).entries()
    lines = [f"{_spec(entry.name, entry.options)}\n    {entry.summary}" for entry in entries]
    reporter.data("\n".join(lines), [asdict(entry) for entry in entries])


def _description(value: dict[str, Any]) -> list[str]:
    """The figures of labels, one matter a line."""
    size = value["size"]
    lines = [
        f"labels       {figures_line(accuracy=value['accuracy'], entropy_nats=value['entropy_nats'])}"
    ]
    if "confidence" in value:
        effective = f"{value['effective_classes']:.2f} classes (mean exp of the entropy)"
        lines.append(
            f"confidence   {value['confidence']:.3f} (mean largest probability), {effective}"
        )
    lines.append(
        f"size         {size['bytes']:,.0f} bytes an image, {100 * size['share']:.2f} % of its pixels"
    )
    if "against" in value:
        found = value["against"]
        kl = " and ".join(
            "infinite" if found[key] is None else f"{found[key]:.4f}"
            for key in ("kl", "kl_reverse")
        )
        same = f"{100 * found['same_class']:.1f} % have the same largest entry"
        lines.append(
            f"against      {same}, distance {found['js_distance']:.4f}, KL {kl} nats (to it, and from it)"
        )
    if "experts" in value:
        found = value["experts"]
        for at in zip(found["epoch"], found["js_distance"], found["normalised"], strict=True):
            lines.append("epoch {:<9.4g}distance {:.4f}, normalised {:.3f}".format(*at))
        lines.append(f"nearest      epoch {found['nearest']:g}")
    if "against" in value or "experts" in value:
        lines.append(
            "distance     Jensen-Shannon's: the root of the divergence in nats, at most 0.833"
        )
    return lines


def _similarity(names: Sequence[str], rows: list[list[float] | None]) -> Any:
    """Mean labels by predicted class as a table, without the diagonal, which would drown the rest."""
    from rich.markup import escape
    from rich.table import Table

    shown = [escape(printable(name)) for name in names]
    table = Table("predicted", *shown, title="mean probability of other classes")
    for number, row in enumerate(rows):
        cells = ["–" if row is None or i == number else f"{row[i]:.3f}" for i in range(len(names))]
        table.add_row(shown[number], *cells)
    return table


def _side_by_side(contents: dict[str, dict[str, Any]]) -> str:
    """Protocols as columns, their options as rows; what a network has of its own stands below."""
    from rich.console import Console
    from rich.table import Column, Table

    console = Console(width=160)
    notes = {
        name: {key: content.get(key, "–") for key in ("source", "note")}
        for name, content in contents.items()
    }
    options = {
        n: notes[n] | (content.get("evaluate") or content["train-expert"])
        for n, content in contents.items()
    }
    keys = dict.fromkeys(key for own in options.values() for key in own)
    with console.capture() as text:
        for four in (list(contents)[:4], list(contents)[4:]):
            table = Table("", *(Column(name, overflow="fold") for name in four))
            for key in keys:
                table.add_row(key, *(str(options[n].get(key, "–")) for n in four))
            own = [contents[name].get("net", {}).items() for name in four]
            table.add_row(
                "by network",
                *("\n".join(f"{net}: {o['optimizer']}" for net, o in nets) for nets in own),
            )
            console.print(table)
    return text.get()


def _spec(name: str, options: dict[str, Any]) -> str:
    """A function's defaults in the form in which they can be given: `kl:temperature=1.0,scale=true`."""
    settings = ",".join(
        f"{key.replace('_', '-')}={_setting(value)}" for key, value in options.items()
    )
    return f"{name}:{settings}" if settings else name


def _setting(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return "/".join(f"{part:.4g}" for part in value) if isinstance(value, tuple) else str(value)


def _text(header: Header) -> str:
    shape, pixels, names = header.arrays["images"].shape, header.pixels, header.classes
    mean, std = (
        " ".join(f"{value:.4f}" for value in values) for values in (pixels.mean, pixels.std)
    )
    more = f", … {len(names) - 12} more" if len(names) > 12 else ""
    lines = [
        f"images       {shape[0]} of {' × '.join(map(str, shape[1:]))}, {pixels.space}",
        f"normalise    mean {mean}, std {std}",
        f"classes      {len(names)}: {', '.join(names[:12])}{more}",
    ]
    for field, label in (("soft", header.soft), ("dense", header.dense)):
        if label is not None:
            stored = header.arrays[f"{field}_labels"]
            each = f"{' × '.join(map(str, stored.shape[1:]))} {label.space} as {stored.dtype}"
            lines.append(
                f"{field:<13}{each}, temperature {label.temperature:g}, from {label.source}"
            )
    return "\n".join(
        [
            *lines,
            f"digest       {header.digest}",
            "made by",
            *(f"    {line}" for line in _shell(header)),
        ]
    )


def _shell(header: Header) -> list[str]:
    lines = shell_lines(header.history)
    return [f"{line} |" for line in lines[:-1]] + lines[-1:]
