"""`info`, `check` and `list`: looking, not changing."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from ddlabel import formats
from ddlabel.cli.command import BundleIn, Say, command, figures_line, shapes
from ddlabel.config import Options
from ddlabel.errors import UsageError
from ddlabel.header import Header, LabelSpace
from ddlabel.provenance import shell_lines

KINDS = {
    "losses": ("ddlabel.losses", "losses"),
    "optimizers": ("ddlabel.optim", "optimizers"),
    "schedules": ("ddlabel.optim", "schedules"),
    "augmentations": ("ddlabel.augment", "augmentations"),
    "nets": ("ddlabel.nets", "nets"),
}


def register(app: typer.Typer) -> None:
    """Add `info`, `check` and `list`."""

    @command(app, "info", Options)
    def info(
        bundle: BundleIn,
        options: Options,  # noqa: ARG001 - it has none
        say: Say,
        stats: Annotated[bool, typer.Option("--stats", help="read the labels too: accuracy and entropy")] = False,
    ) -> None:
        """Show a bundle's header: shapes, classes, label spaces, and the commands that made it."""
        if not stats:
            header, figures = formats.read_header(bundle), {}
        else:
            from ddlabel.steps.relabel import label_figures

            content, header = formats.load(bundle)
            fields = [field for field in ("soft", "dense") if getattr(header, field) is not None]
            figures = {field: label_figures(content, field) for field in fields}
        say.data(_text(header, figures), _value(header, figures))

    @command(app, "check", Options)
    def check(bundle: BundleIn, options: Options, say: Say) -> None:  # noqa: ARG001 - it has none
        """Verify a bundle: container, header, every digest, every number."""
        _, header = formats.load(bundle)
        say.data(f"{bundle}: sound, {header.digest}", {"sound": True, "digest": header.digest})

    @command(app, "list", Options)
    def list_(
        kind: Annotated[str, typer.Argument(metavar="KIND", help=f"one of: {', '.join(KINDS)}")],
        options: Options,  # noqa: ARG001 - it has none
        say: Say,
    ) -> None:
        """List what a spec can name, with options and their defaults."""
        import importlib

        if kind not in KINDS:
            raise UsageError(f"cannot list {kind!r}: choose one of {', '.join(KINDS)}")
        module, name = KINDS[kind]
        entries = getattr(importlib.import_module(module), name).entries()
        lines = [f"{_spec(entry.name, entry.options)}\n    {entry.summary}" for entry in entries]
        value = [{"name": e.name, "options": e.options, "summary": e.summary} for e in entries]
        say.data("\n".join(lines), value)


def _spec(name: str, options: dict[str, Any]) -> str:
    """A function's defaults in the form in which they can be given: `kl:temperature=1.0,scale=true`."""
    settings = ",".join(f"{key.replace('_', '-')}={_setting(value)}" for key, value in options.items())
    return f"{name}:{settings}" if settings else name


def _setting(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return "/".join(f"{part:.4g}" for part in value) if isinstance(value, tuple) else str(value)


def _text(header: Header, figures: dict[str, tuple[float, float]]) -> str:
    shape = header.arrays["images"].shape
    pixels = header.pixels
    lines = [
        f"images       {shape[0]} of {' × '.join(map(str, shape[1:]))}, {pixels.space}",
        f"normalise    mean {_numbers(pixels.mean)}, std {_numbers(pixels.std)}",
        f"classes      {len(header.classes)}: {_classes(header.classes)}",
    ]
    for field in ("soft", "dense"):
        label: LabelSpace | None = getattr(header, field)
        if label is None:
            continue
        per_image = " × ".join(map(str, header.arrays[f"{field}_labels"].shape[1:]))
        lines.append(f"{field:<13}{per_image} {label.space}, temperature {label.temperature:g}, from {label.source}")
        if field in figures:
            lines.append(f"             {figures_line(*figures[field])}")
    lines += [f"digest       {header.digest}", "made by"]
    return "\n".join(lines + ["    " + line for line in _pipeline(header)])


def _value(header: Header, figures: dict[str, tuple[float, float]]) -> dict[str, Any]:
    import json

    value: dict[str, Any] = json.loads(header.to_json())
    named = {
        field: {"accuracy": accuracy, "entropy_nats": None if nats != nats else nats}
        for field, (accuracy, nats) in figures.items()
    }
    return value | {"shapes": shapes(header), "shell": _pipeline(header)} | ({"stats": named} if named else {})


def _pipeline(header: Header) -> list[str]:
    lines = shell_lines(header.history)
    return [line + (" |" if number < len(lines) - 1 else "") for number, line in enumerate(lines)]


def _classes(names: tuple[str, ...]) -> str:
    return ", ".join(names[:12]) + (f", … {len(names) - 12} more" if len(names) > 12 else "")


def _numbers(values: tuple[float, ...]) -> str:
    return " ".join(f"{value:.4f}" for value in values)
