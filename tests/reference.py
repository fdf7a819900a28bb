"""Write `ddlabel/guide/reference.md` from the commands: `python tests/reference.py`.

It also writes `ddlabel/recipes/PROTOCOLS.md` (see `protocol_tables`).

The page lists every command with its arguments and options, and every name that a spec can have.
A test compares it with the code (tests/guide/test_reference.py). Run the script again after a
change of an option, a help text, or the first line of a registered function's docstring.
"""

from __future__ import annotations

import contextlib
import functools
import io
import json
import typing
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import protocol_tables
import typer

from ddlabel.cli.app import app
from ddlabel.commands.command import MODULES
from ddlabel.core import config

PAGE = Path(__file__).parent.parent / "ddlabel" / "guide" / "reference.md"
HEAD = """\
# Reference

This page lists all commands with their arguments and options, and all names that a spec can have.
`python tests/reference.py` makes it from the code: do not edit it by hand.

`ddlabel COMMAND --help` shows the same in short. Square brackets hold the default. An option of a
command is also a key of its table in a `--config` file, and an argument of the Python function."""
# The kinds of `ddlabel list` with the option or command that takes their names.
KINDS = {
    "losses": "`evaluate --loss`, `--dense-loss`",
    "optimizers": "`--optimizer`, `learn --inner`",
    "schedules": "`--schedule`",
    "augmentations": "`--augment`",
    "mixes": "`evaluate --mix`",
    "nets": "`--net`, `--trial-net`",
    "formats": "`import --format`",
    "normalisations": "`import --normalise`, `train-expert --normalise`, `export --normalise`",
    "exporters": "`export --format`",
    "selectors": "`select --method`",
    "views": "`densify --views`",
    "edits": "`edit --op`",
    "codecs": "`compress --codec`",
    "prunings": "`compress --prune`",
    "figures": "`show --figure`",
    "learners": "`learn --method`",
    "loggers": "`--log` of `train-expert`, `evaluate`, `learn`",
}


@functools.cache
def commands() -> dict[str, Any]:
    """Return every command as Typer's parser has it, in the order of the help."""
    parsers: dict[str, Any] = vars(typer.main.get_command(app))["commands"]
    return parsers


def page() -> str:
    """Return the whole page."""
    sections = [HEAD, "## Commands", _contents()]
    sections += [_command(name, parser) for name, parser in commands().items()]
    sections.append("## Names in specs")
    sections += [_kind(kind, used_by) for kind, used_by in KINDS.items()]
    return "\n\n".join(sections) + "\n"


def _contents() -> str:
    return "\n".join(f"- `{name}`: {_summary(parser)}" for name, parser in commands().items())


def names(kind: str) -> list[str]:
    """Return the names of one kind."""
    return [entry["name"] for entry in json.loads(_printed("list", kind, "--json"))]


def _printed(*words: str) -> str:
    """Run a command in this process and return its standard output."""
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        app([*words], standalone_mode=False)
    return printed.getvalue()


def _paragraphs(parser: Any) -> list[str]:
    """Return the paragraphs of a command's help, each on one line."""
    return [" ".join(text.split()) for text in (parser.help or "").strip().split("\n\n")]


def _summary(parser: Any) -> str:
    return _paragraphs(parser)[0]


def _command(name: str, parser: Any) -> str:
    arguments = [each for each in parser.params if each.param_type_name == "argument"]
    options = [each for each in parser.params if each.param_type_name == "option"]
    usage = " ".join(["ddlabel", name, *map(_place, arguments), *_required(options)])
    parts = [f"### `{name}`", *map(_paragraph, _paragraphs(parser))]
    parts += [f"Usage: `{usage} [OPTIONS]`", f"In Python: `ddlabel.{MODULES[name]}(…)`"]
    declared = _declared(name)
    if arguments:
        parts += ["Arguments:", "\n".join(_argument(each) for each in arguments)]
    listed = [_option(each, declared.get(each.name)) for each in options if each.name != "help"]
    if listed:
        parts += ["Options:", "\n".join(listed)]
    return "\n\n".join(parts)


def _paragraph(text: str) -> str:
    """Return a paragraph of a command's help, an example as code."""
    label, found, example = text.partition("Example: ")
    return f"Example: `{example}`" if found and not label else text


def _declared(name: str) -> dict[str, Any]:
    """Return the fields of a command's config by name; nothing if it has no config."""
    title = "".join(word.capitalize() for word in name.split("-"))
    options = getattr(config, f"{title}Options", None)
    if options is None:
        return {}
    return {each.name: (options, each) for each in fields(options)}


def _place(argument: Any) -> str:
    """Return an argument as it stands in the usage line."""
    repeated = "…" if argument.nargs == -1 else ""
    return f"{_metavar(argument)}{repeated}" if argument.required else f"[{_metavar(argument)}]"


def _metavar(argument: Any) -> str:
    return str(argument.metavar or argument.name.upper())


def _required(options: list[Any]) -> list[str]:
    return [f"{each.opts[0]} {_value(each)}" for each in options if each.required]


def _value(option: Any, kind: Any = str) -> str:
    """Return the placeholder of an option's value: its metavar, or its type in capitals."""
    kinds = typing.get_args(kind) or (kind,)
    if option.metavar:
        return str(option.metavar)
    if int in kinds:
        return "INT"
    return "NUMBER" if float in kinds else "TEXT"


def _argument(argument: Any) -> str:
    return f"- `{_metavar(argument)}`: {argument.help}"


def _option(option: Any, declared: tuple[Any, Any] | None) -> str:
    """Return one line about an option: flag, help, and what its config says about its values."""
    flags = ", ".join(f"`{flag}`" for flag in (*option.opts, *option.secondary_opts))
    if declared is None:
        flags = flags if option.is_flag else f"`{option.opts[0]} {_value(option)}`"
        return f"- {flags}: {option.help}"
    options, field = declared
    if not option.is_flag:
        kind = typing.get_type_hints(options)[field.name]
        flags = f"`{option.opts[0]} {_value(option, kind)}`"
    return " ".join([f"- {flags}: {field.metadata['help']}", *_facts(option, options, field)])


def _facts(option: Any, options: Any, field: Any) -> Iterator[str]:
    """Give default, choices, bounds and conditions of an option, in brackets."""
    rules = field.metadata
    if not option.is_flag and field.default not in (None, ()):
        yield f"[`{field.default}`]"
    limits = []
    if rules["choices"]:
        limits.append("one of " + ", ".join(f"`{choice}`" for choice in rules["choices"]))
    for word, bound in (("at least", "low"), ("above", "above"), ("at most", "high")):
        if rules[bound] is not None:
            limits.append(f"{word} {rules[bound]:g}")
    if rules["auto"]:
        limits.append("or `auto`")
    if option.multiple:
        limits.append("repeatable")
    limits.append(rules["conditions"].help(options.flags()).strip(" ()"))
    facts = "; ".join(filter(None, limits))
    if facts:
        yield f"({facts})"


def _kind(kind: str, used_by: str) -> str:
    """Return the names of one kind, with options, defaults and summaries, as `list` prints them."""
    lines = _printed("list", kind).splitlines()
    specs = lines[0::2]
    summaries = [line.strip() for line in lines[1::2]]
    entries = [f"- `{spec}`: {text}" for spec, text in zip(specs, summaries, strict=True)]
    return "\n\n".join([f"### {kind.capitalize()}", f"Used by {used_by}.", "\n".join(entries)])


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    protocol_tables.PAGE.write_text(protocol_tables.page(), encoding="utf-8")
