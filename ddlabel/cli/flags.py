"""Flags of a command, made from the fields of its config."""

import inspect
import json
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import Field, fields
from typing import Annotated, Any

import typer

from ddlabel.cli.completion import completer_of
from ddlabel.core import protocols
from ddlabel.core.conditions import Conditions
from ddlabel.core.option import OUTPUT, flag_of
from ddlabel.core.options import Options
from ddlabel.core.values import from_text

_KEYWORD = inspect.Parameter.KEYWORD_ONLY
Force = Annotated[
    bool, typer.Option("--force", help="replace an output that exists", rich_help_panel=OUTPUT)
]
_QUIET = typer.Option("--quiet", "-q", help="print only results and errors", rich_help_panel=OUTPUT)
_AS_JSON = typer.Option("--json", help="print results and errors as JSON", rich_help_panel=OUTPUT)
# The commands whose cost is known before: `commands/planning.py` counts it.
_PLANNED = ("train-expert", "relabel", "densify", "evaluate")
_PLAN = typer.Option(
    "--plan",
    help="check the inputs, estimate operations and time, and run nothing",
    rich_help_panel=OUTPUT,
)
_PRINT_CONFIG = typer.Option(
    "--print-config",
    help="print the options as TOML for --config, and run nothing",
    rich_help_panel=OUTPUT,
)


def parameters_of(
    name: str, function: Callable[..., None], config: type[Options]
) -> list[inspect.Parameter]:
    """Return the parameters of a command: its own, its options, and those of every command."""
    hints = config.types()
    annotations = {
        declared.name: _flag(config, declared, hints[declared.name]) for declared in fields(config)
    }
    if annotations:
        text = f"TOML file with options, in a table [{name}]"
        toml = typer.Option("--config", help=text, metavar="FILE", rich_help_panel=OUTPUT)
        annotations["config_file"] = Annotated[str | None, toml]
        annotations["print_config"] = Annotated[bool, _PRINT_CONFIG]
    if name in _PLANNED:
        annotations["plan_only"] = Annotated[bool, _PLAN]
    annotations["quiet"] = Annotated[bool, _QUIET]
    annotations["as_json"] = Annotated[bool, _AS_JSON]
    parameters = []
    for parameter in inspect.signature(function, eval_str=True).parameters.values():
        if parameter.name not in ("options", "reporter"):
            parameters.append(parameter.replace(kind=_KEYWORD))
    for key, annotation in annotations.items():
        parameters.append(inspect.Parameter(key, _KEYWORD, default=None, annotation=annotation))
    return parameters


def _flag(config: type[Options], declared: "Field[Any]", kind: Any) -> Any:
    """Return a field of a config as the annotation of a parameter.

    Values are texts for Typer, and `values_of` reads them: its own messages have other words.
    """
    text = declared.metadata["help"]
    choices = declared.metadata["choices"]
    conditions: Conditions = declared.metadata["conditions"]
    goes_with = conditions.help(config.flags())
    flag = flag_of(declared)
    if declared.metadata["argument"]:
        return Annotated[str | None, typer.Argument(metavar=flag, help=text + goes_with)]
    if choices:
        text += f" [{'|'.join(choices)}]"
    # Typer shows a default that it does not set itself in brackets: it is written here instead.
    if declared.default not in (None, ()) and kind is not bool:
        text += f" (default: {declared.default})"
    is_repeatable = declared.name in config.AXES or typing.get_origin(kind) is tuple
    if is_repeatable:
        text += "; repeatable"
    option = typer.Option(
        f"{flag}/--no-{flag.removeprefix('--')}" if kind is bool else flag,
        help=text + goes_with,
        show_default=False,
        metavar=None if kind is bool else _placeholder(declared, kind),
        rich_help_panel=config.panels()[declared.name],
        autocompletion=completer_of(declared),
    )
    if kind is bool:
        return Annotated[bool | None, option]
    return Annotated[list[str] | None if is_repeatable else str | None, option]


def _placeholder(declared: "Field[Any]", kind: Any) -> str:
    """Return what stands for a value in the help: INT, NUMBER, NUMBER|auto or TEXT."""
    kinds = typing.get_args(kind) or (kind,)
    if declared.metadata["auto"]:
        return "NUMBER|auto"
    if int in kinds:
        return "INT"
    return "NUMBER" if float in kinds else "TEXT"


def values_of(config: type[Options], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of flags, texts for all but switches, as the types of their options.

    Raises:
        UsageError: A text is not a number where one is expected.
    """
    hints = config.types()
    flags = config.flags()
    values = {}
    for name, value in given.items():
        is_text = isinstance(value, str)
        values[name] = from_text(value, hints[name], flags[name]) if is_text else value
    return values


def toml_lines(name: str, configs: Sequence[Options]) -> list[str]:
    """Return the options of a command as lines of TOML, in a table [name].

    Several configs are the combinations of the values of their axes. Options without a value have
    no line: TOML has no word for nothing. Nor have those that the protocol takes from the bundle.
    """
    lines = [f"[{name}]"]
    depending = _set_by_rows(configs[0])
    for declared in fields(configs[0]):
        if declared.name in depending:
            continue
        values = list(dict.fromkeys(getattr(config, declared.name) for config in configs))
        value = values[0] if len(values) == 1 else values
        if value is not None and value != ():
            lines.append(f"{declared.name.replace('_', '-')} = {_toml_value(value)}")
    return lines


def _toml_value(value: Any) -> str:
    """Return numbers, texts and lists of them in TOML and ASCII.

    TOML writes them as JSON does, but for the characters beyond 16 bits and DEL.
    """
    text = json.dumps(value, ensure_ascii=False)
    return "".join(each if " " <= each <= "~" else f"\\U{ord(each):08x}" for each in text)


def _set_by_rows(config: Options) -> set[str]:
    """Return the options that depend on the bundle: rows of the protocol set them."""
    name = getattr(config, "protocol", None)
    if name is None:
        return set()
    return protocols.read(name).depending() - config.from_user().keys()
